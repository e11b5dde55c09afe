"""Matrices from the pixels of a drawing to a face in an image, fitted to named landmarks.

The `anchors` of a drawing are landmarks with their positions in its pixels. The corners of eyes and mouth lie
nearly in one plane of the head, so one affine map fitted to them contains roll, size, and the foreshortening
of a turned or tipped face. Parts outside that plane (the bridge of the nose in front of it, the ears behind
it) move sideways when the head turns. The `pin` of a drawing is the landmark that it is fixed to; the map is
moved so that the two agree.
"""

import numpy as np

import landmarks
from geometry import transform_points
from landmarks import check_keypoints

#: Smallest distance of the outer eye corners, in pixels, for which a filter can be placed.
MIN_INTEROCULAR = 1.0


def check_face(keypoints) -> np.ndarray:
    """`keypoints` (68, 2) as float32.

    Raises ValueError for wrong keypoints, or outer eye corners closer than MIN_INTEROCULAR.
    """
    points = check_keypoints(keypoints)
    right, left = (points[i] for i in landmarks.OUTER_EYE_CORNERS)
    distance = float(np.hypot(*(left - right)))
    if distance < MIN_INTEROCULAR:
        raise ValueError(
            f"degenerate face: the outer eye corners are {distance:.3g} px apart (at least "
            f"{MIN_INTEROCULAR:g} expected), so nothing can be placed; leave this face out"
        )
    return points


def landmark_point(keypoints: np.ndarray, name: str | list[str]) -> np.ndarray:
    """The point (2,) float64, (x, y), that a name stands for.

    keypoints: (68, 2).
    name: a single point of landmarks.py ("NOSE_TIP"), a group of it ("left_eye": the mean of its points), or
        a list of names (the mean of their points).

    Raises ValueError for an unknown name.
    """
    if isinstance(name, list):
        return np.mean([landmark_point(keypoints, part) for part in name], axis=0)
    points = np.asarray(keypoints, dtype=np.float64)
    if name in landmarks.GROUPS:
        return points[list(landmarks.GROUPS[name])].mean(axis=0)
    index = getattr(landmarks, name, None)
    if not name.isupper() or type(index) is not int or name == "NUM_KEYPOINTS":
        raise ValueError(
            f"unknown landmark {name!r}: expected a single point of landmarks.py such as 'NOSE_TIP', "
            f"or a group: {', '.join(landmarks.GROUPS)}"
        )
    return points[index]


def fit_affine(source, target) -> np.ndarray:
    """The matrix (2, 3) that brings points (N, 2) closest to `target` in least squares; N is 3 or more.

    Raises ValueError for points on one line.
    """
    source, target = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    centre, goal = source.mean(axis=0), target.mean(axis=0)
    solution, _, rank, _ = np.linalg.lstsq(source - centre, target - goal, rcond=None)
    if rank < 2:
        raise ValueError(f"anchors must not lie on one line, got {source.tolist()}")
    return np.column_stack([solution.T, goal - solution.T @ centre])


def unforeshorten(linear: np.ndarray) -> np.ndarray:
    """The rotation and scale (2, 2) of a round object, from the map `linear` (2, 2) of the face plane.

    A hat or a ball is as wide on a turned head as on a straight one. Seen from afar, a tilted plane keeps its
    true scale in exactly one direction; that scale is the larger singular value. The y axis of the drawing
    points down on the head.
    """
    scale = np.linalg.norm(linear, ord=2)
    down = linear[:, 1] / max(np.linalg.norm(linear[:, 1]), 1e-12)
    return scale * np.array([[down[1], down[0]], [-down[0], down[1]]])


def fold(matrix: np.ndarray, at: np.ndarray, shift: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The matrix, changed so that pixel `at` moves by `shift` in the image and pixel `fixed` does not."""
    arm = at - fixed
    ramp = arm / (arm @ arm)  # ramp @ (pixel - fixed) is 0 at `fixed` and 1 at `at`
    return matrix + np.outer(shift, np.append(ramp, -ramp @ fixed))


def fit_part(part: dict, keypoints: np.ndarray) -> np.ndarray:
    """Matrix (2, 3) from the pixels of a part's drawing to the image.

    part: {"fit": "flat" or "round", "anchors": {landmark: [x, y], ...},
        "pin": {"on": landmark or list, "at": [x, y], "fixed": [x, y] or absent}};
        positions are pixels of the drawing and may lie outside of it.

    The landmark of the pin is in front of or behind the plane of the anchors. A drawing without "fixed" is
    parallel to that plane, at the depth of the pin. One with "fixed" is tilted: it meets the plane at the
    fixed pixel, as the front of a pair of glasses does at the temples.
    """
    names, source = zip(*part["anchors"].items(), strict=True)
    matrix = fit_affine(source, [landmark_point(keypoints, name) for name in names])
    if part["fit"] == "round":
        matrix[:, :2] = unforeshorten(matrix[:, :2])
    pin = part["pin"]
    at = np.asarray(pin["at"], dtype=np.float64)
    shift = landmark_point(keypoints, pin["on"]) - (matrix[:, :2] @ at + matrix[:, 2])
    if "fixed" in pin:
        return fold(matrix, at, shift, np.asarray(pin["fixed"], dtype=np.float64))
    matrix[:, 2] += shift
    return matrix


def fit_hinged(part: dict, keypoints: np.ndarray, carrier: np.ndarray) -> np.ndarray | None:
    """Matrix (2, 3) of a part between another part and a landmark, or None where the part is hidden.

    part: {"hinge": [[pixel, pixel of the carrier], [pixel, pixel of the carrier]],
        "end": {"on": landmark or list, "at": pixel}, "outwards": -1 or 1}: three points determine an affine
        map. "outwards" is the direction of the visible part along the x axis of the carrier.
    carrier: matrix of the part with the hinge.

    The arm of a pair of glasses on the far side of a turned head is behind the face; its end is then on the
    inner side of the hinge.
    """
    own, on_carrier = (np.array(points, dtype=np.float64) for points in zip(*part["hinge"], strict=True))
    hinge = transform_points(on_carrier, carrier).astype(np.float64)
    end = landmark_point(keypoints, part["end"]["on"])
    matrix = fit_affine([*own, part["end"]["at"]], [*hinge, end])
    outwards = part["outwards"] * carrier[:, 0]
    return matrix if (end - hinge.mean(axis=0)) @ outwards > 0 else None
