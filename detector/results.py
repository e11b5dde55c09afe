"""The faces of an image as a dictionary for JSON, a data frame, rows of a CSV file, or for supervision.

    found = [ImageFaces("photo.jpg", (640, 480), detector("photo.jpg"))]
    frame = to_frame(found)                  # one row per face
    found = from_frame(frame)
    key_points = faces_to_supervision(found[0].faces)

Coordinates have 3 decimals, confidence has 4. Coordinates are in pixels (geometry.py): pixel
(0, 0) is centred at (0, 0), boxes are edges.
Files in several formats: detector/formats.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from detector.predictor import Face
from geometry import check_box, face_size
from landmarks import NUM_KEYPOINTS, check_keypoints

if TYPE_CHECKING:
    import supervision

BOX_COLUMNS = ("left", "top", "right", "bottom")
POINT_COLUMNS = tuple(f"{axis}{index}" for index in range(NUM_KEYPOINTS) for axis in "xy")
RADIUS_COLUMNS = tuple(f"radius{index}" for index in range(NUM_KEYPOINTS))
VISIBILITY_COLUMNS = tuple(f"visibility{index}" for index in range(NUM_KEYPOINTS))
SUPERVISION_SHARE = 0.05  # of the face's size; a point this near is right
#: One row per face; `face` counts from 0 in each image. Confidence, radius and visibility are empty where
#: unknown. Files of release 0.2.0 and before have no visibility.
FACE_COLUMNS = ("image", "width", "height", "face", *BOX_COLUMNS, "confidence")
OLD_COLUMNS = (*FACE_COLUMNS, *POINT_COLUMNS, *RADIUS_COLUMNS)
COLUMNS = (*OLD_COLUMNS, *VISIBILITY_COLUMNS)


@dataclass(frozen=True)
class ImageFaces:
    """The faces of one image.

    image: its path or name. size_wh: width and height in pixels; None where unknown.
    error: the reason why the image was skipped; then there are neither size nor faces.
    """

    image: str
    size_wh: tuple[int, int] | None = None
    faces: list[Face] = field(default_factory=list)
    error: str = ""


# --- dictionaries for JSON ------------------------------------------------------------------


def to_dict(found: ImageFaces) -> dict:
    """The dictionary {'image', 'size_wh', 'faces': [...]}, with each face as `Face.to_dict`.

    NaN becomes None. An image that was skipped is {'image', 'error'}.
    """
    if found.error:
        return {"image": found.image, "error": found.error}
    size = None if found.size_wh is None else [int(side) for side in found.size_wh]
    return {"image": found.image, "size_wh": size, "faces": [face.to_dict() for face in found.faces]}


def from_dict(values: dict) -> ImageFaces:
    """The inverse of `to_dict`.

    Raises ValueError for anything else.
    """
    try:
        if "error" in values:
            return ImageFaces(str(values["image"]), error=str(values["error"]))
        size = values["size_wh"]
        faces = [
            make_face(
                face["keypoints"],
                face["box_xyxy"],
                face["confidence"],
                face["radius"],
                face.get("visibility"),  # not in files of release 0.2.0 and before
            )
            for face in values["faces"]
        ]
        return ImageFaces(str(values["image"]), size and (int(size[0]), int(size[1])), faces)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            "expected {'image', 'size_wh', 'faces': [{'box_xyxy', 'confidence', 'keypoints', 'radius'}]}, "
            f"got {values!r:.200}"
        ) from error


def make_face(keypoints, box_xyxy, confidence=None, radius=None, visibility=None) -> Face:
    """A `Face` from numbers that were read; None for what is unknown.

    Raises ValueError for a wrong shape, for NaN in keypoints or box, and for a box without area.
    """
    confidence = None if confidence is None else float(confidence)
    each = [_per_point(radius, "radius"), _per_point(visibility, "visibility")]
    return Face(check_keypoints(keypoints), check_box(box_xyxy), confidence, *each)


def _per_point(values, name: str) -> np.ndarray:
    """(68,) float32; all NaN for None."""
    values = np.full(NUM_KEYPOINTS, np.nan) if values is None else np.asarray(values)
    if values.shape != (NUM_KEYPOINTS,):
        raise ValueError(f"{name} must have shape ({NUM_KEYPOINTS},), got {values.shape}")
    return values.astype(np.float32)


# --- rows and frames ----------------------------------------------------------------------


def to_rows(found: Iterable[ImageFaces]) -> Iterator[list]:
    """One list per face, in the order of COLUMNS. Images without a face have no row."""
    for image in found:
        size = image.size_wh or (None, None)
        for number, face in enumerate(image.faces):
            plain = face.to_dict()
            points = [value for point in plain["keypoints"] for value in point]
            radius, visibility = (plain[name] or [None] * NUM_KEYPOINTS for name in ("radius", "visibility"))
            about = [image.image, *size, number, *plain["box_xyxy"], plain["confidence"]]
            yield [*about, *points, *radius, *visibility]


def from_rows(columns: Sequence[str], rows: Iterable[Sequence]) -> Iterator[ImageFaces]:
    """The inverse of `to_rows`; consecutive rows of one image belong together. '' and None are unknown.

    Raises ValueError for missing columns, and for a row that holds no face; it names the row.
    """
    missing = sorted(set(OLD_COLUMNS) - set(columns))
    if missing:
        expected = ", ".join(COLUMNS[:12])
        raise ValueError(f"columns {', '.join(missing[:5])} are missing; expected {expected} ...")
    current: ImageFaces | None = None
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise ValueError(f"row {number} has {len(row)} values, expected {len(columns)}")
        values = dict(zip(columns, row, strict=True))
        try:
            face, size = _row_to_face(values), _numbers(values, ("width", "height"))
        except (TypeError, ValueError) as error:
            raise ValueError(f"row {number} ({values['image']!r:.100}): {error}") from error
        if current is None or current.image != values["image"] or int(values["face"]) == 0:
            if current is not None:
                yield current
            size_wh = None if size is None else (int(size[0]), int(size[1]))
            current = ImageFaces(str(values["image"]), size_wh)
        current.faces.append(face)
    if current is not None:
        yield current


def _numbers(values: dict, names: Sequence[str]) -> list[float] | None:
    """The named values as floats; None where one is missing, empty or NaN."""
    found = [values.get(name) for name in names]
    numbers = [np.nan if value is None or value == "" else float(value) for value in found]
    return None if np.isnan(numbers).any() else numbers


def _row_to_face(values: dict) -> Face:
    points, box = _numbers(values, POINT_COLUMNS), _numbers(values, BOX_COLUMNS)
    if points is None or box is None:
        raise ValueError("a coordinate of the keypoints or the box is missing")
    confidence = _numbers(values, ("confidence",))
    return make_face(
        np.reshape(points, (NUM_KEYPOINTS, 2)),
        box,
        confidence and confidence[0],
        _numbers(values, RADIUS_COLUMNS),
        _numbers(values, VISIBILITY_COLUMNS),
    )


def to_frame(found: Iterable[ImageFaces]):
    """A pandas DataFrame with one row per face and the columns COLUMNS."""
    import pandas as pd  # a second of start-up that only frames need

    frame = pd.DataFrame(list(to_rows(found)), columns=list(COLUMNS))
    integers = {"width": "Int64", "height": "Int64", "face": "int64"}  # Int64 has room for 'unknown'
    floats = dict.fromkeys(COLUMNS[4:], "float64")
    return frame.astype({"image": "str", **integers, **floats})


def from_frame(frame) -> list[ImageFaces]:
    """The inverse of `to_frame`."""
    rows = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    return list(from_rows(list(frame.columns), rows))


# --- supervision ----------------------------------------------------------------------------


def faces_to_supervision(faces: Sequence[Face]) -> "supervision.KeyPoints":
    """Faces as `supervision.KeyPoints` (version 0.29 or newer), for its annotators, filters and trackers.

    xy is (N, 68, 2) float32 in pixels. detection_confidence (N,) is that of the faces. keypoint_confidence
    (N, 68) is the probability that a point lies within 5 % of the face's size of the true one, from its
    radius; the errors are taken as normal. Either is None if it is unknown for any face.
    The lines of the face are `detector.formats.category()["skeleton"]`, for EdgeAnnotator.
    Raises ImportError where supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise ImportError("this needs supervision: pip install 'supervision>=0.29'") from error
    known = all(face.confidence is not None for face in faces)
    confidence = np.array([face.confidence for face in faces], dtype=np.float32) if known else None
    radius = np.array([face.radius for face in faces], dtype=np.float32).reshape(-1, NUM_KEYPOINTS)
    near = np.array([[SUPERVISION_SHARE * face_size(face.keypoints)] for face in faces])
    # 90 % of a normal distribution in two dimensions lie within the radius
    within = 1 - 0.1 ** ((near.reshape(-1, 1) / np.maximum(radius, 1e-6)) ** 2)
    return supervision.KeyPoints(
        xy=np.array([face.keypoints for face in faces], dtype=np.float32).reshape(-1, NUM_KEYPOINTS, 2),
        keypoint_confidence=None if np.isnan(radius).any() else within.astype(np.float32),
        detection_confidence=confidence,
    )
