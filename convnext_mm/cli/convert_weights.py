"""Write weights under the names of another project."""

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser
from convnext_mm.weights.convert import TARGETS, convert_file


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument('source', metavar='SRC', help='path, URL or name of published weights')
    parser.add_argument(
        'target', metavar='DST', help='file to write: .safetensors, or .pth, .pt, .bin'
    )
    parser.add_argument(
        '--to', choices=TARGETS, default='official', help='names to use (default: %(default)s)'
    )
    args = parser.parse_args(arguments)
    return exit_code(lambda args: print(convert_file(args.source, args.target, args.to)), args)
