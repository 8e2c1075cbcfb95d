"""Masks of objects that stay in the coordinates of the image file until they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import mmcv
import numpy as np
import torch
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes, get_box_type
from mmdet.structures.mask import BitmapMasks
from mmdet.structures.mask.structures import BaseInstanceMasks
from pycocotools import mask as coco_mask

from convnext_mm.datasets.loader.axis import Axis

# pycocotools rounds the corners of polygons to fifths of a pixel.
_FIFTHS = 5
_EMPTY = 1e-6  # px, the least size of a cell


class Patch(NamedTuple):
    """The part of a bitmap in the size of the file that holds a mask: (H, W) uint8."""

    top: int
    left: int
    bitmap: np.ndarray


class SourceMask:
    """The mask of an object as it was annotated: polygons or an RLE.

    Args:
        annotation: A list of polygons (x, y, x, y, ...), or an RLE of COCO.
        size: (height, width) of the image file.
    """

    def __init__(self, annotation: list[np.ndarray] | dict, size: tuple[int, int]) -> None:
        self.annotation: list[np.ndarray] | dict | None = annotation
        self.size = size
        self._patch: Patch | None = None

    @property
    def patch(self) -> Patch:
        """The mask as a bitmap."""
        if self._patch is None:
            draw([self])
        return self._patch

    @patch.setter
    def patch(self, patch: Patch) -> None:
        self._patch, self.annotation = patch, None  # needed no more


def draw(masks: Iterable[SourceMask]) -> None:
    """Draw masks that are not drawn yet. To draw many at once is faster."""
    waiting = [mask for mask in masks if mask.annotation is not None]
    outlined = [mask for mask in waiting if not isinstance(mask.annotation, dict)]
    for mask in waiting:
        if isinstance(mask.annotation, dict):
            mask.patch = _patch_of_rle(mask.annotation, *mask.size)
    if outlined:
        _draw_polygons(outlined)


def _draw_polygons(masks: Sequence[SourceMask]) -> None:
    """Draw polygons with pycocotools, with the same pixels as in the whole image."""
    polygons = [polygon for mask in masks for polygon in mask.annotation]
    corners = np.concatenate(polygons, dtype=np.float64).reshape(-1, 2)
    ends = np.cumsum([len(polygon) // 2 for polygon in polygons])
    counts = np.array([len(mask.annotation) for mask in masks])
    starts = np.concatenate([[0], ends])[np.cumsum(counts) - counts]
    # The pixels of the file that a mask can have, and one more on each side.
    sizes = np.array([mask.size[::-1] for mask in masks])
    low = np.maximum(np.minimum.reduceat(corners, starts).astype(int) - 1, 0)
    high = np.minimum(np.maximum.reduceat(corners, starts).astype(int) + 2, sizes)
    # Positions are shifted by whole fifths of a pixel, so that the shift has no rounding error.
    lengths = np.diff(np.append(starts, len(corners)))
    shifts = np.repeat(low, lengths, axis=0)
    fifths = np.floor(corners * _FIFTHS + 0.5) - shifts * _FIFTHS
    points = np.where(shifts, fifths / _FIFTHS, corners).reshape(-1)
    parts = iter(np.split(points, 2 * ends[:-1]))
    for mask, count, (left, top), (right, bottom) in zip(
        masks, counts, low.tolist(), high.tolist(), strict=True
    ):
        own = [next(parts) for _ in range(count)]
        if right <= left or bottom <= top:
            mask.patch = Patch(0, 0, np.zeros((0, 0), np.uint8))
            continue
        rles = coco_mask.frPyObjects(own, bottom - top, right - left)
        rle = rles[0] if count == 1 else coco_mask.merge(rles)
        mask.patch = Patch(top, left, coco_mask.decode(rle))


def _patch_of_rle(rle: dict, height: int, width: int) -> Patch:
    if isinstance(rle['counts'], list):
        rle = coco_mask.frPyObjects(rle, height, width)
    left, top, wide, high = coco_mask.toBbox(rle).astype(int)
    bitmap = coco_mask.decode(rle)[top : top + high, left : left + wide]
    return Patch(top, left, bitmap.copy())


class _Pixels(NamedTuple):
    """Where the pixels of a patch are along one axis of the current image."""

    first: int
    stop: int
    source: np.ndarray  # the row or column of the patch, for each pixel

    @classmethod
    def of(cls, axis: Axis, first: int, size: int) -> _Pixels:
        inside = np.flatnonzero((axis.pixels >= first) & (axis.pixels < first + size))
        if not len(inside):
            return cls(0, 0, inside)
        start, stop = int(inside[0]), int(inside[-1]) + 1
        return cls(start, stop, axis.pixels[start:stop] - first)


class SourceMasks(BaseInstanceMasks):
    """Masks of objects with the resizes, crops and flips that their image went through.

    The bitmaps equal the bitmaps of MMDetection's BitmapMasks after the same steps. They are
    computed on request only: :meth:`crop_and_resize` computes the targets of the mask head from
    small bitmaps in the size of the file.

    Args:
        objects: The mask of each object.
        y: The rows of the current image.
        x: Its columns.
    """

    def __init__(self, objects: Sequence[SourceMask], y: Axis, x: Axis) -> None:
        self.objects, self.y, self.x = list(objects), y, x
        self._integrals: _Integrals | None = None

    @property
    def height(self) -> int:
        return self.y.size

    @property
    def width(self) -> int:
        return self.x.size

    @property
    def masks(self) -> np.ndarray:
        """The bitmaps, as in BitmapMasks."""
        return self.to_ndarray()

    def __len__(self) -> int:
        return len(self.objects)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.to_ndarray())

    def __getitem__(self, index: Any) -> SourceMasks:
        if isinstance(index, torch.Tensor):
            index = index.cpu().numpy()
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return self._at(self.y, self.x, [self.objects[i] for i in chosen])

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f'{kind}(num_masks={len(self)}, height={self.height}, width={self.width})'

    def __getstate__(self) -> dict:
        return self.__dict__ | dict(_integrals=None)

    def _at(self, y: Axis, x: Axis, objects: Sequence[SourceMask] | None = None) -> SourceMasks:
        return type(self)(self.objects if objects is None else objects, y, x)

    # --- the steps of a pipeline

    def rescale(self, scale: Any, interpolation: str = 'nearest') -> SourceMasks:
        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return self.resize((height, width))

    def resize(self, out_shape: Sequence[int], interpolation: str = 'nearest') -> SourceMasks:
        height, width = out_shape
        return self._at(self.y.resize(height), self.x.resize(width))

    def flip(self, flip_direction: str = 'horizontal') -> SourceMasks:
        assert flip_direction in ('horizontal', 'vertical', 'diagonal')
        y = self.y if flip_direction == 'horizontal' else self.y.flip()
        return self._at(y, self.x if flip_direction == 'vertical' else self.x.flip())

    def pad(self, out_shape: Sequence[int], pad_val: int = 0) -> SourceMasks:
        if pad_val:
            return self.to_bitmap().pad(out_shape, pad_val)
        height, width = out_shape
        return self._at(self.y.pad(height), self.x.pad(width))

    def crop(self, bbox: np.ndarray) -> SourceMasks:
        left, right = np.clip(bbox[0::2], 0, self.width).tolist()
        top, bottom = np.clip(bbox[1::2], 0, self.height).tolist()
        y = self.y.crop(top, max(bottom, top + 1))
        return self._at(y, self.x.crop(left, max(right, left + 1)))

    # --- for models and pipelines

    def _parts(self) -> Iterator[tuple[_Pixels, _Pixels, np.ndarray]]:
        draw(self.objects)
        for mask in self.objects:
            patch = mask.patch
            height, width = patch.bitmap.shape
            rows = _Pixels.of(self.y, patch.top, height)
            yield rows, _Pixels.of(self.x, patch.left, width), patch.bitmap

    def to_ndarray(self) -> np.ndarray:
        """Return the bitmaps, (N, H, W) uint8."""
        bitmaps = np.zeros((len(self), self.height, self.width), np.uint8)
        for bitmap, (rows, columns, patch) in zip(bitmaps, self._parts()):
            bitmap[rows.first : rows.stop, columns.first : columns.stop] = _shown(
                rows, columns, patch
            )
        return bitmaps

    def to_bitmap(self) -> BitmapMasks:
        return BitmapMasks(self.to_ndarray(), self.height, self.width)

    def to_tensor(self, dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
        return torch.tensor(self.to_ndarray(), dtype=dtype, device=device)

    @property
    def areas(self) -> np.ndarray:
        """The number of pixels of each mask."""
        return np.array([_shown(*part).sum(dtype=int) for part in self._parts()], dtype=int)

    def get_bboxes(self, dst_type: str | type[BaseBoxes] = 'hbb') -> BaseBoxes:
        """Return the boxes around the pixels of the masks."""
        _, kind = get_box_type(dst_type)
        if kind is not HorizontalBoxes:
            return kind.from_instance_masks(self.to_bitmap())
        boxes = np.zeros((len(self), 4), np.float32)
        for box, (rows, columns, patch) in zip(boxes, self._parts()):
            if len(rows.source) and len(columns.source):
                # Several pixels may be copies of one, so look at each source pixel once.
                (y, tops), (x, lefts) = _once(rows), _once(columns)
                part = np.ascontiguousarray(patch[y][:, x])
                inside = [np.flatnonzero(cv2.reduce(part, axis, cv2.REDUCE_MAX)) for axis in (0, 1)]
                if len(inside[0]):
                    box[0::2] = lefts[inside[0][0]], lefts[inside[0][-1] + 1]
                    box[1::2] = tops[inside[1][0]], tops[inside[1][-1] + 1]
        return HorizontalBoxes(boxes)

    def crop_and_resize(
        self,
        bboxes: np.ndarray | torch.Tensor,
        out_shape: tuple[int, int],
        inds: np.ndarray | torch.Tensor,
        device: torch.device | str = 'cpu',
        interpolation: str = 'bilinear',
        binarize: bool = True,
    ) -> BitmapMasks:
        """Return the masks within boxes in a small size: the targets of a mask head.

        A pixel of the result is the part of its area that the mask covers; 1 from a half on with
        `binarize`. BitmapMasks asks RoIAlign for about the same.
        """
        if not len(self):
            return BitmapMasks(np.empty((0, *out_shape), np.uint8), *out_shape)
        boxes, objects = (
            np.asarray(given.cpu() if isinstance(given, torch.Tensor) else given)
            for given in (bboxes, inds)
        )
        if not len(boxes):
            return BitmapMasks([], *out_shape)
        if self._integrals is None:
            self._integrals = _Integrals(list(self._parts()))
        rows, columns = out_shape
        y, x = _edges(boxes[:, 1::2], rows), _edges(boxes[:, 0::2], columns)
        covered = self._integrals.covered(objects.astype(int), y, x)
        return BitmapMasks(covered >= 0.5 if binarize else covered, *out_shape)

    # --- operations on bitmaps alone

    def expand(self, *args: Any, **kwargs: Any) -> BitmapMasks:
        return self.to_bitmap().expand(*args, **kwargs)

    def translate(self, *args: Any, **kwargs: Any) -> BitmapMasks:
        return self.to_bitmap().translate(*args, **kwargs)

    def shear(self, *args: Any, **kwargs: Any) -> BitmapMasks:
        return self.to_bitmap().shear(*args, **kwargs)

    def rotate(self, *args: Any, **kwargs: Any) -> BitmapMasks:
        return self.to_bitmap().rotate(*args, **kwargs)

    @classmethod
    def cat(cls, masks: Sequence[SourceMasks]) -> BaseInstanceMasks:
        """Concatenate masks; masks of different images become bitmaps."""
        first = masks[0]
        if all(part.y is first.y and part.x is first.x for part in masks):
            return cls([mask for part in masks for mask in part.objects], first.y, first.x)
        return BitmapMasks.cat([part.to_bitmap() for part in masks])


def _once(pixels: _Pixels) -> tuple[np.ndarray | slice, np.ndarray]:
    """Return the source pixels that are shown, each once, and their edges in the image."""
    changes = np.flatnonzero(np.diff(pixels.source, prepend=-1))
    shown = pixels.source[changes]
    edges = np.append(changes, len(pixels.source)) + pixels.first
    if shown[-1] - shown[0] == len(shown) - 1:  # none is left out, and none is flipped
        return slice(int(shown[0]), int(shown[-1]) + 1), edges
    return shown, edges


def _shown(rows: _Pixels, columns: _Pixels, patch: np.ndarray) -> np.ndarray:
    """Return the pixels of a patch in the current image."""
    return patch[rows.source].take(columns.source, axis=1)


def _edges(spans: np.ndarray, cells: int) -> np.ndarray:
    """Divide spans (start, stop) into cells, and return their edges: (N, cells + 1)."""
    starts, stops = spans.astype(np.float64).T
    sizes = np.maximum(stops - starts, _EMPTY) / cells
    return starts[:, None] + sizes[:, None] * np.arange(cells + 1)


class _Integrals:
    """The integral images of the visible parts of several masks, in one array."""

    def __init__(self, parts: Sequence[tuple[_Pixels, _Pixels, np.ndarray]]) -> None:
        self._origins = np.array([[rows.first, columns.first] for rows, columns, _ in parts])
        shapes = [(len(rows.source), len(columns.source)) for rows, columns, _ in parts]
        shapes = [shape if all(shape) else (0, 0) for shape in shapes]
        self._shapes = np.array(shapes)
        sums = [
            cv2.integral(_shown(*part)) if all(shape) else np.zeros((1, 1), np.int32)
            for part, shape in zip(parts, shapes)
        ]
        self._strides = np.array([part.shape[1] for part in sums])
        self._starts = np.cumsum([0, *(part.size for part in sums[:-1])])
        # One more row: pixels beyond the last edge have no weight, but they are looked up.
        beyond = np.zeros(self._strides.max() + 2, np.int32)
        self._values = np.concatenate([*(part.reshape(-1) for part in sums), beyond])

    def covered(self, objects: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the part of each cell that a mask covers, (N, rows, columns).

        Args:
            objects: The mask for each of N grids of cells.
            y: The edges of their rows, (N, rows + 1).
            x: The edges of their columns, (N, columns + 1).
        """
        (rows, low), (columns, left) = self._split(y, objects, 0), self._split(x, objects, 1)
        strides = self._strides[objects][:, None, None]
        at = self._starts[objects][:, None, None] + rows[:, :, None] * strides + columns[:, None]
        low, left = low[:, :, None], left[:, None]
        take = self._values.take
        upper = take(at) * (1 - left) + take(at + 1) * left
        at += strides
        lower = take(at) * (1 - left) + take(at + 1) * left
        sums = upper + (lower - upper) * low
        sizes = (y[:, 1] - y[:, 0]) * (x[:, 1] - x[:, 0])
        return np.diff(np.diff(sums, axis=1), axis=2) / sizes[:, None, None]

    def _split(
        self, edges: np.ndarray, objects: np.ndarray, axis: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels that edges are in, and how far in, within the parts of the masks."""
        sizes = self._shapes[objects, axis][:, None]
        inside = np.clip(edges - self._origins[objects, axis][:, None], 0, sizes)
        whole = inside.astype(np.int64)
        return whole, inside - whole
