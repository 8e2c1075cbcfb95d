"""Write the shapes data set: python -m convnext_mm.datasets.shapes ROOT"""

import argparse

from convnext_mm.datasets.shapes.write import write_ade, write_classes, write_coco

WRITERS = dict(coco=write_coco, ade=write_ade, classes=write_classes)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m convnext_mm.datasets.shapes', description='Write the shapes data set.'
    )
    parser.add_argument('root', help='a new or empty folder')
    parser.add_argument(
        '--layout',
        choices=WRITERS,
        default='coco',
        help='layout of the files; classes: one image for each object, in a folder for its class '
        '(%(default)s)',
    )
    parser.add_argument('--train', type=int, default=1000, help='training images (%(default)s)')
    parser.add_argument('--val', type=int, default=200, help='validation images (%(default)s)')
    size = dict(type=int, nargs=2, default=(128, 128), metavar=('H', 'W'))
    parser.add_argument('--size', **size, help='size of an image in pixels (128 128)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the images (%(default)s)')
    args = parser.parse_args()
    height, width = args.size
    try:
        WRITERS[args.layout](args.root, args.train, args.val, height, width, args.seed)
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))


if __name__ == '__main__':
    main()
