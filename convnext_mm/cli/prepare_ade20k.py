"""Check ADE20K, and download what is missing."""

from convnext_mm.cli.prepare import check_published
from convnext_mm.datasets.published.catalogue import ADE20K


def main(arguments: list[str] | None = None) -> int:
    return check_published(ADE20K, arguments)
