"""Write a page from its template: one HTML file with its styles and its script."""

from __future__ import annotations

import base64
import hashlib
import os
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from convnext_mm.messages.wording import percent


def write_page(path: Path, template: str, **variables: object) -> Path:
    """Render a template of this folder, write the page whole or not at all, and return its path."""
    environment = Environment(
        loader=PackageLoader('convnext_mm.evaluation.report', '.'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['percent'] = percent
    environment.policies['json.dumps_kwargs'] = dict(separators=(',', ':'))
    script = environment.get_template('page.js').render()
    page = environment.get_template(template).render(
        variables,
        date=datetime.now(),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return write_text(path, page)


def write_text(path: Path, text: str) -> Path:
    """Write a file whole or not at all, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'.{path.name}')
    # A file name may have bytes that are no UTF-8.
    unfinished.write_text(text, encoding='utf-8', errors='backslashreplace')
    os.replace(unfinished, path)
    return path
