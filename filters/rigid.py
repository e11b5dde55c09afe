"""Filters that are solid things on a head: glasses, a hat, ears.

Their shapes are in the coordinates of `head_frame.py`.
"""

from functools import lru_cache

import numpy as np

from detector.predictor import Face
from filters.base import Filter, register
from filters.head_frame import HeadFrame
from filters.solid import Solid, paint_solid, surface, tube


class Rigid(Filter):
    """A solid on the head. A subclass defines `model`."""

    shadow = 0.35

    @staticmethod
    def model() -> Solid:
        """The solid, on the canonical head; it is called once."""
        raise NotImplementedError

    def paint(self, image: np.ndarray, face: Face) -> None:
        """Place the model by the pose of the head."""
        solid = _model_of(type(self))  # type: ignore[arg-type]  # a class has a hash
        paint_solid(image, HeadFrame(face), solid, shadow=self.shadow)


@lru_cache(maxsize=32)
def _model_of(kind: type[Rigid]) -> Solid:
    return kind.model()


def superellipse(centre_xy, half_wh, power: float, count: int) -> np.ndarray:
    """A closed outline (count + 1, 2), clockwise on the screen; power 2 is an ellipse, larger is squarer."""
    angle = np.linspace(0, 2 * np.pi, count + 1)
    round_xy = np.column_stack([np.cos(angle), np.sin(angle)])
    return centre_xy + half_wh * np.sign(round_xy) * np.abs(round_xy) ** (2 / power)


@register("glasses")
class Glasses(Rigid):
    """Glasses with a dark rim; their front is bent around the face, and their arms go back to the ears."""

    rim, metal, glass = (38, 26, 22), (150, 146, 140), (70, 92, 104)

    @classmethod
    def model(cls) -> Solid:
        """The left half, with its flipped copy."""
        outline = superellipse((0.365, 0.045), (0.275, 0.205), 2.7, 36)
        outline[:, 1] += 0.06 * (outline[:, 0] - 0.365) * (outline[:, 1] > 0.045)
        front = tube(cls._bent(outline), 0.026, cls.rim, gloss=0.7, flat=0.8)
        hinge, ear = np.array([0.655, -0.055, 0.03]), np.array([0.86, -0.03, -0.70])
        share = np.linspace(0, 1, 20)[:, None] ** 0.8
        path = hinge + (ear - hinge) * np.column_stack([share[:, 0] ** 0.6, share[:, 0] ** 2, share[:, 0]])
        height = np.array([0.035, -0.035])[:, None, None] * (1 - 0.3 * share)
        arm = surface(
            path + height * [0, 1, 0],
            cls.rim,
            alpha=np.clip((1.02 - share[1:, 0]) / 0.35, 0, 1)[None],
            gloss=0.3,
        )
        half = cls._lens(outline) + arm + front
        angle = np.linspace(0, np.pi, 13)
        bridge = np.column_stack(
            [-0.1 * np.cos(angle), 0.01 - 0.055 * np.sin(angle), 0.22 + 0.03 * np.sin(angle)]
        )
        return half + half.flipped() + tube(bridge, 0.024, cls.rim, gloss=0.7)

    @staticmethod
    def _bent(points: np.ndarray) -> np.ndarray:
        return np.column_stack([points, 0.235 - 0.34 * points[:, 0] ** 2 - 0.10 * (points[:, 1] - 0.045)])

    @classmethod
    def _lens(cls, outline: np.ndarray) -> Solid:
        """Clear glass that is a little darker at its top, with one streak of light."""
        low, high = outline[:, 1].min(), outline[:, 1].max()
        rows = np.linspace(low, high, 13)
        centre = outline.mean(axis=0)
        half = 0.275 * np.clip(1 - np.abs((rows - 0.045) / (high - 0.045)) ** 2.7, 0, 1) ** (1 / 2.7)
        across = np.linspace(-1, 1, 13)
        x = centre[0] + half[:, None] * across
        y = np.broadcast_to(rows[:, None], x.shape)
        grid = cls._bent(np.column_stack([x.ravel(), y.ravel()])).reshape(len(rows), len(across), 3)
        middle = grid[:-1, :-1]
        slant = (middle[..., 0] - centre[0]) + 0.7 * (middle[..., 1] - 0.045)
        streak = np.exp(-(((slant + 0.10) / 0.045) ** 2)) + 0.5 * np.exp(-(((slant - 0.02) / 0.02) ** 2))
        fade = np.clip((high - middle[..., 1]) / (high - low), 0, 1)
        light = (streak * fade)[..., None]
        colour = np.asarray(cls.glass) + (np.array([255, 255, 255]) - cls.glass) * np.clip(light, 0, 1)
        return surface(
            grid, colour, alpha=0.10 + 0.16 * fade + 0.22 * np.clip(light[..., 0], 0, 1), gloss=0.2
        )


@register("top_hat")
class TopHat(Rigid):
    """A black felt hat with a red band."""

    felt, band, shadow = (44, 42, 50), (176, 34, 48), 0.45
    brim_y, tip = -0.86, (0.0, -0.99, 0.14)  # where the hat begins, and its direction upwards

    @classmethod
    def model(cls) -> Solid:
        """Rings around an axis that leans back, from the edge of the brim inwards and up."""
        radii = [1.30, 1.26, 0.88, 0.80, 0.79, 0.78, 0.78, 0.80, 0.84, 0.86, 0.82, 0.0]
        heights = [0.05, 0.00, 0.02, 0.04, 0.06, 0.30, 0.32, 0.60, 0.84, 0.92, 0.95, 0.95]
        angle = np.linspace(0, 2 * np.pi, 49)
        up = np.asarray(cls.tip) / np.linalg.norm(cls.tip)
        side = np.array([1.0, 0.0, 0.0])
        front = np.cross(side, up)
        front *= np.sign(front[2])
        base = np.array([0.0, cls.brim_y, -0.62])
        curl = 0.12 * np.cos(angle) ** 2  # the brim is turned up at its sides
        rings = []
        for radius, height in zip(radii, heights, strict=True):
            lift = height + curl * max(radius - 0.85, 0) / 0.45
            rings.append(
                base
                + radius * (np.cos(angle)[:, None] * side * 0.98 + np.sin(angle)[:, None] * front * 1.08)
                + lift[:, None] * up
            )
        rows = np.arange(len(radii) - 1)
        is_band = ((rows >= 4) & (rows < 5))[:, None, None]
        sheen = (
            9 * np.cos(3 * angle[:-1] + 0.8)[None, :, None] ** 2 * (rows >= 5)[:, None, None]
        )  # of brushed felt
        colours = np.broadcast_to(
            np.where(is_band, cls.band, cls.felt) + sheen, (len(rows), len(angle) - 1, 3)
        )
        return surface(np.array(rings), colours, gloss=0.18)


@register("cat_ears")
class CatEars(Rigid):
    """Two pointed ears, open to the front, pink inside, with tufts of hair."""

    fur, inside, shadow = (92, 72, 60), (226, 158, 150), 0.3

    @classmethod
    def model(cls) -> Solid:
        """The left ear, with its flipped copy."""
        rng = np.random.default_rng(7)
        shell, lining = cls._cup(0.0, 1.0), cls._cup(0.035, 0.70)
        tone = rng.normal(0, 7, (shell.shape[0] - 1, shell.shape[1] - 1, 1))
        ear = surface(shell, np.asarray(cls.fur) + tone) + surface(lining, cls.inside)
        hairs = [cls._hair(rng, inner=number < 46) for number in range(90)]
        ear = sum(hairs, start=ear)
        return ear + ear.flipped()

    @staticmethod
    def _cup(forward: float, part: float, across=None, up=None) -> np.ndarray:
        """Points (..., 3) of the ear: across -1 to 1, up 0 to 1; `part` of its width and height."""
        across = np.linspace(-1, 1, 11)[None] if across is None else across
        up = np.linspace(0, 1, 10)[:, None] if up is None else up
        width = 0.33 * (1 - up**1.5) * (1 + 0.25 * np.sin(np.pi * up)) * part
        x = 0.50 + width * across + 0.22 * up * part
        y = -0.86 - 0.62 * up * part + 0.20 * (across * width) / 0.33
        z = -0.30 - 0.16 * (1 - across**2) * (1 - up) + forward - 0.05 * up
        return np.stack(np.broadcast_arrays(x, y, z), axis=-1)

    @classmethod
    def _hair(cls, rng, *, inner: bool) -> Solid:
        """One thin hair: a light one at the edge of the opening, or a dark one on the outline."""
        side, up = rng.choice([-1, 1]), rng.uniform(0.02, 0.6 if inner else 0.95)
        across = side * (rng.uniform(0.45, 0.95) if inner else 1.0)
        root = cls._cup(0.06 if inner else 0.0, 0.8 if inner else 1.0, np.array(across), np.array(up))
        reach = [-0.10 * side, -0.15, 0.03] if inner else [0.035 * side, -0.05, 0.0]
        tip = root + np.array(reach) * rng.uniform(0.6, 1.3)
        wide = np.array([0.006 if inner else 0.011, 0, 0])
        colour = np.array((240, 216, 206) if inner else cls.fur) - 26 * rng.random()
        return surface([[root - wide, root + wide], [tip, tip]], colour, alpha=0.85 if inner else 1.0)
