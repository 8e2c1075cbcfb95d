"""Check with ONNX Runtime that an ONNX file gives the same as its model in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from mmengine.config import ConfigDict
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from convnext_mm.datasets.shapes.scenes import render_scene
from convnext_mm.errors import UserError
from convnext_mm.inference.data_samples import empty_sample

# Images, height, width. None is the traced size, and not all are multiples of a stride.
SHAPES = ((1, 192, 320), (2, 289, 230), (1, 416, 352))


@dataclass(frozen=True)
class Tolerance:
    """The largest differences that are allowed between ONNX Runtime and PyTorch.

    Attributes:
        value: Of feature maps and pixel scores, relative to their largest value.
        pixels: The share of pixels with another class, or of mask pixels that differ.
        box: In pixels.
        score: Of an object.
        objects: The share of objects without a counterpart within `box` and `score`. If two boxes
            have almost the same score, rounding decides which one NMS keeps. One unmatched object
            is always allowed from five matched ones on.
    """

    value: float
    pixels: float
    box: float
    score: float
    objects: float


FP32 = Tolerance(value=1e-3, pixels=1e-3, box=0.1, score=1e-3, objects=0.02)
FP16 = Tolerance(value=2e-2, pixels=2e-2, box=3.0, score=5e-2, objects=0.1)

# The name of a difference -> its value and the largest value allowed.
Measures = dict[str, tuple[float, float]]


class Check:
    """Compare an ONNX file with its model.

    Args:
        path: The ONNX file.
        model: The model that was exported.
        metadata: From :func:`convnext_mm.export.metadata.model_metadata`. It decides how images are
            prepared for the file, as in a deployment; the model uses its own data preprocessor.
        tolerance: The differences that are allowed.
    """

    def __init__(self, path: Path, model: nn.Module, metadata: Mapping, tolerance: Tolerance):
        self.session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
        self.model = model
        self.metadata = metadata
        self.tolerance = tolerance
        if 'windows' in metadata:  # the file computes a single window
            model.test_cfg = ConfigDict(mode='whole')

    def run(self, batches: Iterable[np.ndarray]) -> dict[str, dict[str, float]]:
        """Compare on batches of images, (N, H, W, C) uint8 BGR.

        Returns:
            The differences of each batch by their names, by the shape of the batch.

        Raises:
            UserError: A difference is too large, or there was no object to compare.
        """
        measured = {'x'.join(map(str, batch.shape[:3])): self._measure(batch) for batch in batches}
        wrong = [
            f'{name} {value:.2g} at {shape} (at most {limit:.2g})'
            for shape, measures in measured.items()
            for name, (value, limit) in measures.items()
            if not value <= limit  # also true for NaN
        ]
        if wrong:
            raise UserError(
                f'ONNX Runtime differs from PyTorch: {", ".join(wrong)}; no file was written'
            )
        if not any(measures.get('objects', (1, 1))[0] for measures in measured.values()):
            raise UserError(
                'the model finds no object in the images of the check, so nothing was compared; '
                'give images with objects by --check-on. No file was written'
            )
        return {
            shape: {name: value for name, (value, _) in measures.items()}
            for shape, measures in measured.items()
        }

    @torch.no_grad()
    def _measure(self, batch: np.ndarray) -> Measures:
        image = prepare(batch, self.metadata)
        names = [output.name for output in self.session.get_outputs()]
        outputs = {
            name: torch.from_numpy(value)
            for name, value in zip(names, self.session.run(names, {'image': image}))
        }
        if self.metadata['task'] == 'features':
            maps = self.model.backbone(torch.from_numpy(image))
            return {
                name: (_difference(outputs[name], expected), self.tolerance.value)
                for name, expected in zip(names, maps, strict=True)
            }
        samples = self._predict(batch)
        if 'logits' in outputs:
            return self._compare_pixels(outputs, samples)
        return self._compare_objects(outputs, samples)

    def _predict(self, batch: np.ndarray) -> list[BaseDataElement]:
        """Return the predictions of ``test_step`` at the size of the batch."""
        scope = 'mmseg' if self.metadata['task'] == 'semantic segmentation' else 'mmdet'
        samples = [empty_sample(scope, *batch.shape[1:3]) for _ in batch]
        inputs = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in batch]
        return self.model.test_step(dict(inputs=inputs, data_samples=samples))

    def _compare_pixels(
        self, outputs: Mapping[str, Tensor], samples: list[BaseDataElement]
    ) -> Measures:
        labels = torch.cat([sample.pred_sem_seg.data for sample in samples])
        expected = torch.stack([sample.seg_logits.data for sample in samples])
        logits = outputs['logits']
        if expected.shape[1] == 1:  # with one class, MMSegmentation returns the sigmoid
            logits = logits.sigmoid()
        different = (outputs['labels'] != labels).float().mean().item()
        return {
            'logits': (_difference(logits, expected), self.tolerance.value),
            'pixels': (different, self.tolerance.pixels),
        }

    def _compare_objects(
        self, outputs: Mapping[str, Tensor], samples: list[BaseDataElement]
    ) -> Measures:
        in_pytorch = total = matched = wrong = covered = 0
        box = score = 0.0
        for i, sample in enumerate(samples):
            expected = sample.pred_instances
            real = outputs['scores'][i] > 0
            objects = {name: values[i][real] for name, values in outputs.items()}
            pairs = _match(objects, expected, self.tolerance)
            in_pytorch += len(expected)
            total += len(expected) + len(objects['scores'])
            matched += len(pairs)
            for a, b in pairs:
                box = max(box, _largest(objects['boxes'][a] - expected.bboxes[b]))
                score = max(score, _largest(objects['scores'][a] - expected.scores[b]))
                if 'masks' in objects:
                    mask = expected.masks[b]
                    pasted = _paste(objects['masks'][a], objects['boxes'][a], mask.shape)
                    pasted = pasted >= self.metadata['mask_thr']
                    wrong += (pasted ^ mask).sum().item()
                    covered += (pasted | mask).sum().item()
        # Without any match every object is wrong, so none may be unmatched.
        limit = max(self.tolerance.objects * total / 2, min(1, matched // 5)) if matched else 0
        measures = {
            'objects': (in_pytorch, math.inf),
            'unmatched': (total / 2 - matched, limit),
            'box': (box, self.tolerance.box),
            'score': (score, self.tolerance.score),
        }
        if 'masks' in outputs:
            measures['pixels'] = (wrong / max(covered, 1), self.tolerance.pixels)
        return measures


def rendered_batches(channels: int) -> Iterator[np.ndarray]:
    """Yield batches of rendered shapes, (N, H, W, channels) uint8, in the sizes of `SHAPES`."""
    seed = 0
    for number, height, width in SHAPES:
        images = [render_scene(seed + i, height, width).image for i in range(number)]
        seed += number
        yield np.stack(images)[..., np.arange(channels) % 3]


def prepare(images: np.ndarray, metadata: Mapping) -> np.ndarray:
    """Normalise (N, H, W, C) uint8 BGR images by the metadata: (N, C, H, W) fp32."""
    if metadata['channels'] == 'RGB':
        images = images[..., ::-1]
    image = (images - np.float32(metadata['mean'])) / np.float32(metadata['std'])
    return np.ascontiguousarray(image.transpose(0, 3, 1, 2), np.float32)


def _match(
    objects: Mapping[str, Tensor], expected: BaseDataElement, tolerance: Tolerance
) -> list[tuple[int, int]]:
    """Pair the objects of the file with objects of the model, the nearest boxes first."""
    distance = (objects['boxes'][:, None] - expected.bboxes[None]).abs().amax(-1)
    score = (objects['scores'][:, None] - expected.scores[None]).abs()
    same = objects['labels'][:, None] == expected.labels[None]
    same &= (distance <= tolerance.box) & (score <= tolerance.score)
    pairs = []
    while same.any():
        nearest = int(distance.masked_fill(~same, math.inf).argmin())
        a, b = divmod(nearest, same.shape[1])
        pairs.append((a, b))
        same[a], same[:, b] = False, False
    return pairs


def _paste(mask: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """Paste a mask of probabilities (S, S) into an image of `size`, as MMDetection does on CPUs."""
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    pasted = torch.zeros(size)
    content, window = _do_paste_mask(mask[None, None], box[None], *size, skip_empty=True)
    pasted[window] = content[0]
    return pasted


def _difference(output: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest value; infinite for other shapes."""
    if output.shape != expected.shape:
        return math.inf
    return _largest(output - expected) / max(_largest(expected), 1e-12)


def _largest(x: Tensor) -> float:
    return x.abs().max().item()
