"""Print the learning rate and weight decay of all parameters."""

import argparse

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser, add_config_options


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help='config file, or name of a recipe')
    parser.add_argument(
        '--format',
        choices=('text', 'markdown', 'json'),
        default='text',
        help='format of the table (text)',
    )
    add_config_options(parser)
    return exit_code(show, parser.parse_args(arguments))


def show(args: argparse.Namespace) -> None:
    from mmengine.logging import MMLogger

    from convnext_mm.config.reading import load_checked_config
    from convnext_mm.diagnose.lr_table import as_json, as_markdown, as_text, lr_table

    formats = {'text': as_text, 'markdown': as_markdown, 'json': as_json}
    # The constructor of the optimizer wrapper logs a table of its own.
    MMLogger.get_current_instance().setLevel('WARNING')
    parts = ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg')
    print(formats[args.format](lr_table(load_checked_config(args.config, args.cfg_options, parts))))
