"""Export a trained model as an ONNX file."""

import argparse

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser, add_config_options

RESULT = """
Batch size, height and width of the input are dynamic. Before the file is put in place, ONNX Runtime
runs it on images of several sizes, and its outputs must equal the outputs of PyTorch. The metadata
of the file say how to prepare an image; docs/export.md says how to read the outputs.
Exit code: 0 the file is written, 2 it is not.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        description=__doc__, epilog=RESULT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, or name of a recipe')
    parser.add_argument('checkpoint', help='path, URL or name of published weights')
    parser.add_argument('--out', metavar='FILE', help='output file (model.onnx in the work dir)')
    parser.add_argument(
        '--backbone', action='store_true', help='export the feature maps of the backbone alone'
    )
    parser.add_argument(
        '--fp16',
        action='store_true',
        help='store weights and compute products in fp16; GRN, sums of LayerNorm and boxes in fp32',
    )
    parser.add_argument(
        '--check-on',
        nargs='+',
        metavar='IMAGE',
        default=(),
        help='compare on these images, prepared by the test pipeline (rendered shapes)',
    )
    add_config_options(parser)
    return exit_code(run, parser.parse_args(arguments))


def run(args: argparse.Namespace) -> None:
    from rich.console import Console

    from convnext_mm.export import export

    written = export(
        args.config,
        args.checkpoint,
        out=args.out,
        backbone=args.backbone,
        fp16=args.fp16,
        check_on=args.check_on,
        options=args.cfg_options,
    )
    console = Console(markup=False, highlight=False)
    console.print(written.table())
    outputs = ', '.join(written.outputs)
    console.print(
        f'{written.path}: {written.task} ({outputs}), {written.size / 2**20:.0f} MiB',
        soft_wrap=True,
    )
