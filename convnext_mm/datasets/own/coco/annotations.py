"""COCO annotations in memory."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from convnext_mm.datasets.own.recognise import Layout, SplitPaths
from convnext_mm.errors import UserError

# The lists of a COCO JSON, each with the keys that every check relies on.
_NEEDED = {'images': ('id', 'file_name'), 'annotations': ('image_id',), 'categories': ('id',)}


@dataclass
class CocoAnnotations:
    """The annotations of one split.

    Attributes:
        paths: Where its JSON and its images are.
        content: The content of the JSON, with the repairs.
        repaired: Whether the content differs from the file.
    """

    paths: SplitPaths
    content: dict
    repaired: bool = False

    @property
    def classes(self) -> list[str]:
        """The names of the categories."""
        return [category['name'] for category in self.content['categories']]

    @property
    def objects_with_mask(self) -> list[dict]:
        """The objects that have a mask."""
        return [obj for obj in self.content['annotations'] if obj.get('segmentation')]

    @property
    def ids_with_objects(self) -> set:
        """The ids of the images that have objects."""
        return {obj['image_id'] for obj in self.content['annotations']}

    def remove(self, objects: Iterable[dict]) -> None:
        """Remove objects, compared by identity."""
        removed = {id(obj) for obj in objects}
        if removed:
            kept = [obj for obj in self.content['annotations'] if id(obj) not in removed]
            self.content['annotations'] = kept

    def with_images(self, ids: Collection) -> CocoAnnotations:
        """Return the annotations of some of the images."""
        images = [image for image in self.content['images'] if image['id'] in ids]
        objects = [obj for obj in self.content['annotations'] if obj['image_id'] in ids]
        content = {**self.content, 'images': images, 'annotations': objects}
        return CocoAnnotations(self.paths, content, repaired=True)


def read_coco(layout: Layout) -> dict[str, CocoAnnotations]:
    """Read the JSONs of a data set; two splits of the same files share one result.

    Raises:
        UserError: A JSON cannot be read, or holds no object annotations in COCO format.
    """
    splits: dict[str, CocoAnnotations] = {}
    for split, paths in layout.splits.items():
        same = next((found for found in splits.values() if found.paths == paths), None)
        splits[split] = same or CocoAnnotations(paths, _parse(paths.annotations))
    return splits


def _parse(path: Path) -> dict:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f'{path} is not readable as JSON: {error}') from error
    for key, needed in _NEEDED.items():
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise UserError(f'{path} is not a COCO JSON: it has no list of objects "{key}"')
        lacking = [(i, name) for i, e in enumerate(entries) for name in needed if name not in e]
        if lacking:
            index, name = lacking[0]
            raise UserError(
                f'{path} is not a COCO JSON: {len(lacking):,} entries of "{key}" lack "{name}", '
                f'the first is entry {index}'
            )
    return content


def name_objects(objects: Iterable[dict]) -> list[str]:
    """Name objects by their ids, for messages."""
    return [f'object {obj.get("id")}' for obj in objects]
