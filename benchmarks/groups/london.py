"""The London set: studio photos of 102 people, with hand-made points and who they are, as keypoints of ours.

Source: DeBruine and Jones, Face Research Lab London Set, figshare 5047666, CC BY 4.0. The folder has for each
person ID_neutral.jpg, ID_neutral.csv (189 points x,y in pixels; pixel (0, 0) is centred at (0, 0)),
ID_smiling.jpg without points, and info.csv: age, gender and ethnicity as the people gave them.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from files import read_image
from landmarks import (
    GROUPS,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    LOWER_LIP_BOTTOM,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    NUM_KEYPOINTS,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    UPPER_LIP_TOP,
)

#: Names the folder, which is not in this repository.
LONDON_VARIABLE = "KEYPOINTS_LONDON"
#: Points that both schemes define alike: corners of the eyes and the mouth, middles of the lips.
SHARED = (
    RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_INNER, LEFT_EYE_OUTER,
    MOUTH_RIGHT, UPPER_LIP_TOP, MOUTH_LEFT, LOWER_LIP_BOTTOM,
)  # fmt: skip
# indices of the 189 points along each curve, from the right side of the person to the left one
OUTLINE_RIGHT = (109, 185, 110, 186, 111, 125, 126, 127, 128, 129)  # from the ear to the chin
OUTLINE_LEFT = (129, 130, 131, 132, 133, 114, 188, 113, 187, 112)
RIGHT_BROW, LEFT_BROW = (71, 72, 73, 74, 75), (78, 79, 80, 81, 82)
RIGHT_EYE_UPPER, RIGHT_EYE_LOWER = (18, 19, 20, 21, 22), (22, 30, 29, 28, 18)
LEFT_EYE_UPPER, LEFT_EYE_LOWER = (23, 24, 25, 26, 27), (27, 33, 32, 31, 23)
UPPER_LIP = (87, 88, 89, 90, 91, 92, 93)
LOWER_LIP_LEFT, LOWER_LIP_RIGHT = (93, 108, 107, 106), (106, 105, 104, 87)
NOSE_SIDES = ((51, 57), (52, 58), (53, 59), (54, 60))  # pairs beside the bridge, from the eyes to the tip
NOSE_RIGHT, NOSE_CENTRE, NOSE_LEFT = 64, 55, 69  # under the nostrils
HALVES, THIRDS, QUARTERS, EIGHTHS = (np.linspace(0, 1, count) for count in (3, 4, 5, 9))


@dataclass(frozen=True)
class Person:
    """A person. keypoints: (68, 2) px, NaN for the points that the set does not define (inner lips).

    age: in years, NaN where it was not given. gender, ethnicity: as the person gave them.
    """

    neutral: Path
    smiling: Path
    keypoints: np.ndarray
    age: float
    gender: str
    ethnicity: str

    def image(self) -> np.ndarray:
        """The neutral photo, HxWx3 uint8 RGB."""
        return read_image(self.neutral)


def london_people() -> list[Person]:
    """The people in the folder that LONDON_VARIABLE names. Raises FileNotFoundError where it names none."""
    folder = Path(os.environ.get(LONDON_VARIABLE) or "no folder named")
    if not (folder / "info.csv").is_file():
        raise FileNotFoundError(
            f"the London set is needed: set {LONDON_VARIABLE} to its folder with info.csv; it is "
            f"{str(folder)!r}"
        )
    people = []
    for row in pd.read_csv(folder / "info.csv", dtype={"face_id": str}).itertuples():
        points = np.loadtxt(folder / f"{row.face_id}_neutral.csv", delimiter=",", skiprows=1)
        photos = (folder / f"{row.face_id}_{kind}.jpg" for kind in ("neutral", "smiling"))
        people.append(Person(*photos, to_keypoints(points), row.face_age, row.face_gender, row.face_eth))
    return people


def along(points: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The points (K, 2) at these shares, 0 to 1, of the length of a curve through `points` (N, 2)."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    places = np.concatenate([[0], np.cumsum(steps)])
    return np.stack([np.interp(shares * places[-1], places, points[:, axis]) for axis in (0, 1)], axis=1)


def to_keypoints(points: np.ndarray) -> np.ndarray:
    """Keypoints (68, 2) from the 189 points (189, 2), NaN where the set defines no such point.

    Points are at equal steps along the hand-drawn curves of jaw, brows, nose bridge, lids and lips.
    """
    keypoints = np.full((NUM_KEYPOINTS, 2), np.nan)

    def put(group: str, *values) -> None:
        keypoints[list(GROUPS[group])] = np.concatenate(values)

    def on(curve, shares) -> np.ndarray:
        return along(points[list(curve)], shares)

    put("jaw", on(OUTLINE_RIGHT, EIGHTHS), on(OUTLINE_LEFT, EIGHTHS[1:]))
    put("right_brow", on(RIGHT_BROW, QUARTERS))
    put("left_brow", on(LEFT_BROW, QUARTERS))
    put("nose_bridge", along(np.stack([points[list(pair)].mean(axis=0) for pair in NOSE_SIDES]), THIRDS))
    right, centre, left = points[[NOSE_RIGHT, NOSE_CENTRE, NOSE_LEFT]]
    put("nose_base", np.stack([right, (right + centre) / 2, centre, (centre + left) / 2, left]))
    put("right_eye", on(RIGHT_EYE_UPPER, THIRDS), on(RIGHT_EYE_LOWER, THIRDS[1:3]))
    put("left_eye", on(LEFT_EYE_UPPER, THIRDS), on(LEFT_EYE_LOWER, THIRDS[1:3]))
    upper = (on(UPPER_LIP[:3], HALVES), points[[UPPER_LIP[3]]], on(UPPER_LIP[4:], HALVES))
    put("outer_lips", *upper, on(LOWER_LIP_LEFT, THIRDS[1:]), on(LOWER_LIP_RIGHT, THIRDS[1:3]))
    return keypoints
