"""benchmarks/finding/hard.py: the keypoints stay on the face in each case, and the counts are exact."""

from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.finding.hard import CASES, CROWD_WH, EDGE_SHARE, SMALL_PX, count, crowds
from detector import Face
from geometry import box_from_keypoints, box_side
from landmarks import NOSE_TIP, REGIONS
from sample_faces import draw_face


@dataclass
class Photos:
    """Drawn faces in place of photos."""

    faces: list

    def __len__(self):
        return len(self.faces)

    def image(self, index):
        return self.faces[index][0]

    @property
    def keypoints(self):
        return np.stack([points for _, points in self.faces])


def marked(seed: int):
    """A drawn face with a pure green spot on the tip of its nose."""
    image, points = draw_face(np.random.default_rng(seed), yaw=0, size_wh=(150, 170))
    x, y = np.rint(points[NOSE_TIP]).astype(int)
    image = image.copy()
    image[y - 3 : y + 4, x - 3 : x + 4] = (0, 255, 0)
    return image, points


@pytest.mark.parametrize("case", [case for case in CASES if case != "mask"])
def test_keypoints_stay_on_the_face(case):
    image, points = marked(0)
    changed, (moved,) = CASES[case](image, points, 3)
    x, y = np.rint(moved[NOSE_TIP]).astype(int)
    red, green, blue = changed[y, x].astype(int)
    assert green > 150
    assert max(red, blue) < 100
    if case.endswith("px"):
        assert box_side(box_from_keypoints(moved)) == pytest.approx(SMALL_PX, abs=1)
    if case == "cut by the edge":
        left, _, right, _ = box_from_keypoints(points)
        assert changed.shape[1] == int(left + EDGE_SHARE * (right - left))


def test_a_mask_covers_the_mouth_and_not_the_eyes():
    image, points = marked(1)
    changed, _ = CASES["mask"](image, points, 0)
    different = (changed != image).any(axis=2)
    mouth, eyes = (points[list(REGIONS[name])].mean(axis=0) for name in ("mouth", "eyes"))
    assert different[int(mouth[1]), int(mouth[0])]
    assert not different[int(eyes[1]), int(eyes[0])]


def test_a_crowd_has_forty_faces_and_the_counts_are_exact():
    photos = Photos([marked(0)] * 45)
    ((canvas, points),) = crowds(photos)
    assert canvas.shape == (CROWD_WH[1], CROWD_WH[0], 3)
    assert points.shape == (40, 68, 2)
    for x, y in np.rint(points[:, NOSE_TIP]).astype(int):
        assert canvas[y, x, 1] > 150
    assert len(np.unique(np.rint(points[:, NOSE_TIP]), axis=0)) == 40

    def finds_thirty(image):
        faces = [Face(p, box_from_keypoints(p), 0.9, np.ones(68)) for p in points[:30] + 1]
        return [*faces, Face(points[0] + 3000, box_from_keypoints(points[0] + 3000), 0.9, np.ones(68))]

    row = count(finds_thirty, [(canvas, points)], "forty")
    assert (row["faces"], row["found"], row["others"]) == (40, 0.75, 1.0)
    assert 0 < row["nme"] < 0.1
