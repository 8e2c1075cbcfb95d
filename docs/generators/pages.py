#!/usr/bin/env python
"""Write the tables on the pages that come from the code: docs/generators/pages.py

A page has the lines ``<!-- from code: NAME ARGUMENTS -->`` and ``<!-- end -->``. The function NAME
of this module writes the text between them. The text is in the repository, so that GitHub shows it.
The build of the documentation fails if it is out of date.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import math
import os
import re
import runpy
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
_FORMATS = 'convnext_mm.datasets.own.formats'
_BLOCK = re.compile(r'(<!-- from code: ([^\n]+?) -->\n).*?(<!-- end -->)', re.DOTALL)


def pages() -> list[Path]:
    return sorted(path for path in DOCS.rglob('*.md') if '_build' not in path.parts)


def renewed(text: str) -> str:
    """Return the text of a page with new contents in all its blocks."""

    def block(match: re.Match) -> str:
        name, *arguments = match[2].split()
        return f'{match[1]}\n{MAKERS[name](*arguments).strip()}\n\n{match[3]}'

    return _BLOCK.sub(block, text)


def stale() -> Iterator[str]:
    """Yield a line for each page that is out of date."""
    for page in pages():
        text = page.read_text()
        if renewed(text) != text:
            yield f'{page.relative_to(ROOT)} is out of date: run docs/generators/pages.py'


def table(header: tuple[str, ...], rows: list[tuple], right: str = '') -> str:
    """Return a Markdown table; `right` names the columns to align on the right."""
    rule = ['--:' if title in right.split(',') else '---' for title in header]
    lines = [header, rule, *rows]
    return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines)


def code(text: object) -> str:
    return f'`{text}`'


# --- the architecture


def drawing() -> str:
    import convnext_mm

    return _fenced(_literal(convnext_mm, 0))


def variants() -> str:
    import torch

    from convnext_mm import ARCHS, ConvNeXt
    from convnext_mm.layer_decay import num_layers

    rows = []
    for name, arch in ARCHS.items():
        with torch.device('meta'):
            model = ConvNeXt(arch)
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        rows.append(
            (
                *(code(name), ', '.join(map(str, arch.depths)), ', '.join(map(str, arch.channels))),
                *('yes' if arch.grn else 'no', f'{millions:.1f}M', num_layers(arch.depths)),
            )
        )
    header = ('arch', 'blocks', 'channels', 'GRN', 'parameters', 'N')
    return table(header, rows, 'parameters,N')


def parameters() -> str:
    """Return the parameter names of each kind of layer, with shapes in units of C."""
    import torch

    from convnext_mm import ConvNeXt

    with torch.device('meta'):
        v1, v2 = ConvNeXt('tiny'), ConvNeXt('v2_tiny')
    named = dict(v2.named_parameters()) | dict(v1.named_parameters())
    c = v1.arch.channels[0]
    sizes = {c: 'C', 2 * c: '2C', 4 * c: '4C'}
    kinds = {
        'downsample_layers.0.': ('downsample_layers.0.', 'stem'),
        'downsample_layers.1.': ('downsample_layers.i.', 'before stage i = 1, 2, 3, from C to 2C'),
        'stages.0.0.': ('stages.i.b.', 'block b of stage i'),
        'norm0.': ('norm{i}.', 'output of stage i'),
    }
    only = {'.grn': ', V2 only', '.gamma': ', V1 only'}  # GRN has a gamma too
    modules: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for start, (shown, where) in kinds.items():
        for name in (n for n in named if n.startswith(start)):
            label = shown + name.removeprefix(start)
            module, _, leaf = label.rpartition('.')
            shape = ' x '.join(sizes.get(size, str(size)) for size in named[name].shape)
            version = next((text for part, text in only.items() if part in label), '')
            modules.setdefault((module, where + version), []).append((leaf, shape))
    rows = []
    for (module, layer), leaves in modules.items():
        (first, _), *others = leaves
        names = [f'{module}.{first}', *(leaf for leaf, _ in others)]
        rows.append((', '.join(map(code, names)), ', '.join(shape for _, shape in leaves), layer))
    return table(('parameter', 'shape', 'layer'), rows)


def layer_ids() -> str:
    """Return the table in the docstring of ``layer_decay``."""
    from convnext_mm import layer_decay

    lines = inspect.getdoc(layer_decay).splitlines()
    rules = [i for i, line in enumerate(lines) if line.startswith('===')]
    starts = [match.start() for match in re.finditer('=+', lines[rules[0]])]
    cells = [
        tuple(line[a:b].strip() for a, b in zip(starts, [*starts[1:], None]))
        for line in lines[rules[0] + 1 : rules[-1]]
        if not line.startswith('===')
    ]
    rows = [(code(name.replace(' .. ', '` .. `')), *ids) for name, *ids in cells[1:]]
    return table((cells[0][0], *map(code, cells[0][1:])), rows)


def rooms() -> str:
    """Return the map in the docstring of ``convnext_mm``, and the modules of each room."""
    import convnext_mm

    package = ROOT / 'convnext_mm'
    plan = _literal(convnext_mm, 1)
    names = re.findall(r'^(\w+/|(?:\w+\.py ?)+)', plan, re.MULTILINE)
    loose = [package / name for group in names for name in group.split() if name.endswith('.py')]
    texts = [_fenced(plan), _modules(loose, package)]
    for room in [package / name for name in names if name.endswith('/')]:
        modules = sorted(room.rglob('*.py'), key=lambda path: (path.parent, path.name))
        about = _markdown(_first_line(room / '__init__.py'))
        modules = [path for path in modules if path.name != '__init__.py']
        texts.append(f'**{room.name}/** {about}\n\n{_modules(modules, room)}')
    return '\n\n'.join(texts)


def _modules(paths: list[Path], room: Path) -> str:
    rows = [(code(path.relative_to(room)), _markdown(_first_line(path))) for path in paths]
    return table(('module', 'content'), rows)


def _first_line(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())).partition('\n')[0]


# --- weights


def formats() -> str:
    from convnext_mm.weights.names import FIRST_KERNEL, FORMATS, TARGETS, to_theirs

    rows = []
    for form in FORMATS:
        written = 'yes' if TARGETS.get(form.name) is form else ''
        kernel = to_theirs(form)[FIRST_KERNEL]
        norm = 'loaded' if form.final_norm_on_maps else 'dropped'
        rows.append((code(form.name), form.project, code(kernel), norm, written))
    header = ('format', 'project', 'first depthwise kernel', 'final norm', 'written')
    return table(header, rows)


def short_names(kind: str) -> str:
    from convnext_mm.weights.zoo import ZOO

    def kind_of(name: str) -> str:
        whole = name.startswith(('mask_rcnn', 'cascade', 'upernet'))
        return 'models' if whole else name.split('_')[0]

    rows = [
        (code(name), code(one.arch), one.trained_on, one.licence)
        for name, one in ZOO.items()
        if kind_of(name) == kind
    ]
    return table(('short name', 'arch', 'trained on', 'licence'), rows)


def how_many_short_names() -> str:
    from convnext_mm.weights.zoo import ZOO

    return f'There are {len(ZOO)} of them.'


def accuracies() -> str:
    """The published accuracies of classifiers."""
    from convnext_mm.weights.zoo import ZOO

    rows = [
        (code(name), code(one.arch), f'{one.image_size} px', f'{one.top1:.1f}')
        for name, one in ZOO.items()
        if one.top1
    ]
    return table(('short name', 'arch', 'images', 'top-1'), rows, 'images,top-1')


# --- recipes


def imagenet_recipes() -> str:
    from convnext_mm.config.reading import load_config
    from convnext_mm.weights.zoo import ZOO

    rows = []
    for weights, one in ZOO.items():
        path = ROOT / f'configs/imagenet/convnext_{one.arch[0]}.py'
        cfg = load_config(path) if path.is_file() else {}
        if cfg.get('published', {}).get('weights') == weights:
            name = f'[{path.stem}](../configs/imagenet/{path.name})'
            drop_path = f'{cfg.model.backbone.drop_path_rate:g}'
            rows.append((name, drop_path, f'{cfg.published.top1:.1f}', code(weights)))
    columns = ('config', 'drop path', 'published top-1', 'published weights')
    return table(columns, rows, 'drop path,published top-1')


def recipes(family: str) -> str:
    from convnext_mm.config.nodes import schedulers
    from convnext_mm.config.reading import load_config
    from convnext_mm.weights.zoo import ZOO

    rows = []
    for path in sorted((ROOT / 'configs' / family).glob('*.py')):
        cfg = load_config(path)
        wrapper, backbone, length = cfg.optim_wrapper, cfg.model.backbone, cfg.train_cfg
        init = backbone.get('init_cfg') or {}
        weights = init.get('checkpoint', '') if isinstance(init, dict) else ''
        weights = cfg.get('load_from') or weights
        start = code(weights) if weights in ZOO else 'own checkpoint' if weights else 'none'
        warm_up = next(s.end for s in schedulers(cfg) if s.type == 'LinearLR')
        iterations = length.get('max_iters')
        long = f'{iterations:,} iterations' if iterations else f'{length.max_epochs} epochs'
        amp = 'AMP' if wrapper.type == 'AmpOptimWrapper' else 'fp32'
        paramwise = wrapper.get('paramwise_cfg') or {}
        rows.append(
            (
                f'[{path.stem}](../configs/{family}/{path.name})',
                start,
                f'{wrapper.optimizer.lr:g}',
                f'{paramwise["decay_rate"]:g}' if 'decay_rate' in paramwise else 'none',
                f'{backbone.drop_path_rate:g}' if 'drop_path_rate' in backbone else '0',
                *(long, f'{warm_up:,}', cfg.auto_scale_lr.base_batch_size, amp),
            )
        )
    columns = ('lr', 'decay rate', 'drop path', 'length', 'warm-up', 'batch', 'precision')
    order = [code(name) for name in ZOO]
    rows.sort(key=lambda row: order.index(row[1]) if row[1] in order else len(order))
    right = 'lr,decay rate,drop path,length,warm-up,batch'
    return table(('config', 'starts from', *columns), rows, right)


def recommendations(kind: str) -> str:
    """The rules of ``tools/recommend.py`` for a kind of data, in their order."""
    from convnext_mm.diagnose.recommend.rules import RULES

    rows = []
    for rule in RULES:
        if rule.kind != kind:
            continue
        conditions = []
        if rule.objects_below_px < math.inf:
            conditions.append(f'objects below {rule.objects_below_px} px')
        if rule.images_below_px < math.inf:
            conditions.append(f'images below {rule.images_below_px} px')
        rows.append(
            (
                f'{rule.gpu_gb} GB' if rule.gpu_gb else 'none',
                f'{rule.images:,}' if rule.images else 'any',
                ', '.join(conditions) or '-',
                f'[{rule.recipe}](../configs/{rule.recipe}.py)',
                rule.because,
            )
        )
    return table(('GPU', 'images', 'only for', 'recipe', 'reason'), rows, 'GPU,images')


def learning_rates(config: str) -> str:
    """Return the table of tools/lr_table.py."""
    from mmengine.logging import MMLogger

    from convnext_mm.config.reading import load_config
    from convnext_mm.diagnose.lr_table import as_markdown, lr_table

    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        return as_markdown(lr_table(load_config(ROOT / config)))
    finally:
        logger.setLevel(level)


# --- the roadmap


def roadmap() -> str:
    from convnext_mm.roadmap import ROADMAP

    small, large = ROADMAP['resnet50'], ROADMAP['resnet200']
    rows = []
    for step in small:
        figures = [track[step].published for track in (small, large)]
        gflops = [f'{one.gflops:.2f}' if one.gflops else '' for one in figures]
        top1 = f'{figures[0].top1:.2f} ± {figures[0].deviation:.2f}'
        rows.append((code(step), top1, gflops[0], f'{figures[1].top1:.2f}', gflops[1]))
    header = ('step', 'from ResNet-50', 'GFLOPs', 'from ResNet-200', 'GFLOPs')
    return table(header, rows, 'from ResNet-50,GFLOPs,from ResNet-200')


# --- own data


def layouts(number: str) -> str:
    """The layouts of COCO (0) or label maps (1), from the docstring of ``own/recognise.py``."""
    from convnext_mm.datasets.own import recognise

    return _fenced(_literal(recognise, int(number)))


def layout_of(name: str) -> str:
    """The layouts of another format, from the docstring of its reader."""
    return _fenced(_literal(importlib.import_module(f'{_FORMATS}.{name}'), 0))


def formats_not_read() -> str:
    """The formats that are named and not read."""
    from convnext_mm.datasets.own.formats.not_taken import NOT_TAKEN

    rows = [(one.name, ', '.join(one.suffixes), one.remedy) for one in NOT_TAKEN]
    return table(('annotations', 'files', 'what to do'), rows)


def schedule_rule() -> str:
    """The rule in the docstring of ``config/schedule.py``, with the value of ``MIN_STEPS``."""
    from convnext_mm.config import schedule

    text = inspect.getdoc(schedule).partition('The rule: ')[2]
    text = text.replace('``MIN_STEPS``', f'{schedule.MIN_STEPS:,}')
    assert schedule.WARM_UP == 0.1 and 'a tenth of the run' in text
    return _markdown(text[0].upper() + text[1:])


def checks(kind: str) -> str:
    """The problems that the checks of a kind of data set find, errors first."""
    from convnext_mm.datasets.own.class_folders import problems as by_class
    from convnext_mm.datasets.own.coco import problems as coco
    from convnext_mm.datasets.own.formats import problems as formats
    from convnext_mm.datasets.own.label_maps import problems as maps
    from convnext_mm.datasets.own.problem import Problem
    from convnext_mm.messages.findings import Level

    module = {'coco': coco, 'formats': formats, 'maps': maps, 'by_class': by_class}[kind]
    found = [problem for problem in vars(module).values() if isinstance(problem, Problem)]
    found.sort(key=lambda problem: list(Level).index(problem.level))
    header = ('level', 'what is found', 'what to do, or what was done')
    return table(
        header,
        [(p.level.name.lower(), _without_fields(p.what), _without_fields(p.remedy)) for p in found],
    )


def _without_fields(text: str) -> str:
    """Write a format string with ... for its fields."""
    return re.sub(r'(\{\w+\})+', '...', text)


# --- the tools


class _Found(Exception):
    pass


def commands() -> str:
    """Return the commands of ``convnext-mm``, and the scripts of a checkout that are the same."""
    from convnext_mm.cli.main import COMMANDS, load

    rows = []
    for group in COMMANDS.values():
        for name, module in group.items():
            script = f'tools/{module}.py'
            does = load(name).__doc__.partition('\n')[0]
            rows.append((code(name), code(script) if (ROOT / script).exists() else '', does))
    return table(('`convnext-mm`', 'script', 'purpose'), rows)


def options(script: str) -> str:
    """Return how a tool is called, and its arguments, read from its parser."""
    from convnext_mm.cli.main import MODULES

    parser = parser_of(script)
    names = [name for name, module in MODULES.items() if f'{module}.py' == script]
    call = f'{code(f"convnext-mm {names[0]}")}, or in a checkout ' if names else ''
    rows = []
    for action in parser._actions:
        # The page describes --cfg-options once, because all tools that read a config have it.
        if action.help == argparse.SUPPRESS or {'-h', '--cfg-options'} & {*action.option_strings}:
            continue
        value = action.metavar or (action.dest.upper() if action.nargs != 0 else '')
        if isinstance(value, tuple):
            value = ' '.join(value)
        if action.choices and not action.metavar:
            value = '{' + ','.join(action.choices) + '}'
        names = '`, `'.join(action.option_strings)
        if names:
            value = f'[{value}]' if action.nargs == '?' else value
            name = code(f'{names} {value}'.strip())
        else:
            name = code(action.metavar or action.dest)
        text = (action.help or '') % dict(vars(action), prog=parser.prog)
        rows.append((name.replace('|', r'\|'), text.replace('|', r'\|').replace('<', r'\<')))
    end = f'\n\n{parser.epilog.strip()}' if parser.epilog else ''
    return f'Call: {call}{code(f"tools/{script}")}\n\n{table(("argument", "meaning"), rows)}{end}'


def parser_of(script: str) -> argparse.ArgumentParser:
    """Return the parser that a script of tools/ makes."""
    found = []

    def stop(parser, *_):
        found.append(parser)
        raise _Found

    path = ROOT / 'tools' / script
    with (
        mock.patch.object(argparse.ArgumentParser, 'parse_args', stop),
        mock.patch.object(sys, 'argv', [str(path)]),
        mock.patch.dict(os.environ),
        warnings.catch_warnings(),
    ):
        try:
            runpy.run_path(str(path), run_name='__main__')
        except _Found:
            return found[0]
    raise RuntimeError(f'{path} parses no arguments')


# --- words


def _literal(module: object, number: int) -> str:
    """Return the n-th literal block in the docstring of a module."""
    text = inspect.getdoc(module)
    found = re.findall(r'::\n\n((?:(?:    .*)?\n)+)', text + '\n')
    return textwrap.dedent(found[number]).strip('\n')


def _fenced(text: str) -> str:
    return f'```text\n{text}\n```'


def _markdown(text: str) -> str:
    """Turn the markup of a docstring into Markdown."""
    text = re.sub(r':\w+:`~?([^`]+)`', r'`\1`', text)
    return text.replace('``', '`')


MAKERS: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        *(drawing, variants, parameters, layer_ids, rooms),
        *(formats, short_names, how_many_short_names, accuracies),
        *(imagenet_recipes, recipes, recommendations, learning_rates, roadmap),
        *(layouts, layout_of, formats_not_read, schedule_rule, checks),
        *(commands, options),
    )
}


def main() -> int:
    for page in pages():
        text = page.read_text()
        new = renewed(text)
        if new != text:
            page.write_text(new)
            print(f'written: {page.relative_to(ROOT)}')
    return 0


if __name__ == '__main__':
    argparse.ArgumentParser(description=__doc__.partition('\n')[0]).parse_args()
    importlib.import_module('convnext_mm')
    sys.exit(main())
