"""Single frames and videos of drawn faces, with their exact keypoints."""

from collections.abc import Iterator

import numpy as np

from landmarks import check_keypoints
from sample_faces.head import Expression, Shape, View, fit_view, project_head
from sample_faces.painter import Painter
from sample_faces.people import (
    Identity,
    around,
    develop,
    draw_background,
    draw_expression,
    draw_identity,
    draw_light,
)

MAX_ANGLE = 60  # degrees; beyond it the model of the visible edge of the face does not hold
EDGE = 2.0  # no keypoint is nearer to the edge of its image than this, in pixels


def _check_size(size_wh) -> tuple[int, int]:
    width, height = (int(v) for v in size_wh)
    if min(width, height) < 48:
        raise ValueError(f"size_wh must be 48 x 48 pixels or more, got {width} x {height}")
    return width, height


def _keep_inside(shape: Shape, expression: Expression, view: View, size_wh) -> View:
    """`view` shrunk and moved as far as needed for every keypoint to be EDGE pixels inside the image."""
    room = np.array(size_wh) - 1 - 2 * EDGE
    keypoints = project_head(shape, expression, view)
    low, high = keypoints.min(axis=0), keypoints.max(axis=0)
    shrink = min(1.0, float((room / (high - low)).min()))
    half = shrink * (high - low) / 2
    centre = np.clip((low + high) / 2, EDGE + half, np.array(size_wh) - 1 - EDGE - half)
    return fit_view(shape, expression, view, 2 * float(np.sqrt(np.prod(half))), centre)


def draw_face(
    rng: np.random.Generator,
    *,
    identity: Identity | None = None,
    size_wh: tuple[int, int] | None = None,
    yaw: float | None = None,
    pitch: float | None = None,
    roll: float | None = None,
    expression: Expression | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One frame like those of the YouTube Faces set: (image, keypoints).

    Arguments that are None are drawn from `rng`: the person, the size of the image
    (sides of about 100 to 300 pixels, not square), the angles in degrees (yaw
    within 45, pitch and roll within 20), the expression. Light, background,
    blur and noise are always drawn. The side of the keypoints' box is about 0.4 of
    that of the image, and its centre is near that of the image.

    Returns image (H, W, 3) uint8 RGB and keypoints (68, 2) float32 (x, y) in
    its pixels, exact, all inside. Raises ValueError if a side of size_wh is below
    48 or an angle beyond 60 degrees.
    """
    identity = draw_identity(rng) if identity is None else identity
    size_wh = _draw_size(rng) if size_wh is None else _check_size(size_wh)
    angles = _draw_angles(rng, yaw, pitch, roll)
    drawn = draw_expression(rng)
    expression = drawn if expression is None else expression
    view = _draw_view(rng, identity.shape, expression, angles, size_wh)
    gaze = tuple(rng.uniform(-1, 1, 2))
    painter = Painter(draw_background(rng, size_wh), identity.shape, expression, view, identity.look, gaze)
    image = painter.paint(draw_light(rng))
    image = develop(rng, image, blur=float(rng.uniform(0.0, 0.9)), noise=float(rng.uniform(0.5, 6.0)))
    return image, check_keypoints(project_head(identity.shape, expression, view))


def _draw_angles(rng: np.random.Generator, *wishes: float | None) -> list[float]:
    """Yaw, pitch and roll: each the wish, or a random angle if that is None."""
    # Always drawn, so that a wish changes no other random number of the frame.
    drawn = [around(rng, 0.0, 18.0), around(rng, 0.0, 10.0), around(rng, 0.0, 10.0)]
    wide_yaw = float(rng.uniform(-45.0, 45.0))
    if rng.random() < 0.25:
        drawn[0] = wide_yaw
    angles = [a if wish is None else float(wish) for a, wish in zip(drawn, wishes, strict=True)]
    if not all(abs(angle) <= MAX_ANGLE for angle in angles):
        raise ValueError(f"yaw, pitch and roll must be within {MAX_ANGLE} degrees, got {angles}")
    return angles


def _draw_view(rng, shape: Shape, expression: Expression, angles, size_wh) -> View:
    """The view with a random size and place of the face in the frame."""
    width, height = size_wh
    side = float(np.clip(around(rng, 0.41, 0.06), 0.3, 0.6)) * float(np.sqrt(width * height))
    centre = np.array([around(rng, 0.5, 0.05) * width, around(rng, 0.55, 0.03) * height]) - 0.5
    view = fit_view(shape, expression, View(*angles), side, centre)
    return _keep_inside(shape, expression, view, size_wh)


def _draw_size(rng: np.random.Generator) -> tuple[int, int]:
    height = float(np.exp(rng.uniform(np.log(105), np.log(300))))
    width = np.clip(height * np.exp(around(rng, -0.08, 0.12)), 100, 300)
    return round(float(width)), round(height)


def draw_video(
    seed: int | np.random.Generator, num_frames: int, size_wh: tuple[int, int] = (320, 240)
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One person moving smoothly in front of a still background: yields (image, keypoints) per frame.

    25 frames per second. Rotation, distance and place follow sinusoids of 3 to 9 s; the person talks, and
    blinks about every 3 s. Shapes and types are those of `draw_face`. The same seed gives the same
    video, and a longer one begins like a shorter one. Raises ValueError if num_frames is below 1.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be 1 or more, got {num_frames}")
    return _video_frames(np.random.default_rng(seed), num_frames, _check_size(size_wh))


def _video_frames(rng, num_frames, size_wh):
    identity, light, background = draw_identity(rng), draw_light(rng), draw_background(rng, size_wh)
    periods, phases = rng.uniform(3.0, 9.0, 6), rng.uniform(0.0, 2 * np.pi, 6)
    blink_at = float(rng.uniform(0.5, 2.5))
    for frame in range(num_frames):
        seconds = frame / 25.0
        yaw, pitch, roll, near, x, y = np.sin(phases + 2 * np.pi * seconds / periods)
        talking = max(0.0, float(np.sin(seconds + phases[0])))
        since_blink = (seconds - blink_at + 1.5) % 3.0 - 1.5
        expression = Expression(
            mouth_open=0.45 * talking * max(0.0, float(np.sin(2 * np.pi * 1.3 * seconds))),
            eyes_closed=max(0.05, 1.0 - abs(since_blink) / 0.16),
            smile=0.25 + 0.25 * float(np.sin(seconds * 0.9 + phases[1])),
        )
        side = (0.45 + 0.06 * near) * min(size_wh)
        centre = (0.5 + 0.08 * x) * size_wh[0] - 0.5, (0.56 + 0.04 * y) * size_wh[1] - 0.5
        view = fit_view(identity.shape, expression, View(30 * yaw, 8 * pitch, 12 * roll), side, centre)
        view = _keep_inside(identity.shape, expression, view, size_wh)
        image = Painter(background, identity.shape, expression, view, identity.look).paint(light)
        image = develop(rng, image, blur=0.4, noise=2.0)
        yield image, check_keypoints(project_head(identity.shape, expression, view))
