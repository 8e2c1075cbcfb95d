"""Check COCO, and download what is missing."""

from convnext_mm.cli.prepare import check_published
from convnext_mm.datasets.published.catalogue import COCO


def main(arguments: list[str] | None = None) -> int:
    return check_published(COCO, arguments)
