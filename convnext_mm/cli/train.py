"""Train a detector, segmentor or classifier."""

import argparse

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser, add_run_options, let_cores_to_workers, set_local_rank


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help='config file, or name of a recipe')
    add_run_options(parser)
    parser.add_argument(
        '--data',
        metavar='PATH',
        help='train on a data set of your own: objects in COCO, YOLO, Pascal VOC, VIA, Labelme, '
        'CVAT or Supervisely format, images and label maps, or a folder of images for each class; '
        'classes, heads and schedule are adapted, and the config is written into the work dir',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    batch = parser.add_mutually_exclusive_group()
    batch.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate in proportion to the batch size',
    )
    batch.add_argument(
        '--accumulate',
        action='store_true',
        help='keep the batch size of the recipe on fewer GPUs: accumulate gradients',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        default=False,
        metavar='CHECKPOINT',
        help='resume from this checkpoint or, without one, from the newest in the work dir',
    )
    parser.add_argument(
        '--resume-anyway',
        action='store_true',
        help='resume also with another number of processes or images, another batch size or other '
        'classes; warnings name the consequences',
    )
    parser.add_argument(
        '--checkpoint-minutes',
        type=float,
        default=15,
        metavar='MINUTES',
        help='also write a checkpoint when so much time has passed; 0 for never (%(default)s)',
    )
    parser.add_argument(
        '--no-report',
        dest='report',
        action='store_false',
        help='write no report.html of the last evaluation into the work dir',
    )
    return exit_code(run, parser.parse_args(arguments))


def run(args: argparse.Namespace) -> None:
    let_cores_to_workers()
    from convnext_mm.engine import train

    set_local_rank(args)
    train(
        args.config,
        data=args.data,
        work_dir=args.work_dir,
        options=args.cfg_options,
        accumulate=args.accumulate,
        auto_scale_lr=args.auto_scale_lr,
        amp=args.amp,
        resume=args.resume,
        resume_anyway=args.resume_anyway,
        checkpoint_minutes=args.checkpoint_minutes,
        launcher=args.launcher,
        report=args.report,
        verbose=args.verbose,
    )
