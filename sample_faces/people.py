"""Random people, expressions, lights and backgrounds, drawn from a seed."""

from dataclasses import dataclass

import numpy as np

from files import cv2
from sample_faces.canvas import Colour, mix
from sample_faces.head import Expression, Shape
from sample_faces.painter import Light, Look

SKINS = ((238, 200, 174), (230, 184, 152), (222, 170, 134), (196, 140, 104), (158, 106, 74), (112, 74, 52))
HAIRS = (
    *((28, 22, 20), (60, 40, 28), (98, 66, 40), (150, 108, 62)),
    *((205, 168, 110), (150, 72, 38), (170, 168, 166)),
)
IRISES = ((70, 44, 26), (96, 66, 36), (92, 110, 70), (84, 118, 150))


@dataclass(frozen=True)
class Identity:
    """One drawn person: the head's shape and the colours."""

    shape: Shape
    look: Look


def around(rng: np.random.Generator, middle: float, spread: float) -> float:
    """A normally distributed number, clipped to `middle` +- 2 * `spread`."""
    return float(middle + spread * np.clip(rng.standard_normal(), -2.0, 2.0))


def _pick_colour(rng: np.random.Generator, colours) -> Colour:
    """One of the colours, with small random changes of brightness and hue."""
    colour = np.array(colours[rng.integers(len(colours))]) * around(rng, 1.0, 0.05)
    red, green, blue = (float(np.clip(v + around(rng, 0.0, 2.5), 0, 255)) for v in colour)
    return red, green, blue


def _muted_colour(rng: np.random.Generator) -> Colour:
    """A random colour, mixed with gray."""
    colour = rng.uniform(10, 245, 3)
    return mix(colour, [float(colour.mean())] * 3, float(rng.uniform(0.2, 0.95)))


def draw_identity(rng: np.random.Generator) -> Identity:
    """A random person."""
    spreads = {
        "face_width": 0.06, "face_height": 0.06, "eye_spacing": 0.05, "eye_width": 0.07, "eye_height": 0.16,
        "brow_height": 0.35, "brow_arch": 0.45, "nose_length": 0.09, "nose_width": 0.14, "nose_depth": 0.12,
        "mouth_width": 0.10, "lip_thickness": 0.22, "forehead": 0.06,
    }  # fmt: skip
    factors = {name: around(rng, 1.0, spread) for name, spread in spreads.items()}
    shape = Shape(
        jaw_exponent=around(rng, 2.35, 0.18),
        jaw_taper=around(rng, 0.06, 0.03),
        eye_tilt=around(rng, 0.01, 0.015),
        **factors,
    )
    return Identity(shape, _draw_look(rng))


def _draw_look(rng: np.random.Generator) -> Look:
    skin = _pick_colour(rng, SKINS)
    styles = ["bald", "short", "short", "fringe", "side", "side", "long", "long"]
    style = styles[rng.integers(len(styles))]
    bearded = style != "long" and rng.random() < 0.35
    return Look(
        skin=skin,
        hair=_pick_colour(rng, HAIRS),
        lips=mix(skin, (180.0, 50.0, 65.0), float(rng.uniform(0.3, 0.7))),
        iris=_pick_colour(rng, IRISES),
        clothes=_muted_colour(rng),
        hair_style=style,
        hair_volume=float(rng.uniform(1.03, 1.16)),
        brow_thickness=float(rng.uniform(0.6, 1.35)),
        beard=float(rng.uniform(0.15, 0.85)) if bearded else 0.0,
        glasses=str(rng.choice(["round", "square"])) if rng.random() < 0.22 else "none",
    )


def draw_expression(rng: np.random.Generator) -> Expression:
    """A random expression."""
    return Expression(
        mouth_open=float(rng.uniform(0.15, 0.9)) if rng.random() < 0.4 else 0.0,
        eyes_closed=float(rng.uniform(0.6, 1.0)) if rng.random() < 0.08 else float(rng.uniform(0.0, 0.3)),
        smile=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.45 else 0.0,
        brow_raise=around(rng, 0.0, 0.4),
    )


def draw_light(rng: np.random.Generator) -> Light:
    """A random light, mostly from above."""
    direction = np.array([around(rng, 0.0, 0.35), around(rng, -0.35, 0.2), 0.9])
    direction /= np.linalg.norm(direction)
    x, y, z = direction.tolist()
    ambient = float(rng.uniform(0.55, 0.78))
    strength = around(rng, 1.08, 0.06) - ambient
    red, green, blue = (rng.uniform(0.75, 1.02) * rng.uniform(0.92, 1.0, 3)).tolist()
    return Light(direction=(x, y, z), ambient=ambient, strength=strength, tint=(red, green, blue))


def draw_background(rng: np.random.Generator, size_wh) -> np.ndarray:
    """A gradient with soft patches, boxes and bars, (H, W, 3) uint8, out of focus."""
    width, height = size_wh
    corners = np.array(_muted_colour(rng)) + rng.uniform(-60, 60, (2, 2, 1)) + rng.uniform(-15, 15, (2, 2, 3))
    cells = corners.repeat(2, axis=0).repeat(2, axis=1) + rng.uniform(-25, 25, (4, 4, 1))
    cells = np.clip(cells, 0, 255).astype(np.float32)
    image = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    for _ in range(rng.integers(0, 9)):
        colour = _muted_colour(rng)
        x, y = int(rng.integers(width)), int(rng.integers(height))
        w, h = (int(rng.uniform(0.05, 0.6) * side) for side in (width, height))
        if rng.random() < 0.6:
            cv2.rectangle(image, (x, y), (x + w, y + h), colour, -1, cv2.LINE_AA)
        else:
            tilt = float(rng.uniform(0, 180))
            cv2.ellipse(image, (x, y), (w // 2, h // 2), tilt, 0, 360, colour, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.8, 4.0)))


def develop(rng: np.random.Generator, image: np.ndarray, *, blur: float, noise: float) -> np.ndarray:
    """The image as from a camera: blurred a little, then with noise."""
    if blur > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    grain = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(noise)
    return np.clip(np.rint(image + grain), 0, 255).astype(np.uint8)
