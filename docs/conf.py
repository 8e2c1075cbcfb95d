"""Sphinx settings: make docs"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / 'generators'))

from pages import stale
from sphinx.application import Sphinx
from sphinx.util import logging

import convnext_mm

project = 'convnext-mm'
author = 'The convnext-mm authors'
version = release = convnext_mm.__version__

extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']
html_theme = 'furo'
html_title = f'convnext-mm {version}'
html_static_path = ['_static']
html_css_files = ['wide_tables.css']
html_show_sphinx = False
html_show_copyright = False
highlight_language = 'none'  # of blocks that name no language

# Headings get the anchors that GitHub gives them.
myst_heading_anchors = 3

# Every build runs the notebook, in a folder of its own, and fails where a cell fails.
nb_execution_mode = 'force'
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds for a cell
nb_output_stderr = 'remove'  # progress bars

default_role = 'code'  # docstrings have `name` for arguments
autodoc_typehints = 'none'  # too long for the page; the docstrings describe the arguments
autodoc_member_order = 'bysource'
toc_object_entries_show_parents = 'hide'
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
nitpick_ignore_regex = [
    # Links into the documentation of other projects would need a network.
    ('py:.*', r'(torch|numpy|PIL|pathlib|collections)\..*'),
    # Modules and names that have no section on the API page.
    ('py:mod', r'convnext_mm\..*'),
    ('py:func', 'convnext_block'),
    ('py:class', r'convnext_mm\.engine\.runner\.Runner'),
]

linkcheck_timeout = 30
linkcheck_retries = 3


def check_pages(app: Sphinx) -> None:
    """Warn about pages whose generated tables are out of date; `make docs` fails then."""
    for line in stale():
        logging.getLogger(__name__).warning(line)


def setup(app: Sphinx) -> None:
    app.connect('builder-inited', check_pages)
