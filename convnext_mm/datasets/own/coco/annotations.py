"""COCO annotations in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from convnext_mm.datasets.own.files import SplitPaths
from convnext_mm.messages.wording import shown


@dataclass
class CocoAnnotations:
    """The annotations of one split.

    Attributes:
        paths: Where its JSON and its images are.
        content: The content of the JSON, with the repairs.
        repaired: Whether the content differs from the file.
        is_strict: Whether the file is plain JSON, which every reader understands.
        is_complete: Whether all entries are there. Entries with errors are left out. Checks
            that compare entries would then report wrong problems.
        is_converted: Whether the file has another format than COCO, where sizes, boxes and areas
            may be absent.
    """

    paths: SplitPaths
    content: dict
    repaired: bool = False
    is_strict: bool = True
    is_complete: bool = True
    is_converted: bool = False

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

    @property
    def ids_with_single_objects(self) -> set:
        """The ids of the images that have objects to learn and to score, and not only crowds."""
        return {obj['image_id'] for obj in self.content['annotations'] if not obj['iscrowd']}

    def images_by_id(self) -> dict[object, dict]:
        """Return the images by their ids."""
        return {image['id']: image for image in self.content['images']}

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


def name_objects(objects: Iterable[dict]) -> list[str]:
    """Name objects for messages: by the place where a reader found them, else by their ids."""
    return [place_of(obj) or f'object {shown(obj.get("id"))}' for obj in objects]


def place_of(obj: dict) -> str:
    """Return where the reader of another format found an object; empty for COCO annotations."""
    place = obj.get('place')
    return place if isinstance(place, str) else ''
