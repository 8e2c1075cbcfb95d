"""Train the networks between ResNet and ConvNeXt, and draw figure 2 of the paper."""

import argparse

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser, add_config_options

CONFIG = 'roadmap/atss_shapes'


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        description=__doc__,
        epilog='The same command goes on after an interruption.',
    )
    parser.add_argument(
        'config',
        nargs='?',
        default=CONFIG,
        help='a detector whose backbone is convnext_mm.Roadmap (%(default)s)',
    )
    parser.add_argument(
        '--work-dir',
        default='work_dirs/roadmap',
        help='where all trainings and the results go (%(default)s)',
    )
    parser.add_argument(
        '--data', metavar='PATH', help='objects in COCO format, instead of the built-in shapes'
    )
    parser.add_argument('--steps', nargs='+', metavar='STEP', help='the steps to train (all)')
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=int,
        default=[0, 1, 2],
        metavar='N',
        help='each network is trained once with each seed (0 1 2)',
    )
    parser.add_argument(
        '--reference',
        nargs='+',
        default=[],
        choices=['resnet', 'swin'],
        help='also train these backbones of MMDetection, with the FLOPs of the last step',
    )
    parser.add_argument(
        '--iterations', type=int, metavar='N', help='the length of each training (as in the config)'
    )
    parser.add_argument(
        '--jobs', type=int, metavar='N', help='trainings at a time (one for each CPU core)'
    )
    add_config_options(parser)
    return exit_code(run, parser.parse_args(arguments))


def run(args: argparse.Namespace) -> None:
    from rich.console import Console

    from convnext_mm.experiments.roadmap import compare_steps
    from convnext_mm.experiments.roadmap_page import results_table, write_page
    from convnext_mm.roadmap import STEPS

    console = Console(highlight=False)
    measured = compare_steps(
        args.config,
        args.work_dir,
        steps=args.steps or STEPS,
        seeds=args.seeds,
        references=args.reference,
        data=args.data,
        iterations=args.iterations,
        jobs=args.jobs,
        options=args.cfg_options,
        console=console,
    )
    console.print(results_table(measured))
    for path in write_page(measured, args.work_dir):
        console.print(f'written: {path}', soft_wrap=True)
