"""Boxes, square crops, and the one warp for pixels and keypoints.

Convention (everywhere in this repository): x to the right, y down, in pixels.
Pixel (0, 0) is centred at the coordinate (0, 0) and covers [-0.5, 0.5) in both
directions. A resize by s is therefore x' = (x + 0.5) * s - 0.5, and a flip of an
image W pixels wide is x' = W - 1 - x.

A `box_xyxy` counts pixel *edges*: [left, top, right, bottom] with right and
bottom exclusive, so [0, 0, W, H] is the whole image and its centre, as a
coordinate, is ((0 + W) / 2 - 0.5, (0 + H) / 2 - 0.5).

A `matrix` is a 2x3 float64 affine that takes image coordinates to crop
coordinates: `crop = matrix @ [x, y, 1]`.
"""

from typing import NamedTuple

import numpy as np

from files import cv2
from landmarks import FLIP_ORDER, GROUPS, OUTER_EYE_CORNERS


def interocular_distance(keypoints: np.ndarray) -> np.ndarray:
    """Distance between the outer eye corners of keypoints (..., 68, 2), in their unit."""
    right, left = OUTER_EYE_CORNERS
    return np.linalg.norm(keypoints[..., right, :] - keypoints[..., left, :], axis=-1)


# --- boxes ---------------------------------------------------------------------------


def check_box(box_xyxy) -> np.ndarray:
    """`box_xyxy` as (4,) float64.

    Raises ValueError for another shape, for numbers that are not finite, and for a box without area.
    """
    box = np.asarray(box_xyxy, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(f"a box must be four finite numbers [left, top, right, bottom], got {box_xyxy!r}")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"a box needs right > left and bottom > top, got {box.tolist()}")
    return box


def image_box(image: np.ndarray) -> np.ndarray:
    """The whole image as a box_xyxy: [0, 0, W, H]."""
    height, width = image.shape[:2]
    return np.array([0.0, 0.0, width, height])


def on_image(points: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(...,) bool: the points (..., 2) that lie on the pixels of an image (H, W) or (H, W, C)."""
    width_height = np.array(image.shape[1::-1])
    return np.all((points >= -0.5) & (points < width_height - 0.5), axis=-1)


def box_from_keypoints(keypoints) -> np.ndarray:
    """Smallest box_xyxy that contains the pixels of all keypoints (N, 2)."""
    points = np.asarray(keypoints, dtype=np.float64)
    return np.concatenate([points.min(axis=0), points.max(axis=0) + 1.0])


def box_centre(box_xyxy) -> np.ndarray:
    """Centre of a box as a coordinate (x, y) on the pixel grid."""
    left, top, right, bottom = box_xyxy
    return np.array([(left + right) / 2 - 0.5, (top + bottom) / 2 - 0.5])


def box_side(box_xyxy) -> float:
    """The larger of a box's width and height, in pixels."""
    left, top, right, bottom = box_xyxy
    return float(max(right - left, bottom - top))


def box_iou(box_a, box_b) -> float:
    """Intersection over union of two box_xyxy, 0 to 1."""
    overlap, area_a, area_b = _overlap(box_a, box_b)
    return float(overlap / (area_a + area_b - overlap))


def box_overlap(box_a, box_b) -> float:
    """Share of the smaller of two box_xyxy that the other one covers, 0 to 1."""
    overlap, area_a, area_b = _overlap(box_a, box_b)
    return float(overlap / min(area_a, area_b))


def _overlap(box_a, box_b) -> tuple[float, float, float]:
    """Areas of the intersection and of both boxes, in pixels."""
    a, b = np.asarray(box_a, dtype=np.float64), np.asarray(box_b, dtype=np.float64)
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    overlap = max(width, 0.0) * max(height, 0.0)
    return float(overlap), float(np.prod(a[2:] - a[:2])), float(np.prod(b[2:] - b[:2]))


def face_size(keypoints) -> float:
    """Larger side of the box around keypoints (68, 2), in pixels."""
    return box_side(box_from_keypoints(keypoints))


def face_distance(keypoints: np.ndarray, other: np.ndarray) -> float:
    """Mean distance between corresponding points of two faces (68, 2), in sizes of the smaller face."""
    apart = np.linalg.norm(np.asarray(keypoints, dtype=np.float64) - other, axis=1).mean()
    return float(apart / min(face_size(keypoints), face_size(other)))


def scale_box(box_xyxy, factor: float) -> np.ndarray:
    """The box_xyxy with both sides times `factor` and the same centre."""
    left, top, right, bottom = np.asarray(box_xyxy, dtype=np.float64)
    centre = np.array([left + right, top + bottom]) / 2
    half = np.array([right - left, bottom - top]) * factor / 2
    return np.concatenate([centre - half, centre + half])


# --- the frame of a face ----------------------------------------------------------------


class FaceFrame(NamedTuple):
    """The frame of each face: origin (N, 2) px, rotation (N, 2, 2) to upright, unit (N,) px."""

    origin: np.ndarray
    rotation: np.ndarray
    unit: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, eye_corners=OUTER_EYE_CORNERS) -> "FaceFrame":
        """The frame of points (N, K, 2): their centre, the line through two eye corners, and their mean
        distance to the centre (unlike the distance of the eyes it does not collapse in profile)."""
        points = np.asarray(points, dtype=np.float64)
        origin = points.mean(axis=1)
        unit = np.linalg.norm(points - origin[:, None], axis=2).mean(axis=1)
        right, left = eye_corners
        along = points[:, left] - points[:, right]
        angle = np.arctan2(along[:, 1], along[:, 0])
        cos, sin = np.cos(angle), np.sin(angle)
        rotation = np.stack([np.stack([cos, sin], axis=1), np.stack([-sin, cos], axis=1)], axis=1)
        return cls(origin, rotation, unit)

    def into(self, points: np.ndarray) -> np.ndarray:
        """Points (N, K, 2) of the image in this frame."""
        return self.turn_into(points - self.origin[:, None])

    def turn_into(self, steps: np.ndarray) -> np.ndarray:
        """Differences of points (N, K, 2) in this frame."""
        return np.einsum("nij,nkj->nki", self.rotation, steps) / self.unit[:, None, None]

    def out_of(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `into`."""
        return self.turn_out_of(points) + self.origin[:, None]

    def turn_out_of(self, steps: np.ndarray) -> np.ndarray:
        """The inverse of `turn_into`; (K, 2) is turned for every face."""
        steps = np.broadcast_to(steps, (len(self.unit), *np.shape(steps)[-2:]))
        return np.einsum("nji,nkj->nki", self.rotation, steps) * self.unit[:, None, None]


# --- affine maps -----------------------------------------------------------------------


def resize_matrix(shape_hw, new_shape_hw) -> np.ndarray:
    """Matrix of the resize of a whole image from shape_hw to new_shape_hw."""
    (height, width), (new_height, new_width) = shape_hw, new_shape_hw
    sx, sy = new_width / width, new_height / height
    return np.array([[sx, 0.0, 0.5 * sx - 0.5], [0.0, sy, 0.5 * sy - 0.5]])


def crop_matrix(
    centre_xy, side: float, size: int, *, rotation_deg: float = 0.0, flip: bool = False
) -> np.ndarray:
    """Matrix from the image to a square crop of `size` x `size` pixels.

    centre_xy: coordinate in the image of the middle of the crop.
    side: side of the cropped square, in image pixels.
    rotation_deg: rotation of the content; positive is counter-clockwise on the screen.
    flip: flip the crop left to right, after the rotation.
    Raises ValueError for a side or size that is not positive.
    """
    if not side > 0 or size < 1:
        raise ValueError(f"a crop needs a positive side and size, got side={side}, size={size}")
    scale = size / side
    angle = np.deg2rad(rotation_deg)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.array([[cos, sin], [-sin, cos]])
    if flip:
        linear[0] *= -1
    middle = (size - 1) / 2
    offset = middle - linear @ np.asarray(centre_xy, dtype=np.float64)
    return np.column_stack([linear, offset])


def square_crop_matrix(box_xyxy, scale: float, size: int) -> np.ndarray:
    """Matrix to the square crop around a box: side = scale * the box's larger side."""
    return crop_matrix(box_centre(box_xyxy), scale * box_side(box_xyxy), size)


def face_roll(keypoints) -> float:
    """Roll angle of a face (68, 2) in the image, in degrees; positive is counter-clockwise on the screen.

    It is measured on two vectors: from eye to eye, and from the eyes to the mouth, rotated by 90 degrees.
    On an upright face both point to the right. The angle is that of their sum, so the vector that a turned
    head shortens counts less.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    parts = ("right_eye", "left_eye", "outer_lips")
    right, left, mouth = (points[list(GROUPS[part])].mean(axis=0) for part in parts)
    down = mouth - (right + left) / 2
    along = left - right + np.array([down[1], -down[0]])
    return float(-np.rad2deg(np.arctan2(along[1], along[0])))


def face_crop_matrix(keypoints, scale: float, size: int, *, align_roll: bool) -> np.ndarray:
    """Matrix to the square crop around keypoints (68, 2): side = scale * the larger side of their box.

    align_roll: rotate the crop so that the face is upright in it.
    """
    if not align_roll:
        return square_crop_matrix(box_from_keypoints(keypoints), scale, size)
    points = np.asarray(keypoints, dtype=np.float64)
    turn = -face_roll(points)
    matrix = crop_matrix((0.0, 0.0), 1.0, 1, rotation_deg=turn)
    box = box_from_keypoints(transform_points(points, matrix))
    centre = transform_points(box_centre(box), invert(matrix))
    return crop_matrix(centre, scale * box_side(box), size, rotation_deg=turn)


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The matrix that applies `first`, then `second`."""
    linear = second[:, :2] @ first[:, :2]
    return np.column_stack([linear, second[:, :2] @ first[:, 2] + second[:, 2]])


def invert(matrix: np.ndarray) -> np.ndarray:
    """The inverse matrix, from crop coordinates to image coordinates."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) transformed by a matrix, as float32."""
    points = np.asarray(points, dtype=np.float64)
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def similarity_matrix(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift (no flip) that maps points (N, 2) onto others with least squared error.

    Raises ValueError if all source points are the same. The closed form is that of Umeyama,
    "Least-Squares Estimation of Transformation Parameters Between Two Point Patterns", PAMI 1991.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    spread = (a**2).sum()
    if not spread > 0:
        raise ValueError("the source points are all the same, so no scale or rotation fits them")
    cos, sin = (a * b).sum() / spread, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / spread
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, target.mean(axis=0) - linear @ source.mean(axis=0)])


def matrix_scale(matrix: np.ndarray) -> float:
    """Crop pixels per image pixel, the geometric mean of both axes."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


# --- pixels ----------------------------------------------------------------------------


def warp(image: np.ndarray, matrix: np.ndarray, size_wh, *, border_value: float | None = 0) -> np.ndarray:
    """The image in a canvas of `size_wh`, each pixel at `matrix @ pixel`.

    image: (H, W) or (H, W, C), uint8 or float32.
    border_value: the value outside of the image; None repeats the nearest edge pixel.
    When the image shrinks by 2 or more, blocks of pixels are averaged first (exact box
    filter), because bilinear sampling alone skips pixels and aliases.
    """
    height, width = image.shape[:2]
    block = int(1 / max(matrix_scale(matrix), 1e-9))
    block = min(block, height, width)
    if block >= 2:
        new_shape = (round(height / block), round(width / block))
        image = cv2.resize(image, new_shape[::-1], interpolation=cv2.INTER_AREA)
        matrix = compose(matrix, invert(resize_matrix((height, width), new_shape)))
    border = cv2.BORDER_REPLICATE if border_value is None else cv2.BORDER_CONSTANT
    return cv2.warpAffine(
        image,
        matrix,
        tuple(int(v) for v in size_wh),
        flags=cv2.INTER_LINEAR,
        borderMode=border,
        borderValue=(border_value or 0,) * 4,
    )


def flip_keypoints(keypoints: np.ndarray, width: int) -> np.ndarray:
    """Keypoints (..., 68, 2) of the image flipped left to right, with left and right indices swapped.

    width: of the image, in pixels.
    Without the swap the right eye would have the indices of the left one, and a network
    trained on both would learn the average of the two: a vertical line.
    """
    flipped = np.array(keypoints, dtype=np.float32)
    flipped[..., 0] = width - 1 - flipped[..., 0]
    return flipped[..., FLIP_ORDER, :]


def flip_image(image: np.ndarray) -> np.ndarray:
    """The image flipped left to right."""
    return np.ascontiguousarray(image[:, ::-1])


WHOLE_VIEWS = ("letterbox", "stretch", "crop")


def whole_image_matrix(shape_hw, size: int, view: str = "letterbox") -> np.ndarray:
    """Matrix from a whole image to a size x size square.

    'letterbox' keeps the aspect and pads, 'stretch' scales both axes to fit,
    'crop' is what Rescale(250) and CenterCrop(224) keep, at this size.
    Raises ValueError for another view.
    """
    height, width = shape_hw
    if view == "letterbox":
        return crop_matrix(box_centre((0, 0, width, height)), max(height, width), size)
    if view == "stretch":
        return resize_matrix(shape_hw, (size, size))
    if view == "crop":
        return crop_matrix(box_centre((0, 0, width, height)), min(height, width) * 224 / 250, size)
    raise ValueError(f"view must be one of {', '.join(WHOLE_VIEWS)}, got {view!r}")
