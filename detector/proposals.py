"""Haar proposes, the network disposes.

The cascades are set so lax that they miss few faces, and look at the mirrored image too:
the profile cascade knows one side only. What they propose is mostly no face, or
the same face several times; the network looks at each proposal, its confidence throws
out what is no face, and proposals that led to the same keypoints are one face.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detector.haar import HaarFaceDetector
from geometry import box_from_keypoints, box_iou, box_side, mirror_image

FRONTAL, PROFILE = "haarcascade_frontalface_default.xml", "haarcascade_profileface.xml"


class CascadeProposals:
    """Boxes (N, 4) box_xyxy that may be faces: frontal and profile cascade, both ways round.

    scale_factor, min_neighbors, min_share: as in HaarFaceDetector; lax by default.
    most: no more boxes than this, so that a picture full of patterns stays quick.
    """

    def __init__(
        self, scale_factor: float = 1.1, min_neighbors: int = 2, min_share: float = 0.1, most: int = 48
    ):
        self.cascades = [
            HaarFaceDetector(scale_factor, min_neighbors, min_share, name) for name in (FRONTAL, PROFILE)
        ]
        self.most = most

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Boxes of an HxWx3 uint8 RGB image."""
        return self._search(image, (False, True))

    def one_way(self, image: np.ndarray, mirrored: bool) -> np.ndarray:
        """The same for half the work, the image one way round only: for a video, each way in turn."""
        return self._search(image, (mirrored,))

    def _search(self, image: np.ndarray, ways: Sequence[bool]) -> np.ndarray:
        views = {mirrored: mirror_image(image) if mirrored else image for mirrored in ways}
        found: list[np.ndarray] = []
        for cascade in self.cascades:
            for mirrored, view in views.items():
                boxes = cascade(view)
                found += list(_mirror_boxes(boxes, image.shape[1]) if mirrored else boxes)
        return merge_boxes(found)[: self.most]


def _mirror_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    left, top, right, bottom = boxes.T
    return np.stack([width - right, top, width - left, bottom], axis=1)


def merge_boxes(boxes: Sequence[np.ndarray], least_iou: float = 0.6) -> np.ndarray:
    """Means of groups of boxes (N, 4) that overlap, those found most often first.

    A box joins the first group whose first box it overlaps by least_iou.
    """
    groups: list[list[np.ndarray]] = []
    for box in boxes:
        group = next((g for g in groups if box_iou(g[0], box) >= least_iou), None)
        if group is None:
            groups.append([box])
        else:
            group.append(box)
    groups.sort(key=len, reverse=True)
    return np.array([np.mean(group, axis=0) for group in groups]).reshape(-1, 4)


def same_face(keypoints_a: np.ndarray, keypoints_b: np.ndarray, share: float = 0.15) -> bool:
    """Whether two sets of keypoints (68, 2) are so near that they are one face.

    share: the largest mean distance, as a share of the smaller face's side.
    """
    side = min(box_side(box_from_keypoints(points)) for points in (keypoints_a, keypoints_b))
    return bool(np.linalg.norm(keypoints_a - keypoints_b, axis=1).mean() <= share * side)


def dispose(faces: list, least_confidence: float) -> list:
    """Which of the faces of one image stay: confident enough, each once, the largest first.

    Of several answers for one face the most confident stays. Faces whose confidence is
    unknown (NaN) are kept, and only merged. The box of each becomes the one around its keypoints:
    the proposal that won may have been any box from which the network found the face.
    """
    left = [face for face in faces if not face.confidence < least_confidence]
    left.sort(key=lambda face: -np.nan_to_num(face.confidence))
    kept: list = []
    for face in left:
        if not any(_one_face(face.keypoints, other.keypoints) for other in kept):
            kept.append(face)
    kept = [replace(face, box_xyxy=box_from_keypoints(face.keypoints)) for face in kept]
    return sorted(kept, key=lambda face: -box_side(face.box_xyxy))


def _one_face(a: np.ndarray, b: np.ndarray) -> bool:
    """The same keypoints, or one box half inside of the other, as those of two people hardly ever are."""
    return same_face(a, b) or _inside(box_from_keypoints(a), box_from_keypoints(b)) > 0.5


def _inside(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the smaller box that the other one covers."""
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    smaller = min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2]))
    return max(width, 0.0) * max(height, 0.0) / smaller
