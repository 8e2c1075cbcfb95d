"""Run the check of settings on all configs, and on our recipes with one letter changed.

    python benchmarks/config_checks.py [--mutations 500]

The first table counts the configs of MMDetection, MMSegmentation and this package, and shows each
mistake that the check reports. The second one counts the changes that it finds: each misspells one
key or one type somewhere in a recipe.
"""

from __future__ import annotations

import argparse
import copy
import random
import string
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import mmdet
import mmseg
from mmengine.config import Config

from convnext_mm.config.argument_checks import check_arguments
from convnext_mm.config.key_checks import check_names, known_settings
from convnext_mm.config.reading import load_config
from convnext_mm.config.value_checks import check_values
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Finding

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    'MMDetection': Path(mmdet.__file__).parent / '.mim' / 'configs',
    'MMSegmentation': Path(mmseg.__file__).parent / '.mim' / 'configs',
    'this package': ROOT / 'configs',
}


def check(cfg: Config) -> list[Finding]:
    """Return all that the check finds in a config."""
    return [*check_names(cfg), *check_arguments(cfg), *check_values(cfg)]


def whole_configs(folder: Path) -> Iterator[tuple[Path, Config | None]]:
    """Yield the configs with a model below a folder; None for one that cannot be read here."""
    for path in sorted(folder.rglob('*.py')):
        if '_base_' in path.parts or path.name == '__init__.py':
            continue
        try:
            cfg = load_config(path)
        except UserError:  # It needs a package that is not here, or a base that does not exist.
            yield path, None
            continue
        if 'model' in cfg:
            yield path, cfg


def all_configs() -> None:
    """Print the findings of the check in all configs."""
    print(f'{"configs of":<28} {"checked":>8} {"unreadable":>11} {"reported":>9} {"ms each":>8}')
    reported = []
    for name, folder in FOLDERS.items():
        counts: Counter[str] = Counter()
        seconds = 0.0
        for path, cfg in whole_configs(folder):
            if cfg is None:
                counts['unreadable'] += 1
                continue
            start = time.process_time()
            found = check(cfg)
            seconds += time.process_time() - start
            counts['checked'] += 1
            counts['reported'] += bool(found)
            reported += [(path.relative_to(folder), finding) for finding in found]
        each = 1000 * seconds / max(1, counts['checked'])
        print(
            f'{name:<28} {counts["checked"]:>8} {counts["unreadable"]:>11} '
            f'{counts["reported"]:>9} {each:>8.1f}'
        )
    for path, finding in reported:
        print(f'  {path}\n    {finding.where}: {finding.text}')


def names_in(node: object, path: tuple = ()) -> Iterator[tuple[tuple, str]]:
    """Yield the place of each key and type below a node, and whether it is a key or a type."""
    if isinstance(node, Mapping):
        for key, child in node.items():
            if key == '_scope_':  # MMEngine writes it.
                continue
            yield (*path, key), 'key'
            if key == 'type' and isinstance(child, str):
                yield (*path, key), 'type'
            yield from names_in(child, (*path, key))
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from names_in(child, (*path, index))


def misspelt(name: str, generator: random.Random) -> str:
    """Change, remove, add or swap one letter of a name."""
    at = generator.randrange(len(name))
    letter = generator.choice(string.ascii_lowercase)
    changed = {
        'change': name[:at] + letter + name[at + 1 :],
        'remove': name[:at] + name[at + 1 :],
        'add': name[:at] + letter + name[at:],
        'swap': name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :],
    }
    other = changed[generator.choice(list(changed))]
    return other if other and other != name else misspelt(name, generator)


def mutate(cfg: Config, generator: random.Random) -> tuple[Config, tuple, str, str]:
    """Misspell one name in a copy of a config: return it, the place, the kind and the name."""
    settings = {key: value for key, value in cfg.items() if key in known_settings()}
    places = list(names_in(settings))
    path, kind = generator.choice(places)
    changed = copy.deepcopy(cfg._cfg_dict)
    node = changed
    for part in path[:-1]:
        node = node[part]
    name = path[-1] if kind == 'key' else node['type']
    if kind == 'key':
        node[misspelt(name, generator)] = node.pop(name)
    else:
        node['type'] = misspelt(name, generator)
    return Config(changed), path, kind, name


def mutations(count: int, seed: int = 0) -> None:
    """Print the share of misspelt names that the check finds, with the right suggestion."""
    recipes = [cfg for _, cfg in whole_configs(FOLDERS['this package']) if cfg is not None]
    generator = random.Random(seed)
    found: Counter[str] = Counter()
    all_: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for _ in range(count):
        changed, path, kind, name = mutate(generator.choice(recipes), generator)
        texts = [f'{finding.where}: {finding.text}' for finding in check(changed)]
        all_[kind] += 1
        if any(f'did you mean {name}?' in t or name == 'type' for t in texts):
            found[kind] += 1
        else:
            missed['.'.join(str(p) for p in path if not isinstance(p, int))] += 1
    print(f'\n{"misspelt":<10} {"of":>5} {"found, with the right name":>28}')
    for kind in ('key', 'type'):
        print(f'{kind:<10} {all_[kind]:>5} {found[kind]:>28} ({found[kind] / all_[kind]:.1%})')
    print('Not found, most often first:')
    for path, times in missed.most_common(40):
        print(f'  {times:>3} {path}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--mutations', type=int, default=500)
    parser.add_argument('--no-configs', action='store_true', help='only the misspelt recipes')
    args = parser.parse_args()
    if not args.no_configs:
        all_configs()
    mutations(args.mutations)


if __name__ == '__main__':
    main()
