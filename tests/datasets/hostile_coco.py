"""Small COCO data sets with hostile values, and a judge of what `--data` makes of them.

`tests/datasets/test_hostile_coco.py` tries some cases, `benchmarks/hostile_data.py` thousands.
"""

import contextlib
import copy
import io
import json
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.structures.mask import encode_mask_results
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from pycocotools import mask as rle
from rich.console import Console

from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.config.reading import load_config
from convnext_mm.datasets.own.adapt import adapt_to_own_data
from convnext_mm.datasets.own.check import CheckedData, check_own_data, show_checked
from convnext_mm.errors import UserError
from convnext_mm.evaluation.coco import FastCocoMetric
from convnext_mm.messages.findings import Level

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / 'configs' / 'mask_rcnn' / 'convnext_t_coco.py'
SIZES = {
    '0.png': (40, 30),
    '1.png': (64, 48),
    '2.png': (20, 16),
    '3.png': (8, 9),
    '4.png': (90, 12),
}
DIGITS = '@5000 digits@'  # json cannot write such an integer
ABSENT = '@absent@'

# --- valid data sets


def mask_of(kind, box, size):
    """Return a mask that fills three quarters of a box."""
    (x, y, w, h), (width, height) = box, size
    polygon = [x, y, x + w, y, x + w, y + h / 2, x + w / 2, y + h, x, y + h]
    if kind == 'polygons':
        return [polygon]
    compressed = rle.merge(rle.frPyObjects([polygon], height, width))
    if kind == 'compressed':
        return dict(size=[height, width], counts=compressed['counts'].decode())
    pixels = rle.decode(compressed).flatten(order='F')
    changes = np.flatnonzero(np.diff(pixels, prepend=0, append=2))
    return dict(size=[height, width], counts=np.diff(changes, prepend=0).tolist())


def data_set(kinds=('polygons', 'counts', 'compressed'), images=5, classes=3, objects=2):
    """Return a correct data set; the kinds of masks take turns, and '' is no mask."""
    content = dict(info={}, images=[], annotations=[], categories=[])
    for number, (name, size) in enumerate([*SIZES.items()][:images]):
        content['images'].append(
            dict(id=number, file_name=name, width=size[0], height=size[1], license=1)
        )
        for i in range(objects):
            box = [1 + i % 3, 2, min(size) - 4, min(size) / 2]
            identity = len(content['annotations']) + 1
            obj = dict(id=identity, image_id=number, category_id=identity % classes + 1, bbox=box)
            kind = kinds[identity % len(kinds)]
            obj |= dict(segmentation=mask_of(kind, box, size)) if kind else {}
            obj |= dict(iscrowd=int(identity % 7 == 0), area=0.75 * box[2] * box[3])
            content['annotations'].append(obj)
    names = ('cat', 'traffic light', 'größe')[:classes]
    content['categories'] = [
        dict(id=i, name=name, supercategory='thing') for i, name in enumerate(names, 1)
    ]
    return content


# --- hostile values

ANY = (
    *(ABSENT, None, True, False, '', 'text', '7', 0, 1, -1, 2, 0.5, 1.0, -1.5, 640, 1e5, 1e9),
    1e308,
    *(-1e9, 2**31, 2**53 + 1, 2**64, 10**30, float('nan'), float('inf'), -float('inf'), DIGITS),
    *([], [1], [None], [[]], {}, {'a': 1}, [[[1, 2]]], 'NaN', '\ud800', '\x00', ' ', 'x' * 5000),
)
NESTED = json.loads('[' * 400 + ']' * 400)
NAMES = (
    *('../cat', '/cat', 'a\nb', "it's", '"', '\\', '[red]cat[/red]', '[/x]', '{{ fileDirname }}'),
    *('{{_base_.model}}', '{_base_.x}', '_base_.model', '<metainfo>', "'<data_root>'", '\x1b[31m'),
    *('cat ', 'cat', 'CAT', '\u202ecat', '\u2028', '% s', '$(ls)', '{', '}', '#', 'a' * 200),
    *('a' * 201, '\udcff', '🐈‍⬛', 'None', "',)\nimport os\n#", '"""', '{{', '}}', '{0}', '%(a)s'),
)
FILE_NAMES = (
    *('../images/0.png', '/etc/passwd', '0.png/', './0.png', 'images/0.png', 'C:\\x\\0.png', '..'),
    *('0.png\x00', 'x' * 300 + '.png', '[/b]0.png', 'gone.png', '.', '/', '\\', '//0.png'),
)
BOXES = (
    *([0, 0, 0, 0], [0, 0, 5, 0], [1, 1, 0.5, 0.5], [-3, -3, 8, 8], [5, 5, 1e5, 1e5], [1, 2, 3]),
    *([1, 2, 3, 4, 5], [1, 2, '3', 4], [1, 2, None, 4], [1, 2, float('nan'), 4], [1e308] * 4),
    *([500, 500, 5, 5], [-50, -50, 5, 5], [0.1, 0.1, 0.2, 0.2], [2, 2, -1, 5], [True] * 4),
    [1e9] * 4,
    *([7.5, 1, 0.2, 3], [-0.9, 0, 0.95, 5], [0, 0, 1e-9, 5], [[1, 2, 3, 4]], ['1', '2', '3', '4']),
)
MASKS = (
    *([[1, 1, 2, 2]], [[]], [[1, 1, 5, 1, 5, 'six']], [1, 1, 6, 1, 6, 6, 1, 6], [[1, 1] * 5]),
    [[None]],
    *([[1, 1, 9, 1, 9, float('nan')]], [[1, 1, 1e9, 1, 1e9, 1e9]], [[1, 1, 1e308, 1, 5, 5]]),
    *([[-5, -5, 6, -5, 6, 6]], [[500, 500, 600, 500, 600, 600]], [[-9e5, 1, 9e5, 1, 9e5, 5]]),
    *([[5, 5, 5e5, 5, 5, 5e5] * 50], [[1, 1, 6, 6, 1, 6, 6, 1]], [[2, 2, 3, 2, 3, 3]], [[1] * 7]),
    *([[1, 1, 1.1, 1, 1.1, 1.1]], [[2, 2, 7, 2, 7, 7], [500, 5, 600, 5, 600, 9]], 'abc', 5, True),
    *({'size': [30, 40], 'counts': [1200]}, {'size': [30, 40], 'counts': [0, 1200]}),
    *({'size': [30, 40], 'counts': [100, 5, 0, 5, 1090]}, {'size': [30, 40], 'counts': [-5, 1205]}),
    *({'size': [30, 40], 'counts': []}, {'size': [30, 40], 'counts': [2**40]}, {'counts': 'abc'}),
    *({'size': [10**6, 10**6], 'counts': [10**12]}, {'size': [30, 40], 'counts': 'oooooooooooo'}),
    *({'size': [30, 40], 'counts': 'n' * 9999}, {'size': [30, 40], 'counts': 'ü'}, {'size': 'a'}),
    *({'size': [30, 40], 'counts': ''}, {'size': [40, 30], 'counts': [600, 600]}, {'size': [0, 0]}),
    *({'size': [30.0, 40], 'counts': [1200]}, {'size': [30, 40], 'counts': 'PP4'}, {'size': [1]}),
    *({'size': [30, 40], 'counts': '`Z' + '~' * 20}, {'size': [30, 40], 'counts': [1199.5, 0.5]}),
)
VALUES = {
    'images': {'id': (), 'file_name': FILE_NAMES, 'width': (), 'height': ()},
    'annotations': {
        **{key: () for key in ('id', 'image_id', 'category_id', 'area', 'iscrowd', 'ignore')},
        'bbox': BOXES,
        'segmentation': MASKS,
    },
    'categories': {'id': (), 'name': NAMES, 'supercategory': ()},
}
TOP = {key: ANY for key in ('info', 'images', 'annotations', 'categories', 'licenses')}


def sweep():
    """Yield every key with every value, in one entry and in all, as (kind, bytes of a JSON)."""
    base = data_set()
    for entries, keys in VALUES.items():
        for key, own in keys.items():
            for value in (*ANY, NESTED, *own):
                for scope in ('one', 'all'):
                    content = copy.deepcopy(base)
                    chosen = content[entries][:1] if scope == 'one' else content[entries]
                    for entry in chosen:
                        mutate(entry, key, value)
                    yield f'{entries}.{key}', encoded(content)
    for key, values in TOP.items():
        for value in (*values, NESTED):
            content = copy.deepcopy(base)
            mutate(content, key, value)
            yield f'{key} at the top', encoded(content)
    for entries in VALUES:
        for value in (*ANY, NESTED):
            content = copy.deepcopy(base)
            content[entries].append(value)
            yield f'{entries}, one entry more', encoded(content)
    yield from (('bytes of the file', data) for data in broken_files(encoded(base)))


def mutate(node, key, value):
    if value is ABSENT or value == ABSENT:
        node.pop(key, None)
    else:
        node[key] = copy.deepcopy(value)


def encoded(content):
    return json.dumps(content).replace(json.dumps(DIGITS), '9' * 5000).encode()


def broken_files(data):
    """Yield bytes that json, or a reader of other JSONs, stumbles over."""
    text = data.decode()
    yield from (b'', b' ', b'[]', b'null', b'{}', b'"images annotations categories"', b'\x00' * 99)
    yield from (data[:-1], data[: len(data) // 2], data + b'}', data[1:], b'\xef\xbb\xbf' + data)
    yield from (text.encode('utf-16'), text.encode('utf-32'), text.encode('utf-16-le'))
    keys = b'"images" "annotations" "categories"'
    yield from (b'[' * 100_000 + keys, keys, b'[' + data + b']', data.replace(b'cat', b'\xff\xfe'))
    for extra in (
        *(b'NaN', b'Infinity', b'1e999', b'"\\ud800"', b'[' * 5000 + b']' * 5000, b'9' * 5000),
        *(b'"\xff"', b'"\x01"', b'[' * 900 + b']' * 900, b'-0', b'1E400', b'"\\u0000"', b'01'),
        b'+1',
    ):
        yield data.replace(b'"info": {}', b'"info": {"a": ' + extra + b'}')
    yield data.replace(b'"info": {}', b'"images": [], "annotations": []')
    yield data.replace(b'"area"', b'"iscrowd": 1, "area"')
    yield data.replace(b'"id": 1,', b'"id": 5, "id": 1,')


@st.composite
def cases(draw):
    """Draw a data set with one to four hostile values, as (kind, bytes of a JSON)."""
    kinds = draw(st.sampled_from([('polygons',), ('',), ('compressed', 'counts', 'polygons')]))
    content = data_set(
        kinds,
        images=draw(st.integers(3, len(SIZES))),
        classes=draw(st.integers(1, 3)),
        objects=draw(st.integers(1, 4)),
    )
    changed = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        entries = draw(st.sampled_from(['annotations', 'annotations', 'images', 'categories']))
        key = draw(st.sampled_from([*VALUES[entries]]))
        value = draw(_values(entries, key))
        last = len(content[entries]) - 1
        chosen = draw(
            st.one_of(
                st.just(range(last + 1)),
                st.lists(st.integers(0, last), min_size=1, max_size=3, unique=True),
            )
        )
        for index in chosen:
            mutate(content[entries][index], key, value)
        changed.append(f'{entries}.{key}')
    kind = changed[0] if len(changed) == 1 else 'several keys'
    return f'drawn: {kind}', encoded(content)


def drawn(number, random_seed):
    """Return that many cases for a seed."""
    found = []

    @seed(random_seed)
    @settings(
        max_examples=number,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def collect(case):
        found.append(case)

    collect()
    return found


def _values(entries, key):
    """Return a strategy for the values of a key, most of them near to correct ones."""
    near = st.floats(-5, 100) | st.integers(-5, 100)
    numbers = near | near | st.floats() | st.integers()
    own = VALUES[entries][key]
    strategies = [st.sampled_from([*ANY, NESTED]), *([st.sampled_from(own)] if own else [])]
    if key == 'name':
        strategies += [st.text(st.characters(), max_size=12)] * 2
    elif key == 'file_name':
        strategies += [st.sampled_from([*SIZES])] * 2
    elif key == 'bbox':
        strategies += [st.lists(near, min_size=4, max_size=4)] * 2
        strategies += [st.lists(numbers, min_size=4, max_size=4)]
        strategies += [st.tuples(near, near, st.floats(0, 9), st.floats(0, 9)).map(list)]
    elif key == 'segmentation':
        for coordinates in (near, near, numbers):
            points = st.lists(coordinates, min_size=6, max_size=12)
            strategies.append(st.lists(points, min_size=1, max_size=2))
        counts = st.lists(st.integers(0, 1200), max_size=9) | st.text('0123PQRnopZ`', max_size=20)
        sizes = st.sampled_from([[30, 40], [48, 64], [16, 20]])
        strategies.append(st.builds(dict, size=sizes, counts=counts))
    elif key in ('iscrowd', 'ignore'):
        strategies += [st.integers(0, 1)] * 2
    elif key in ('id', 'image_id', 'category_id'):
        strategies += [st.integers(0, 10), st.integers(0, 10).map(str), st.integers()]
    else:
        strategies += [numbers] * 2
    return st.one_of(strategies)


# --- the judge


class Wrong(AssertionError):
    """A data set that was accepted, although a perfect detector does not score 1."""


def write_images(folder):
    """Write the images that all data sets share."""
    (folder / 'images').mkdir(parents=True)
    for name, (width, height) in SIZES.items():
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(folder / 'images' / name)


class Judge:
    """Follow `--data` from a JSON to the score of a perfect detector.

    Args:
        folder: A folder with the images of :func:`write_images`.
    """

    def __init__(self, folder):
        self.folder, self.work_dir = folder, folder.with_name('work')
        self.recipe = load_config(RECIPE)
        self.recipe.work_dir = str(self.work_dir)
        # What --data does not change is left out: writing long configs takes long.
        head = dict(num_classes=80)
        self.recipe.model = dict(roi_head=dict(bbox_head=head, mask_head=head))
        for key in ('tta_model', 'tta_pipeline', 'optim_wrapper'):
            self.recipe.pop(key)
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            for leaf in leaf_datasets(self.recipe[loader]):
                load = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
                leaf.update(pipeline=[load], serialize_data=False)
        init_default_scope('mmdet')

    def __call__(self, data, split='train'):
        """Return ``refused``, ``repaired`` or ``accepted`` for the bytes of a JSON.

        It is the whole data set, or the validation split beside correct training annotations.

        Raises:
            Wrong: The data set differs from the result of the check.
        """
        for name in ('train', 'val'):
            (self.folder / f'{name}.json').unlink(missing_ok=True)
        (self.folder / f'{split}.json').write_bytes(data)
        if split == 'val':
            (self.folder / 'train.json').write_bytes(encoded(data_set()))
        path = self.folder if split == 'val' else self.folder / 'train.json'
        try:
            checked = check_own_data(path)
        except UserError as error:
            expect(str(path) in str(error), f'the message names no file: {error}')
            expect(all(c.isprintable() for c in str(error)), 'the message is not printable')
            return 'refused'
        self.check_text(checked)
        if checked.errors:
            return 'refused'
        with contextlib.redirect_stdout(io.StringIO()):
            adapt_to_own_data(self.recipe, path)
        cfg = Config.fromfile(self.work_dir / 'own_data.py')
        read = sum(self.objects_scored(cfg, split, checked) for split in ('train', 'val'))
        counted = sum(len(c.content['annotations']) for c in checked.splits.values())
        expect(read == counted, f'{counted} objects were counted, {read} are read')
        repaired = any(finding.level is Level.REPAIRED for finding in checked.findings)
        return 'repaired' if repaired else 'accepted'

    def check_text(self, checked: CheckedData):
        console = Console(file=io.StringIO(), width=120, highlight=False, markup=False)
        show_checked(checked, console)
        lines = console.file.getvalue().split('\n')
        expect(all(line.isprintable() for line in lines), 'the findings are not printable')
        expect(max(map(len, lines)) < 2000, 'a line of the findings is too long')
        for finding in checked.errors:
            expect(finding.examples or finding.remedy, f'{finding} says too little')

    def objects_scored(self, cfg, split, checked):
        """Score the objects of a split as a perfect detector, and return their number."""
        (leaf,) = leaf_datasets(cfg[f'{split}_dataloader'])
        with contextlib.redirect_stdout(io.StringIO()):
            dataset = DATASETS.build(dict(leaf, pipeline=[]))
            ann_file = str(Path(leaf.data_root, leaf.ann_file))
            metrics = cfg.val_evaluator.metric
            metric = FastCocoMetric(ann_file=ann_file, metric=metrics, classwise=True)
        expect(dataset.metainfo['classes'] == checked.classes, 'the classes are other ones')
        metric.dataset_meta = dataset.metainfo
        masks = 'segm' in metrics
        count = 0
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            metric.process({}, [perfect(info, masks)])
            count += len(info['instances'])
        if split == 'train':  # images without objects, which the recipe skips
            kept = {info['img_id'] for info in map(dataset.get_data_info, range(len(dataset)))}
            for image_id in metric._coco_api.imgs:
                expect(
                    image_id in kept or not metric._coco_api.imgToAnns[image_id],
                    f'image {image_id} has objects and is skipped',
                )
        scores = metric.evaluate(len(dataset))
        wrong = {name: v for name, v in scores.items() if 'mAP_' not in name and v not in (1, -1)}
        wrong = {name: v for name, v in wrong.items() if not name.endswith('_copypaste')}
        for kind in metrics if isinstance(metrics, list) else [metrics]:
            if scores[f'coco/{kind}_mAP'] != 1:
                wrong[kind] = scores[f'coco/{kind}_mAP']
        expect(not wrong, f'a perfect detector scores {wrong} in {split}')
        return count


def perfect(info, masks):
    """Return the objects of an image as the predictions of a perfect detector."""
    size = info['height'], info['width']
    results = dict(info, ori_shape=size)
    instances = info['instances']
    if masks:
        results = LoadAnnotations(with_bbox=True, with_mask=True)(results)
        found = results['gt_masks'].masks
    boxes = torch.tensor([instance['bbox'] for instance in instances]).reshape(-1, 4).float()
    labels = torch.tensor([instance['bbox_label'] for instance in instances], dtype=torch.long)
    predicted = dict(bboxes=boxes, labels=labels, scores=torch.ones(len(labels)))
    predicted |= dict(masks=encode_mask_results(found)) if masks else {}
    return dict(pred_instances=predicted, img_id=info['img_id'], ori_shape=size)


def expect(condition, message):
    if not condition:
        raise Wrong(message)
