"""Whether an ONNX file gives what the model gives in PyTorch, measured with ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from mmengine.config import ConfigDict
from mmengine.structures import BaseDataElement
from rich.table import Table
from torch import Tensor, nn

from convnext_mm.datasets.shapes.scenes import render_scene
from convnext_mm.errors import UserError

# Images, height, width: other sizes than the traced one, also no multiples of any stride.
SIZES = ((1, 192, 320), (2, 289, 230), (1, 416, 352))


@dataclass(frozen=True)
class Limits:
    """How far ONNX may be from PyTorch.

    Attributes:
        value: Of feature maps and scores for pixels, relative to the largest of them.
        pixels: Share of the pixels with another class, or of those of the masks.
        box: In pixels.
        score: Of an object.
        objects: Share of the objects with no counterpart within `box` and `score`. Where two boxes
            have all but the same score, the last bit decides which of them NMS keeps: of five or
            more objects it may be one.
    """

    value: float
    pixels: float
    box: float
    score: float
    objects: float


FP32 = Limits(value=1e-3, pixels=1e-3, box=0.1, score=1e-3, objects=0.02)
FP16 = Limits(value=2e-2, pixels=2e-2, box=3.0, score=5e-2, objects=0.1)

# What is measured -> its value and the largest that is allowed.
Measures = dict[str, tuple[float, float]]


class Check:
    """Compares a file with a model, picture by picture.

    Args:
        path: The ONNX file.
        model: What was exported.
        facts: As :func:`convnext_mm.export.facts.facts_of` gives them. Pictures are prepared by
            these, as whoever uses the file does, and not by the model's data preprocessor.
        limits: How far they may be apart.
    """

    def __init__(self, path: Path, model: nn.Module, facts: Mapping, limits: Limits) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
        self.model = model
        self.facts = facts
        self.limits = limits
        if 'windows' in facts:  # the file is what is done to each of them
            model.test_cfg = ConfigDict(mode='whole')

    def run(self, batches: Iterable[np.ndarray]) -> Table:
        """Compare on batches of pictures, (N, H, W, C) uint8, BGR.

        Raises:
            UserError: They are too far apart, or no object was found to compare.
        """
        rows = {'x'.join(map(str, batch.shape[:3])): self._measure(batch) for batch in batches}
        table = _table(rows)
        wrong = [
            f'{name} {value:.2g} at {shape}'
            for shape, measures in rows.items()
            for name, (value, limit) in measures.items()
            if not value <= limit  # NaN neither
        ]
        if wrong:
            raise UserError(
                f'ONNX Runtime gives something else than PyTorch: {", ".join(wrong)}; no file was '
                'written'
            )
        if not any(measures.get('objects', (1, 1))[0] for measures in rows.values()):
            raise UserError(
                'the model finds nothing on the pictures of the check, which so proves nothing: '
                'give some with objects by --check-on; no file was written'
            )
        return table

    @torch.no_grad()
    def _measure(self, batch: np.ndarray) -> Measures:
        image = prepare(batch, self.facts)
        names = [output.name for output in self.session.get_outputs()]
        found = {
            name: torch.from_numpy(value)
            for name, value in zip(names, self.session.run(names, {'image': image}))
        }
        if self.facts['task'] == 'features':
            maps = self.model.backbone(torch.from_numpy(image))
            return {
                name: (_difference(found[name], expected), self.limits.value)
                for name, expected in zip(names, maps, strict=True)
            }
        samples = self._predict(batch)
        if 'logits' in found:
            return self._segments(found, samples)
        return self._objects(found, samples)

    def _predict(self, batch: np.ndarray) -> list[BaseDataElement]:
        """What the model's own ``test_step`` gives, not resized to another size."""
        if self.facts['task'] == 'semantic segmentation':
            from mmseg.structures import SegDataSample as Sample
        else:
            from mmdet.structures import DetDataSample as Sample
        size = batch.shape[1:3]
        meta = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), batch_input_shape=size)
        inputs = [torch.from_numpy(picture.transpose(2, 0, 1).copy()) for picture in batch]
        samples = [Sample(metainfo=meta) for _ in batch]
        return self.model.test_step(dict(inputs=inputs, data_samples=samples))

    def _segments(self, found: Mapping[str, Tensor], samples: list[BaseDataElement]) -> Measures:
        labels = torch.cat([sample.pred_sem_seg.data for sample in samples])
        logits = torch.stack([sample.seg_logits.data for sample in samples])
        if logits.shape[1] == 1:  # MMSegmentation gives their sigmoid
            found = {**found, 'logits': found['logits'].sigmoid()}
        other = (found['labels'] != labels).float().mean().item()
        return {
            'logits': (_difference(found['logits'], logits), self.limits.value),
            'pixels': (other, self.limits.pixels),
        }

    def _objects(self, found: Mapping[str, Tensor], samples: list[BaseDataElement]) -> Measures:
        total = found_by_model = paired = wrong = covered = 0
        box = score = 0.0
        for i, sample in enumerate(samples):
            expected = sample.pred_instances
            there = found['scores'][i] > 0
            got = {name: values[i][there] for name, values in found.items()}
            pairs = _pairs(got, expected, self.limits)
            found_by_model += len(expected)
            total += len(expected) + len(got['scores'])
            paired += len(pairs)
            for a, b in pairs:
                box = max(box, _largest(got['boxes'][a] - expected.bboxes[b]))
                score = max(score, _largest(got['scores'][a] - expected.scores[b]))
                if 'masks' in got:
                    mask = expected.masks[b]
                    pasted = _paste(got['masks'][a], got['boxes'][a], mask.shape)
                    pasted = pasted >= self.facts['mask_thr']
                    wrong += (pasted ^ mask).sum().item()
                    covered += (pasted | mask).sum().item()
        # A file that gets every object wrong has no pairs, and nothing is allowed to it.
        allowed = max(self.limits.objects * total / 2, min(1, paired // 5)) if paired else 0
        measures = {
            'objects': (found_by_model, math.inf),
            'unmatched': (total / 2 - paired, allowed),
            'box': (box, self.limits.box),
            'score': (score, self.limits.score),
        }
        if 'masks' in found:
            measures['pixels'] = (wrong / max(covered, 1), self.limits.pixels)
        return measures


def scenes(channels: int) -> Iterable[np.ndarray]:
    """Pictures to compare on: rendered objects, in the sizes above."""
    seed = 0
    for number, height, width in SIZES:
        pictures = [render_scene(seed + i, height, width).image for i in range(number)]
        seed += number
        yield np.stack(pictures)[..., np.arange(channels) % 3]


def prepare(pictures: np.ndarray, facts: Mapping) -> np.ndarray:
    """(N, H, W, C) uint8, BGR -> (N, C, H, W) fp32, as the metadata of a file say."""
    if facts['channels'] == 'RGB':
        pictures = pictures[..., ::-1]
    image = (pictures - np.float32(facts['mean'])) / np.float32(facts['std'])
    return np.ascontiguousarray(image.transpose(0, 3, 1, 2), np.float32)


def _pairs(
    got: Mapping[str, Tensor], expected: BaseDataElement, limits: Limits
) -> list[tuple[int, int]]:
    """Which object is which: the nearest one within the limits, each once."""
    distance = (got['boxes'][:, None] - expected.bboxes[None]).abs().amax(-1)
    same = (got['labels'][:, None] == expected.labels[None]) & (distance <= limits.box)
    same &= (got['scores'][:, None] - expected.scores[None]).abs() <= limits.score
    pairs = []
    while same.any():
        at = int(distance.masked_fill(~same, math.inf).argmin())
        a, b = divmod(at, same.shape[1])
        pairs.append((a, b))
        same[a], same[:, b] = False, False
    return pairs


def _paste(mask: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities (S, S) in a box -> of all pixels, as MMDetection pastes them on a CPU."""
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    pasted = torch.zeros(size)
    part, window = _do_paste_mask(mask[None, None], box[None], *size, skip_empty=True)
    pasted[window] = part[0]
    return pasted


def _difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference relative to the largest value; infinite where shapes differ."""
    if found.shape != expected.shape:
        return math.inf
    return _largest(found - expected) / max(_largest(expected), 1e-12)


def _largest(x: Tensor) -> float:
    return x.abs().max().item()


def _table(rows: Mapping[str, Measures]) -> Table:
    table = Table(title='largest difference between ONNX Runtime and PyTorch')
    table.add_column('N x H x W')
    measures = next(iter(rows.values()))
    for name in measures:
        table.add_column(name, justify='right')
    for shape, row in rows.items():
        table.add_row(shape, *(f'{value:.3g}' for value, _ in row.values()))
    return table
