"""Export what a command line names, prove it, and only then put the file where it was asked for."""

from __future__ import annotations

import argparse
import copy
import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import nn

from convnext_mm import ConvNeXt
from convnext_mm.config.reading import find_work_dir, load_config
from convnext_mm.errors import UserError
from convnext_mm.inference import Predictor, sources

PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
TRACED = (2, 256, 320)  # images, height, width; what is 1 would be taken for fixed


def export_file(args: argparse.Namespace) -> None:
    """Export as ``tools/export.py`` is told.

    Raises:
        UserError: It cannot be exported, or the file would not give what the model gives; there is
            then no new file, and an old one stays as it was.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UserError(f"{package} is not installed: pip install 'convnext-mm[export]'")
    # They import those packages.
    from convnext_mm.export.check import FP16, FP32, Check, scenes
    from convnext_mm.export.facts import facts_of

    cfg = load_config(args.config, args.cfg_options)
    out = Path(args.out or find_work_dir(cfg) / 'model.onnx')
    if out.suffix != '.onnx':
        raise UserError(f'--out {out}: the file must end in .onnx')
    predictor = Predictor(cfg, args.checkpoint, 'cpu')
    backbone = predictor.model.backbone
    if not isinstance(backbone, ConvNeXt):
        raise UserError(f'the backbone is {type(backbone).__name__}, and not convnext_mm.ConvNeXt')
    graph = _graph(copy.deepcopy(predictor.model), args.backbone, args.fp16)
    classes = predictor.meta.get('classes', ())
    facts = facts_of(predictor.model, graph.outputs, cfg, args.checkpoint, classes)
    pictures = (
        _own_pictures(predictor, args.check_on) if args.check_on else scenes(backbone.in_channels)
    )
    try:
        with _staged(out) as path:
            _write(graph, facts, path)
            check = Check(path, predictor.model, facts, FP16 if args.fp16 else FP32)
            table = check.run(pictures)
    except OSError as error:
        raise UserError(f'--out {out}: {error}') from error
    console = Console(markup=False, highlight=False)
    console.print(table)
    files = filter(Path.is_file, (out, _weights_of(out)))
    size = sum(file.stat().st_size for file in files) / 2**20
    console.print(
        f'{out}: {facts["task"]}, {", ".join(graph.outputs)}, {size:.0f} MiB', soft_wrap=True
    )


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """Where to write the file for now: it takes the place of `out` once nothing was raised."""
    there = next(folder for folder in out.absolute().parents if folder.exists())
    with tempfile.TemporaryDirectory(dir=there, prefix=f'.{out.stem}-') as folder:
        path = Path(folder, out.name)
        yield path
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = _weights_of(path).is_file()
        if beside:
            os.replace(_weights_of(path), _weights_of(out))
        os.replace(path, out)
        if not beside:
            _weights_of(out).unlink(missing_ok=True)  # of the file that was there before


def _weights_of(path: Path) -> Path:
    """Where PyTorch puts weights that are too large for the file itself."""
    return path.with_name(f'{path.name}.data')


def _graph(model: nn.Module, backbone: bool, fp16: bool) -> nn.Module:
    """The module to be traced, of a model that may be changed."""
    from convnext_mm.export import graphs

    if fp16:
        graphs.halve(model)
    if backbone:
        return graphs.Backbone(model)
    if hasattr(model, 'decode_head'):
        return graphs.Segmentor(model)
    if hasattr(model, 'roi_head'):  # MMSegmentation alone has no MMDetection to import
        from convnext_mm.export.detector import Detector

        return Detector(model)
    raise graphs.refusal(type(model).__name__)


def _write(graph: nn.Module, facts: Mapping[str, object], path: Path) -> None:
    from convnext_mm.export.facts import as_metadata
    from convnext_mm.export.operators import OPSET, TRANSLATIONS

    number, height, width = TRACED
    image = torch.zeros(number, len(facts['mean']), height, width)
    # torchvision's operators, which it warns of, are not needed, and its warnings not a user's.
    logging.getLogger('torch.onnx._internal.exporter._registration').setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            program = torch.onnx.export(
                graph.eval(),
                (image,),
                input_names=['image'],
                output_names=list(graph.outputs),
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=({0: 'batch', 2: 'height', 3: 'width'},),
                custom_translation_table=TRANSLATIONS,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            f'PyTorch cannot export this model: {_cause(error)}; --backbone exports the backbone '
            'alone'
        ) from error
    program.model.metadata_props.update(as_metadata(facts))
    program.save(path)


def _cause(error: BaseException) -> str:
    """The first line of what it began with."""
    while error.__cause__:
        error = error.__cause__
    return f'{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}'


def _own_pictures(predictor: Predictor, names: Sequence[str]) -> list[np.ndarray]:
    """Pictures as the config's test pipeline gives them to the model, one to a batch."""
    pictures = []
    for path in sources.find(names):
        try:
            inputs = predictor.prepare(predictor.read(path))['inputs']
        except Exception as error:  # decoders raise whatever they like
            raise UserError(f'--check-on {path}: {error}') from error
        pictures.append(inputs.permute(1, 2, 0).numpy()[None])
    return pictures
