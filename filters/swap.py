"""Face swap: one face is drawn over another, by a mesh of triangles, in the colours of the face below."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from detector.predictor import Face
from files import cv2
from filters.apply import check_image
from filters.base import Filter, Window, register, remap, to_bytes
from filters.fit import check_face
from filters.mesh import FOREHEAD, face_points, mesh_map
from geometry import face_size, transform_points, warp
from landmarks import GROUPS, INNER_LIP_PAIRS, INNER_MOUTH_LEFT, INNER_MOUTH_RIGHT
from sample_faces.canvas import closed_curve

#: The swapped part ends at this share of the way from the brows to the hairline: hair stays.
UP_THE_FOREHEAD = 0.45
#: Width of the soft seam, as a share of the size of the face, and how far inside the outline it lies.
SEAM, INSIDE = 0.035, 0.93
#: An inner mouth of this height over its width is open; what is in it belongs to the face below.
OPEN = 0.12


@dataclass(frozen=True, eq=False)
class Donor:
    """A face to be drawn over others: image (H, W, 3) uint8 RGB, and `face_points` in its pixels."""

    image: np.ndarray
    points: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, face: Face) -> "Donor":
        """The donor in an image; raises ValueError for a wrong image or keypoints."""
        return cls(check_image(image), face_points(check_face(face.keypoints)))

    def sized(self, size: float) -> "Donor":
        """The part with the face, made smaller where it is much larger than `size` pixels."""
        scale = min(1.0, 1.2 * size / face_size(self.points))
        return _part(self, 1.1 ** round(np.log(scale) / np.log(1.1)))  # in steps, so that videos reuse it


@lru_cache(maxsize=16)
def _part(donor: Donor, scale: float) -> Donor:
    low, high = donor.points.min(axis=0) - 4, donor.points.max(axis=0) + 4
    matrix = np.array([[scale, 0.0, -scale * low[0]], [0.0, scale, -scale * low[1]]])
    size_wh = np.maximum(np.ceil((high - low) * scale), 2).astype(int)
    part = warp(donor.image, matrix, size_wh, border_value=None)
    return Donor(part, transform_points(donor.points, matrix).astype(np.float64))


@register("face_swap")
class FaceSwap(Filter):
    """Swaps the faces in an image, each with the next smaller one; with a donor, draws that on every face.

    donor: a face from another image, for example a photo for a video.
    """

    def __init__(self, donor: Donor | None = None):
        self.donor = donor
        self.needs_faces = 1 if donor else 2

    def paint_all(self, image, faces, time_s) -> None:
        """Draw the donor, or all faces in a circle, in place."""
        before = image if self.donor else image.copy()
        donors = [self.donor or _donor_or_none(before, face) for face, _ in faces]
        for number, (face, _) in enumerate(faces):
            donor = donors[number - 1]
            if donor is not None:
                self.try_paint_from(donor, image, face)

    def try_paint_from(self, donor: Donor, image: np.ndarray, face: Face) -> None:
        """Draw one donor over one face, in place, unless the face is degenerate."""
        try:
            draw_over(image, check_face(face.keypoints), donor)
        except ValueError:
            return


def _donor_or_none(image: np.ndarray, face: Face) -> Donor | None:
    try:
        return Donor.of(image, face)
    except ValueError:
        return None


def draw_over(image: np.ndarray, keypoints: np.ndarray, donor: Donor) -> None:
    """Draw the donor's face over the one with these keypoints (68, 2), in place."""
    target, size = face_points(keypoints), face_size(keypoints)
    outline = _outline(target, keypoints)
    window = Window(image, outline, margin=3 * SEAM * size)
    if window.empty:
        return
    donor = donor.sized(size)
    map_xy = mesh_map(donor.points, target - window.corner_xy, window.pixels.shape[:2])
    other = remap(donor.image, map_xy)
    share = _share(window, outline, keypoints, size) * (map_xy[..., 0] > -100)
    window.blend(in_colours_of(other, window.pixels, share, 0.14 * size), share)


def _outline(target: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Convex outline (N, 2) of what is replaced: the face up to the lower forehead."""
    middle = keypoints.mean(axis=0)
    brows = keypoints[list(GROUPS["right_brow"] + GROUPS["left_brow"])]
    above = brows.mean(axis=0) + UP_THE_FOREHEAD * (target[FOREHEAD] - brows.mean(axis=0))
    points = np.concatenate([keypoints, brows + 0.35 * (above.mean(axis=0) - brows.mean(axis=0)), above])
    return cv2.convexHull((middle + INSIDE * (points - middle)).astype(np.float32))[:, 0]


def _share(window: Window, outline: np.ndarray, keypoints: np.ndarray, size: float) -> np.ndarray:
    """Mask (h, w) of what is replaced, with a soft seam, without the inside of an open mouth."""
    share = window.mask(outline, blur=SEAM * size)
    height = np.mean([np.linalg.norm(keypoints[a] - keypoints[b]) for a, b in INNER_LIP_PAIRS])
    width = np.linalg.norm(keypoints[INNER_MOUTH_LEFT] - keypoints[INNER_MOUTH_RIGHT])
    if height > OPEN * max(float(width), 1e-6):
        share *= 1 - window.mask(closed_curve(keypoints[list(GROUPS["inner_lips"])]), blur=0.008 * size)
    return np.clip((share - 0.02) * np.float32(1 / 0.96), 0, 1)


def in_colours_of(other: np.ndarray, below: np.ndarray, share: np.ndarray, reach: float) -> np.ndarray:
    """`other` (h, w, 3) uint8 RGB with the light and colour of `below`.

    share: (h, w), where the two are compared. reach: pixels over which the difference is averaged; details
    below that size stay those of `other`. So the shaded side of the face below is the shaded side again.
    """
    step = max(1, int(reach / 4))
    size_wh = tuple(max(2, side // step) for side in share.shape[::-1])
    weight = cv2.resize(share, size_wh, interpolation=cv2.INTER_AREA)[..., None] + 1e-4
    small = [
        cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA).astype(np.float32)
        for picture in (other, below)
    ]
    sums = cv2.GaussianBlur((small[1] - small[0]) * weight, (0, 0), reach / step)
    weights = cv2.GaussianBlur(weight, (0, 0), reach / step)
    low = np.asarray(sums / weights[..., None], np.float32)
    return to_bytes(other + cv2.resize(low, share.shape[::-1], interpolation=cv2.INTER_LINEAR))
