"""Drawing for draw_art.py: shapes, shadows, hairs and shading on a transparent picture.

Coordinates are in face units: x to the right and y down from the middle between the eyes, 100 units from
outer eye corner to outer eye corner.
"""

import numpy as np

from files import cv2

OVERSAMPLING = 4
OVERLAP = 2.0  # face units, see Canvas.halves


class Canvas:
    """A transparent picture that is drawn OVERSAMPLING times as large and averaged down at the end.

    box: left, top, right, bottom in face units. scale: pixels of the picture per unit.
    """

    def __init__(self, box: tuple[float, float, float, float], scale: float):
        self.left, self.top, right, bottom = box
        self.scale = scale * OVERSAMPLING
        width, height = round((right - self.left) * scale), round((bottom - self.top) * scale)
        self.rgba = np.zeros((height * OVERSAMPLING, width * OVERSAMPLING, 4), np.float32)  # premultiplied
        rows, columns = np.indices(self.rgba.shape[:2], dtype=np.float32)
        self.x, self.y = (columns + 0.5) / self.scale + self.left, (rows + 0.5) / self.scale + self.top

    def _pixels(self, outline) -> np.ndarray:
        """Points (N, 2) in pixels of the oversampled picture, from face units."""
        return (np.asarray(outline, dtype=np.float64) - (self.left, self.top)) * self.scale - 0.5

    def shape(self, *outlines) -> np.ndarray:
        """Mask (H, W), 0 or 1, of the inside of closed outlines (N, 2)."""
        masks = [_fill(self.rgba.shape[:2], self._pixels(outline)) for outline in outlines]
        return np.maximum.reduce(masks).astype(np.float32)

    def below(self, mask: np.ndarray, distance: float, radius: float) -> np.ndarray:
        """The soft shadow of a shape, `distance` units below it."""
        return self.blur(np.roll(mask, round(distance * self.scale), axis=0), radius)

    def blur(self, mask: np.ndarray, radius: float) -> np.ndarray:
        """The mask blurred by a Gaussian with this standard deviation in face units."""
        return cv2.GaussianBlur(mask, (0, 0), radius * self.scale, borderType=cv2.BORDER_CONSTANT)

    def paint(self, colour, mask: np.ndarray, alpha=1.0) -> None:
        """Paint a colour, (3,) or (H, W, 3) in [0, 255], where the mask is.

        alpha: a number or (H, W), in [0, 1].
        """
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        tone = np.broadcast_to(np.float32(colour), (*mask.shape, 3))[window]
        self._lay(window, tone, mask[window] * np.broadcast_to(alpha, mask.shape)[window])

    def strand(self, line: np.ndarray, width: float, colour, mask: np.ndarray, alpha: float) -> None:
        """Paint a hair inside the mask: a line (N, 2), `width` units thick, with pointed ends.

        There are hundreds of hairs, so each changes only a small window of the picture.
        """
        taper = np.maximum(np.sin(np.linspace(0, np.pi, len(line))), 0) ** 0.7
        along = np.gradient(line, axis=0)
        across = np.column_stack([-along[:, 1], along[:, 0]]) / np.linalg.norm(along, axis=1, keepdims=True)
        side = across * (taper * width / 2)[:, None]
        outline = self._pixels(np.concatenate([line + side, (line - side)[::-1]]))
        left, top = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 1, 0)
        right, bottom = np.ceil(outline.max(axis=0)).astype(int) + 2
        window = (slice(top, bottom), slice(left, right))
        hair = _fill(mask[window].shape, outline - (left, top))
        self._lay(window, colour, hair * mask[window] * alpha)

    def _lay(self, window, colour, cover: np.ndarray) -> None:
        cover = np.asarray(cover, dtype=np.float32)[..., None]
        part = self.rgba[window]
        part[:] = np.concatenate([np.float32(colour) * cover, cover], axis=-1) + part * (1 - cover)

    def relief(self, mask: np.ndarray, radius: float, strength: float) -> None:
        """Shade a shape as if its edges were round, with light from the top left."""
        height = self.blur(mask, radius)
        slope = cv2.Sobel(height, cv2.CV_32F, 0, 1) + 0.6 * cv2.Sobel(height, cv2.CV_32F, 1, 0)
        slope *= radius * self.scale / 2
        self.paint((255, 255, 255), mask, np.clip(slope, 0, 1) * strength)
        self.paint((0, 0, 0), mask, np.clip(-slope, 0, 1) * strength)

    def halves(self, solid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The parts left and right of the middle (x = 0) as two pictures.

        Where the mask `solid` is, both reach OVERLAP units across the middle, so that there is no gap between
        them. Translucent pixels do not, because they would be painted twice.
        """
        middle, reach = round(-self.left * self.scale), round(OVERLAP * self.scale)
        left = self.rgba * np.maximum(self.x < 0, solid)[..., None]
        right = self.rgba * np.maximum(self.x > 0, solid)[..., None]
        return _picture(left[:, : middle + reach]), _picture(right[:, middle - reach :])

    def picture(self) -> np.ndarray:
        """(H, W, 4) uint8 with straight alpha."""
        return _picture(self.rgba)


def _fill(shape_hw, outline: np.ndarray) -> np.ndarray:
    """Mask (H, W) uint8, 1 inside the outline (N, 2) in pixels."""
    mask = np.zeros(shape_hw, np.uint8)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 1, shift=4)  # 1/16 pixel
    return mask


def _picture(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 with straight alpha, from an oversampled picture with premultiplied alpha."""
    height, width = (side // OVERSAMPLING for side in rgba.shape[:2])
    blocks = rgba.reshape(height, OVERSAMPLING, width, OVERSAMPLING, 4)
    mean = blocks.mean(axis=(1, 3), dtype=np.float64)
    alpha = np.rint(mean[..., 3:] * 255)
    colour = np.rint(mean[..., :3] / np.maximum(mean[..., 3:], 1e-6))
    return np.concatenate([np.where(alpha > 0, colour, 0), alpha], axis=-1).clip(0, 255).astype(np.uint8)


def smooth(points, *, closed: bool = True, steps: int = 24) -> np.ndarray:
    """A smooth curve through the points (N, 2): a Catmull-Rom spline with `steps` pieces per interval."""
    points = np.asarray(points, dtype=np.float64)
    before, after = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
    padded = np.concatenate([before, points, after])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(b + t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a))) / 2)
    curve = np.concatenate(pieces)
    return curve if closed else np.concatenate([curve, points[-1:]])


def flipped(points) -> np.ndarray:
    """The points (N, 2) on the other side of the face."""
    return np.asarray(points, dtype=np.float64) * (-1, 1)


def blend(low, high, share: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) from `low` where share is 0 to `high` where it is 1."""
    share = np.clip(share, 0, 1)[..., None]
    return np.float32(low) * (1 - share) + np.float32(high) * share


def ellipse(x: float, y: float, radius_x: float, radius_y: float, turn_deg: float = 0) -> np.ndarray:
    """Outline (96, 2) of an ellipse, rotated clockwise on the screen by turn_deg."""
    angle, turn = np.linspace(0, 2 * np.pi, 96, endpoint=False), np.deg2rad(turn_deg)
    u, v = radius_x * np.cos(angle), radius_y * np.sin(angle)
    return np.column_stack([x + u * np.cos(turn) - v * np.sin(turn), y + u * np.sin(turn) + v * np.cos(turn)])
