"""Write a model as an ONNX file, check it, and only then put it in its place."""

from __future__ import annotations

import copy
import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from torch import nn

from convnext_mm.backbone import ConvNeXt
from convnext_mm.config.reading import find_work_dir, load_checked_config
from convnext_mm.errors import UserError
from convnext_mm.inference.predictor import Predictor
from convnext_mm.inference.sources import find_files
from convnext_mm.messages.wording import first_line

PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
TRACED_SHAPE = (2, 256, 320)  # images, height, width; PyTorch would fix a dimension of size 1


@dataclass(frozen=True)
class ExportResult:
    """What :func:`export` wrote.

    Attributes:
        path: The ONNX file. Weights larger than 2 GiB are in a second file, whose name ends in
            ``.onnx.data``.
        task: The task in the metadata, such as ``instance segmentation``.
        outputs: The names of the outputs.
        size: The size of the file and its weights in bytes.
        check: For each batch, by its shape N x H x W, the largest differences from PyTorch by their
            names: see :class:`convnext_mm.export.onnx_check.Tolerance`.
    """

    path: Path
    task: str
    outputs: tuple[str, ...]
    size: int
    check: Mapping[str, Mapping[str, float]]

    def table(self) -> Table:
        """Lay out the check, one row per batch."""
        table = Table(title='largest difference between ONNX Runtime and PyTorch')
        table.add_column('N x H x W')
        for name in next(iter(self.check.values())):
            table.add_column(name, justify='right')
        for shape, differences in self.check.items():
            table.add_row(shape, *(f'{value:.3g}' for value in differences.values()))
        return table


def export(
    config: str | Path,
    checkpoint: str | Path,
    *,
    out: str | Path | None = None,
    backbone: bool = False,
    fp16: bool = False,
    check_on: str | Path | Sequence[str | Path] = (),
    options: dict | None = None,
) -> ExportResult:
    """Export a trained model as an ONNX file, and compare the file with PyTorch.

    Batch size, height and width of the input stay dynamic. The comparison runs ONNX Runtime on
    other sizes than the traced one.

    Args:
        config: A detection or segmentation config file.
        checkpoint: A trained model: a path, a URL or the name of published weights.
        out: The file to write; by default ``model.onnx`` in the config's work dir.
        backbone: Whether to export the feature maps of the backbone alone.
        fp16: Whether to store weights and to compute convolutions and matrix products in fp16. GRN,
            the sums of LayerNorm, scores and boxes stay in fp32.
        check_on: Images to compare on, as for :func:`convnext_mm.inference.predict`. The test
            pipeline prepares them. By default the comparison renders images of shapes.
        options: Config settings to override, by dotted key.

    Raises:
        UserError: The model cannot be exported, or the file differs from the model. Then no file is
            written, and an old one is kept.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UserError(f"{package} is not installed: pip install 'convnext-mm[export]'")
    # These modules import those packages.
    from convnext_mm.export.metadata import model_metadata
    from convnext_mm.export.onnx_check import FP16, FP32, Check, rendered_batches

    cfg = load_checked_config(config, options, ('model', 'test_dataloader'))
    out = Path(out or find_work_dir(cfg) / 'model.onnx')
    if out.suffix != '.onnx':
        raise UserError(f'{out}: the file must end in .onnx')
    predictor = Predictor(cfg, checkpoint, 'cpu')
    model = predictor.model
    if not isinstance(model.backbone, ConvNeXt):
        kind = type(model.backbone).__name__
        raise UserError(f'the backbone is {kind}; only convnext_mm.ConvNeXt can be exported')
    wrapper = _wrap(copy.deepcopy(model), backbone, fp16)
    classes = predictor.meta.get('classes', ())
    metadata = model_metadata(model, wrapper.outputs, cfg, str(checkpoint), classes)
    if check_on:
        batches = _prepared_images(predictor, check_on)
    else:
        batches = rendered_batches(model.backbone.in_channels)
    try:
        with _replacing(out) as path:
            _write(wrapper, metadata, path)
            measured = Check(path, model, metadata, FP16 if fp16 else FP32).run(batches)
    except OSError as error:
        raise UserError(f'{out}: {error}') from error
    files = filter(Path.is_file, (out, _weights_file(out)))
    size = sum(file.stat().st_size for file in files)
    return ExportResult(out, metadata['task'], wrapper.outputs, size, measured)


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield a temporary path to write to. If no error is raised, the file replaces `out`."""
    existing = next(folder for folder in out.absolute().parents if folder.exists())
    with tempfile.TemporaryDirectory(dir=existing, prefix=f'.{out.stem}-') as folder:
        path = Path(folder, out.name)
        yield path
        out.parent.mkdir(parents=True, exist_ok=True)
        separate = _weights_file(path).is_file()
        if separate:
            os.replace(_weights_file(path), _weights_file(out))
        os.replace(path, out)
        if not separate:
            _weights_file(out).unlink(missing_ok=True)  # it belongs to the replaced file


def _weights_file(path: Path) -> Path:
    """Return the path where PyTorch writes weights that are too large for the ONNX file."""
    return path.with_name(f'{path.name}.data')


def _wrap(model: nn.Module, backbone: bool, fp16: bool) -> nn.Module:
    """Return the module to trace. The model is changed."""
    from convnext_mm.export import wrappers

    if fp16:
        wrappers.convert_to_fp16(model)
    if backbone:
        return wrappers.Backbone(model)
    if hasattr(model, 'decode_head'):
        return wrappers.Segmentor(model)
    if hasattr(model, 'roi_head'):  # imported here: a segmentor needs no MMDetection
        from convnext_mm.export.two_stage import Detector

        return Detector(model)
    raise wrappers.unsupported(type(model).__name__)


def _write(wrapper: nn.Module, metadata: Mapping[str, object], path: Path) -> None:
    from convnext_mm.export.metadata import as_strings
    from convnext_mm.export.operators import OPSET, TRANSLATIONS

    number, height, width = TRACED_SHAPE
    image = torch.zeros(number, len(metadata['mean']), height, width)
    # PyTorch logs that torchvision's operators are missing; no model here uses them.
    logging.getLogger('torch.onnx._internal.exporter._registration').setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            program = torch.onnx.export(
                wrapper.eval(),
                (image,),
                input_names=['image'],
                output_names=list(wrapper.outputs),
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=({0: 'batch', 2: 'height', 3: 'width'},),
                custom_translation_table=TRANSLATIONS,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            f'PyTorch cannot export this model: {_root_cause(error)}; --backbone exports the '
            'backbone alone'
        ) from error
    program.model.metadata_props.update(as_strings(metadata))
    program.save(path)


def _root_cause(error: BaseException) -> str:
    """Return the type and the first line of the error that caused all others."""
    while error.__cause__:
        error = error.__cause__
    return first_line(error)


def _prepared_images(
    predictor: Predictor, names: str | Path | Sequence[str | Path]
) -> list[np.ndarray]:
    """Return images as the test pipeline prepares them, (1, H, W, C) uint8 BGR each."""
    images = []
    for path in find_files(names):
        try:
            inputs = predictor.prepare(predictor.read(path))['inputs']
        except Exception as error:  # decoders raise errors of any type
            raise UserError(f'{path} cannot be read: {error}') from error
        images.append(inputs.permute(1, 2, 0).numpy()[None])
    return images
