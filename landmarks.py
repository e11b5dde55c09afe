"""The 68-point scheme: the parts of a face and the indices of their keypoints.

This is the only file in the repository that writes keypoint indices as
numbers. All others use a group by its name.

Source: the iBUG 300-W markup (Sagonas et al., "300 Faces in-the-Wild
Challenge", 2013), counted from 0. "Right" and "left" are the *person's* right
and left, so `right_eye` is on the left side of an image that is not flipped.
"""

from types import MappingProxyType

import numpy as np

NUM_KEYPOINTS = 68

#: Name -> indices, in the order of the points along the face.
GROUPS = MappingProxyType(
    {
        "jaw": tuple(range(17)),
        "right_brow": tuple(range(17, 22)),
        "left_brow": tuple(range(22, 27)),
        "nose_bridge": tuple(range(27, 31)),
        "nose_base": tuple(range(31, 36)),
        "right_eye": tuple(range(36, 42)),
        "left_eye": tuple(range(42, 48)),
        "outer_lips": tuple(range(48, 60)),
        "inner_lips": tuple(range(60, 68)),
    }
)

#: Groups whose last point joins the first when drawn as a line.
CLOSED_GROUPS = frozenset({"right_eye", "left_eye", "outer_lips", "inner_lips"})

#: The five regions that results are reported for.
REGIONS = MappingProxyType(
    {
        "jaw": GROUPS["jaw"],
        "brows": GROUPS["right_brow"] + GROUPS["left_brow"],
        "nose": GROUPS["nose_bridge"] + GROUPS["nose_base"],
        "eyes": GROUPS["right_eye"] + GROUPS["left_eye"],
        "mouth": GROUPS["outer_lips"] + GROUPS["inner_lips"],
    }
)

#: All points but the jaw: the "inner 51" that many papers report separately.
INNER_51 = tuple(range(17, 68))

#: Single points that metrics and filters use.
RIGHT_EYE_OUTER, RIGHT_EYE_INNER = 36, 39
LEFT_EYE_INNER, LEFT_EYE_OUTER = 42, 45
NOSE_TOP, NOSE_TIP, NOSE_BASE_CENTRE = 27, 30, 33
MOUTH_RIGHT, MOUTH_LEFT = 48, 54
UPPER_LIP_TOP, LOWER_LIP_BOTTOM = 51, 57
JAW_RIGHT, CHIN, JAW_LEFT = 0, 8, 16
INNER_MOUTH_RIGHT, INNER_MOUTH_LEFT = 60, 64

#: (upper, lower) points on the two sides of an opening.
RIGHT_LID_PAIRS, LEFT_LID_PAIRS = ((37, 41), (38, 40)), ((43, 47), (44, 46))
INNER_LIP_PAIRS = ((61, 67), (62, 66), (63, 65))

#: The pair whose distance normalises the error (inter-ocular distance).
OUTER_EYE_CORNERS = (RIGHT_EYE_OUTER, LEFT_EYE_OUTER)


def _flip_order() -> np.ndarray:
    """Index permutation of a flipped face, from pairs of (right, left) runs of points."""
    order = np.arange(NUM_KEYPOINTS)
    runs = [
        (range(8), range(16, 8, -1)),  # jaw, ear to chin; the chin (8) stays
        (range(17, 22), range(26, 21, -1)),  # brows, outer end to inner end
        (range(31, 33), range(35, 33, -1)),  # nostrils
        (range(36, 40), range(45, 41, -1)),  # upper lids, outer to inner corner
        (range(40, 42), (47, 46)),  # lower lids
        (range(48, 51), range(54, 51, -1)),  # upper lip, outer edge
        (range(58, 60), (56, 55)),  # lower lip, outer edge
        (range(60, 62), (64, 63)),  # upper lip, inner edge
        ((67,), (65,)),  # lower lip, inner edge
    ]
    for right, left in runs:
        order[list(right)], order[list(left)] = list(left), list(right)
    return order


#: `keypoints[FLIP_ORDER]` puts the points of a flipped image into the order of
#: the scheme again. It is its own inverse.
FLIP_ORDER = _flip_order()
FLIP_ORDER.setflags(write=False)


def group_of(index: int) -> str:
    """Name of the group that keypoint `index` (0 to 67) belongs to.

    Raises ValueError for another index.
    """
    for name, indices in GROUPS.items():
        if index in indices:
            return name
    raise ValueError(f"keypoint index must be 0 to {NUM_KEYPOINTS - 1}, got {index}")


def check_keypoints(keypoints) -> np.ndarray:
    """Keypoints as a (68, 2) float32 array.

    Raises ValueError for another shape, NaN or infinity.
    """
    points = np.asarray(keypoints, dtype=np.float32)
    if points.shape != (NUM_KEYPOINTS, 2):
        raise ValueError(f"keypoints must have shape ({NUM_KEYPOINTS}, 2), got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("keypoints must be finite numbers, got NaN or infinity")
    return points
