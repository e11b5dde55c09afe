"""COCO keypoint files: https://cocodataset.org/#format-data, section "Keypoint Detection".

One category, 'face', with 68 keypoints. COCO's `bbox` is x, y, width, height of edges,
its keypoints are x, y, v triples counted from 0: our pixels as they are, v = 2 (visible).
Beyond the standard: `score` (our confidence) and `radius`, both left out where unknown.
"""

import json
from collections.abc import Iterable
from itertools import count, pairwise
from typing import TextIO

import numpy as np

from detector.pipeline import Face
from detector.results import CONFIDENCE_DECIMALS, ImageFaces, make_face, rounded
from landmarks import CLOSED_GROUPS, GROUPS, NUM_KEYPOINTS

VISIBLE = 2
CATEGORY_ID = 1


def category() -> dict:
    """The category 'face': names of the 68 keypoints, and which ones are joined by a line (from 1)."""
    names = [f"{group}_{place}" for group, indices in GROUPS.items() for place in range(len(indices))]
    lines = []
    for group, indices in GROUPS.items():
        path = [*indices, indices[0]] if group in CLOSED_GROUPS else indices
        lines += [[a + 1, b + 1] for a, b in pairwise(path)]
    return {
        "id": CATEGORY_ID,
        "name": "face",
        "supercategory": "person",
        "keypoints": names,
        "skeleton": lines,
    }


def write_coco(found: Iterable[ImageFaces], file: TextIO) -> None:
    """Write images and faces, an item a line.

    found: iterated twice (images, then faces), so it must not be an iterator. Images
        that could not be read are left out; ids count from 1.
    """
    file.write('{"info": {"description": "68 facial keypoints, iBUG 300-W order"}, "licenses": [],\n')
    file.write(f'"categories": [{json.dumps(category())}],\n"images": [')
    readable = ((number, image) for number, image in enumerate(found, start=1) if not image.error)
    _write_items(file, (_image_item(number, image) for number, image in readable))
    file.write('],\n"annotations": [')
    ids = count(1)
    faces = ((number, face) for number, image in enumerate(found, start=1) for face in image.faces)
    _write_items(file, (_annotation(next(ids), number, face) for number, face in faces))
    file.write("]}\n")


def _write_items(file: TextIO, items: Iterable[dict]) -> None:
    for number, item in enumerate(items):
        file.write((",\n" if number else "\n") + json.dumps(item, allow_nan=False))
    file.write("\n")


def _image_item(image_id: int, image: ImageFaces) -> dict:
    if image.size_wh is None:
        raise ValueError(f"COCO needs the size of every image, and that of {image.image!r} is unknown")
    width, height = image.size_wh
    return {"id": image_id, "file_name": image.image, "width": int(width), "height": int(height)}


def _annotation(annotation_id: int, image_id: int, face: Face) -> dict:
    left, top, right, bottom = np.asarray(face.box_xyxy, dtype=np.float64)
    triples = [[x, y, VISIBLE] for x, y in rounded(face.keypoints)]
    item = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": CATEGORY_ID,
        "iscrowd": 0,
        "bbox": rounded([left, top, right - left, bottom - top]),
        "area": rounded((right - left) * (bottom - top)),
        "num_keypoints": NUM_KEYPOINTS,
        "keypoints": [value for triple in triples for value in triple],
    }
    if np.isfinite(face.confidence):
        item["score"] = rounded(face.confidence, CONFIDENCE_DECIMALS)
    if np.isfinite(face.radius).all():
        item["radius"] = rounded(face.radius)
    return item


def read_coco(values: dict) -> list[ImageFaces]:
    """Images and faces of a COCO file's object; annotations need 68 keypoints, all of them labelled."""
    try:
        images = {
            item["id"]: ImageFaces(str(item["file_name"]), (int(item["width"]), int(item["height"])))
            for item in values["images"]
        }
        for item in values["annotations"]:
            images[item["image_id"]].faces.append(_face_of(item))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a COCO keypoints file: {error!r} is missing or wrong") from error
    return list(images.values())


def _face_of(item: dict) -> Face:
    triples = np.asarray(item["keypoints"], dtype=np.float64)
    if triples.shape != (3 * NUM_KEYPOINTS,):
        raise ValueError(
            f"annotation {item['id']} has {triples.size} keypoint values, expected 3 x {NUM_KEYPOINTS}"
        )
    triples = triples.reshape(-1, 3)
    if not triples[:, 2].all():
        raise ValueError(f"annotation {item['id']} has keypoints without a place (v = 0)")
    left, top, width, height = item["bbox"]
    box = [left, top, left + width, top + height]
    return make_face(triples[:, :2], box, item.get("score"), item.get("radius"))
