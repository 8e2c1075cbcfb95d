"""Links, commands and snippets in the README and on the pages work.

`make docs` also checks that the generated tables are up to date.
"""

import ast
import importlib.util
import re
import shlex

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, DefaultScope

from convnext_mm.cli.main import MODULES
from convnext_mm.diagnose.lr_table import lr_table
from tests.conftest import ROOT

PAGES = [ROOT / f'{name}.md' for name in ('README', 'CONTRIBUTING', 'CHANGELOG')]
PAGES += sorted(p for p in (ROOT / 'docs').rglob('*.md') if '_build' not in p.parts)
# Messages in docs/troubleshooting.md that other projects print.
FOREIGN = (
    *('No module named', 'undefined symbol', 'MMCV==', 'Weights only load failed'),
    *('import mmpretrain', 'apply_chunking', 'NoneType takes', 'ConvNeXt is not in', 'to have 96'),
    *('Expected to have finished', 'Default process group', 'config.py, line 3'),
)
BLOCK = re.compile(r'^```([\w{}-]*)\n(.*?)^```', re.DOTALL | re.MULTILINE)


def blocks(*languages):
    return [
        pytest.param(text, id=f'{page.name}-{number}')
        for page in PAGES
        for number, (language, text) in enumerate(BLOCK.findall(page.read_text()))
        if language in languages
    ]


def anchors(page):
    """Return the anchors of the headings of a page, as GitHub and MyST make them."""
    text = BLOCK.sub('', page.read_text())
    titles = re.findall(r'^#+ (.+)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


@pytest.fixture(scope='module')
def generators():
    path = ROOT / 'docs' / 'generators' / 'pages.py'
    spec = importlib.util.spec_from_file_location('pages', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_to_existing_files_and_headings(page):
    for link in re.findall(r'\]\(([^)\s]+)\)', BLOCK.sub('', page.read_text())):
        if '://' in link:
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f'{page.name}: {link}'
        assert target.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(target), f'{page.name}: {link}'


def test_the_images_are_small():
    assert sum(path.stat().st_size for path in (ROOT / 'docs' / 'images').iterdir()) < 300_000


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    named = re.findall(
        r'\b((?:configs|tools|benchmarks|docs)/[\w./-]*\w)(?![\w*])', page.read_text()
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize('commands', blocks('', 'bash'))
def test_options_in_commands_exist(commands, generators):
    for line in commands.replace('\\\n', ' ').splitlines():
        match = re.search(r'(tools/(?=\w+\.py)|convnext-mm )(.*)', line.partition('#')[0])
        if not match or match[2].startswith('--'):
            continue
        words = shlex.split(match[2])
        name = next((n for n in (' '.join(words[:2]), words[0]) if n in MODULES), None)
        if match[1] == 'convnext-mm ':
            assert name, f'there is no such command: {line}'
            if name in ('configs', 'launch'):
                continue
        script = f'{MODULES[name]}.py' if name else words[0]
        known = {name for a in generators.parser_of(script)._actions for name in a.option_strings}
        assert {word for word in words if word.startswith('--')} <= known, line


@pytest.mark.parametrize('snippet', blocks('python'))
def test_snippets_parse_and_whole_configs_make_models_and_hooks(snippet, tmp_path):
    ast.parse(snippet)
    if not snippet.startswith('_base_'):
        return
    path = tmp_path / 'config.py'
    path.write_text(snippet.replace("'configs/", f"'{ROOT}/configs/"))
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        for hook in cfg.get('custom_hooks', []):
            HOOKS.build(hook)
    table = lr_table(cfg)
    decays = cfg.optim_wrapper.paramwise_cfg.decay_rate < 1
    assert decays == (len(table.groups) > 2)
    assert not table.warnings


def threes(text):
    """Return every three words in a row."""
    words = re.findall(r'[\w-]+', text)
    return {' '.join(words[i : i + 3]) for i in range(len(words) - 2)}


def test_messages_on_the_troubleshooting_page_are_in_the_code():
    sources = [*(ROOT / 'convnext_mm').rglob('*.py'), ROOT / 'tools' / 'setup_env.py']
    known = {
        words
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for words in threes(node.value)
    }
    page = (ROOT / 'docs' / 'troubleshooting.md').read_text()
    rows = re.findall(r'^\| (.*?) \| ', page, re.MULTILINE)
    messages = [m for row in rows for m in re.findall('`([^`]+)`', row) if threes(m)]
    assert len(messages) > 25
    for message in messages:
        if not any(part in message for part in FOREIGN):
            assert threes(message) & known, message
