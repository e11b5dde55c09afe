"""`python detect.py` on photos with several faces, compared with boxes drawn by hand.

The photos are not in this repository. KEYPOINTS_PHOTOS names their folder; without it the tests are skipped.
"""

import json

import numpy as np
import pytest

import detect
from data_load import photos_folder
from geometry import box_from_keypoints, box_iou

#: From brows to chin and from cheek to cheek, read off the photo by eye, from left to right.
DRAWN = {
    "the_beatles.jpg": [
        (630, 770, 930, 1070), (1440, 730, 1735, 1030), (2150, 790, 2450, 1060), (2950, 800, 3280, 1100),
    ],
    "obamas.jpg": [(170, 120, 335, 305), (385, 180, 525, 320)],
    "mona_lisa.jpg": [(64, 57, 105, 97)],
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_everybody_is_found_and_nothing_else(name, tmp_path):
    path = photos_folder() / name
    if not path.is_file():
        pytest.skip(f"{name} is not here; name its folder in KEYPOINTS_PHOTOS")
    assert detect.main([str(path), "--output", str(tmp_path)]) == 0
    [image] = json.loads((tmp_path / "faces.json").read_text())
    faces = [np.array(face["keypoints"]) for face in image["faces"]]
    boxes = sorted((box_from_keypoints(points) for points in faces), key=lambda box: box[0])
    assert len(boxes) == len(DRAWN[name])
    for found, drawn in zip(boxes, DRAWN[name], strict=True):
        assert box_iou(found, np.array(drawn)) > 0.6
