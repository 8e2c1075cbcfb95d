"""The matrix: its rows, its table, and a copy of the checkout without the package."""

import importlib.util
import json
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PAGE = """A page.

<!-- matrix -->
| row | result |
|---|---|
| `default` | ran |
| `onedl` | no |
<!-- end -->

| `onedl` | another table |
"""


@pytest.fixture(scope='module')
def matrix():
    spec = importlib.util.spec_from_file_location('matrix', ROOT / 'tools' / 'matrix.py')
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / 'tools'))
        spec.loader.exec_module(module)
    return module


def test_a_row_that_ran_again_is_replaced_in_its_table_only(matrix):
    text = matrix.with_row(PAGE, ['`onedl`', 'ran'])
    assert text == PAGE.replace('| `onedl` | no |', '| `onedl` | ran |')
    assert matrix.with_row(text, ['`onedl`', 'ran']) == text


def test_a_new_row_is_added_at_the_end_of_the_table(matrix):
    text = matrix.with_row(PAGE, ['`oldest`', 'ran'])
    assert text == PAGE.replace('<!-- end -->', '| `oldest` | ran |\n<!-- end -->')


def test_a_row_of_the_matrix_fits_the_table_of_the_page(matrix):
    row, versions = matrix.ROWS['onedl'], {'python': '3.11.7', 'torch': '2.13.0', 'onedl-mmcv': '2'}
    new = matrix.cells(row, versions, 'ran', '400', '90')
    header = re.search(r'<!-- matrix -->\n(.*)\n', matrix.PAGE.read_text())[1]
    columns = dict(zip(re.findall(r'[^|]+', header), new, strict=True))
    assert columns[' MMCV '] == '2' and columns[' MMSegmentation '] == '-'


def test_the_copy_has_links_as_links_and_keeps_only_the_environment(matrix, tmp_path):
    (tmp_path / '.venv').mkdir()
    (tmp_path / 'left_over.py').touch()
    matrix.copy_checkout(tmp_path)
    assert (tmp_path / 'convnext_mm/.mim/configs').is_symlink()
    assert (tmp_path / 'convnext_mm/.mim/configs/cascade').is_dir()
    assert (tmp_path / '.venv').is_dir() and not (tmp_path / 'left_over.py').exists()
    assert all((tmp_path / name).exists() for name in matrix.CORE)


def test_the_list_for_a_workflow_names_each_row_and_a_python_that_it_allows(matrix):
    done = subprocess.check_output([sys.executable, ROOT / 'tools' / 'matrix.py', '--list'])
    for entry in json.loads(done):
        row = matrix.ROWS[entry['row']]
        assert tuple(map(int, entry['python'].split('.'))) in row.pythons
