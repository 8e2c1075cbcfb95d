"""The transform that reads an image file, and those that resize and pack lazy images."""

from __future__ import annotations

import mmcv
import numpy as np
import torch
from mmcv import transforms
from mmengine import fileio

from convnext_mm.datasets.loader.axis import Axis
from convnext_mm.datasets.loader.lazy import Jpeg, Lazy, LazyImage, LazyLabels, planes


class LoadImage(transforms.LoadImageFromFile):
    """MMCV's LoadImageFromFile, but the image is lazy, and a JPEG is not decoded yet."""

    def transform(self, results: dict) -> dict | None:
        decodes = (self.to_float32, self.color_type, self.imdecode_backend, self.ignore_empty)
        if decodes != (False, 'color', 'cv2', False) or self.file_client_args is not None:
            return super().transform(results)
        name = results['img_path']
        content = fileio.get(name, backend_args=self.backend_args)
        source = Jpeg.open(content, name)
        if source is None:
            source = mmcv.imfrombytes(content, flag='color', backend='cv2')
            assert source is not None, f'failed to load image: {name}'
        height, width = size = source.size if isinstance(source, Jpeg) else source.shape[:2]
        results['img'] = LazyImage(source, Axis.of(height), Axis.of(width))
        results['img_shape'] = results['ori_shape'] = size
        return results


class LazyResize:
    """Resize lazy images and label maps in a class of MMCV or MMDetection that resizes."""

    def _resize_img(self, results: dict) -> None:
        image = results.get('img')
        if not isinstance(image, LazyImage):
            return super()._resize_img(results)
        if (self.interpolation, self.backend) != ('bilinear', 'cv2'):
            results['img'] = image.read()
            return super()._resize_img(results)
        height, width = image.shape[:2]
        new_width, new_height = self._size(image, results)
        results['img'] = image.resize(new_height, new_width)
        results['img_shape'] = new_height, new_width
        results['scale_factor'] = new_width / width, new_height / height
        results['keep_ratio'] = self.keep_ratio
        return None

    def _resize_seg(self, results: dict) -> None:
        arrays = dict(results)
        for key, labels in results.items():
            if isinstance(labels, LazyLabels):
                width, height = self._size(labels, results)
                results[key] = labels.resize(height, width)
                arrays.pop(key)
        super()._resize_seg(arrays)
        results.update(arrays)

    def _size(self, image: Lazy, results: dict) -> tuple[int, int]:
        """Return the new (width, height)."""
        if not self.keep_ratio:
            return results['scale']
        return mmcv.rescale_size(image.shape[1::-1], results['scale'])


class PackLazy:
    """Pack an image, lazy or not, in a class of MMDetection or MMSegmentation that packs."""

    def transform(self, results: dict) -> dict:
        image = results.get('img')
        if isinstance(image, LazyImage):
            pixels = image.planes()
        elif isinstance(image, np.ndarray) and image.ndim == 3 and image.dtype == np.uint8:
            pixels = planes(image)
        else:
            return super().transform(results)
        others = {key: value for key, value in results.items() if key != 'img'}
        return dict(inputs=torch.from_numpy(pixels), **super().transform(others))
