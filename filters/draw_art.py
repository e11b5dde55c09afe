"""Draws all pictures of `art/`:  python -m filters.draw_art

The pictures are our own and are made of curves in face units: x to the right and y down from the middle
between the eyes, 100 units from outer eye corner to outer eye corner. The eye corners are near (±50, 0) and
(±22, 0), the mouth corners near (±29.5, 74). The point (x, y) is at pixel
((x - left) * scale - 0.5, (y - top) * scale - 0.5) of its drawing; these are the numbers in filters.json.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from files import atomic_path, cv2
from filters.canvas import Canvas, blend, ellipse, flipped, smooth
from filters.mesh import face_points
from landmarks import GROUPS
from sample_faces.head import canonical_head

ART = Path(__file__).parent / "art"

# --- sunglasses ------------------------------------------------------------------------

RIM = [(-75, -19), (-60, -22), (-38, -21.5), (-14, -18.5), (-7.5, -12), (-9, 3), (-16, 19), (-28, 28),
       (-42, 30), (-56, 26), (-65, 15), (-68.5, 1), (-71, -7), (-76, -11)]  # fmt: skip
LENS = [(-64.5, -11), (-55, -14.5), (-37, -14.5), (-17, -12), (-12.5, -7.5), (-13.5, 3), (-19.5, 16),
        (-29.5, 23.5), (-42, 25.3), (-53.5, 21.8), (-60.8, 12), (-63.8, 1)]  # fmt: skip
BRIDGE = [(-14, -16), (-6, -14.5), (0, -14), (6, -14.5), (14, -16), (13, -9), (6, -8), (0, -7.2),
          (-6, -8), (-13, -9)]  # fmt: skip
ARM = [(-1, -6), (20, -5), (45, -4), (60, -2), (68, 2), (67, 6), (58, 3.6), (44, 2), (20, 2), (-1, 2)]


def sunglasses() -> tuple[np.ndarray, np.ndarray]:
    """The right and the left half of the front of a pair of sunglasses."""
    canvas = Canvas((-84, -32, 84, 44), 4)
    rims = [smooth(RIM), smooth(flipped(RIM))]
    lenses = [smooth(LENS), smooth(flipped(LENS))]
    solid = np.maximum(canvas.shape(*rims), canvas.shape(smooth(BRIDGE)))
    glass = canvas.shape(*lenses)
    frame = solid * (1 - glass)
    canvas.paint((25, 10, 5), canvas.below(solid, 3.5, 2.5), 0.34)
    canvas.rgba *= (1 - glass)[..., None]  # no shadow behind the lenses: the eyes show through
    depth = np.clip((canvas.y + 15) / 41, 0, 1)
    canvas.paint(blend((13, 15, 20), (74, 62, 54), depth**1.4), glass, 0.95 - 0.2 * depth**2)
    for middle in (-38, 38):
        reflections(canvas, glass, middle)
    canvas.paint((0, 0, 0), glass, canvas.blur(frame, 1.6) * 0.6)
    canvas.paint(blend((40, 38, 40), (14, 13, 15), (canvas.y + 22) / 30), frame)
    canvas.relief(frame, 1.1, 0.55)
    for rivet in (-70.5, 70.5):
        hinge = canvas.shape(ellipse(rivet, -14.8, 2.4, 1.0))
        canvas.paint(blend((235, 235, 240), (140, 142, 150), (canvas.y + 15.8) / 2), hinge)
    return canvas.halves(frame)


def reflections(canvas: Canvas, glass: np.ndarray, middle: float) -> None:
    """Paint the sky in the upper part of a lens and two slanted streaks of light."""
    sky = canvas.shape(ellipse(middle - 2, -22, 40, 22)) * glass
    canvas.paint((150, 185, 225), sky, 0.30 * np.clip((2 - canvas.y) / 18, 0, 1))
    for offset, width, strength in ((-13, 9, 0.30), (1, 3.5, 0.22)):
        x, half = middle + offset, width / 2
        streak = [(x + 10 - half, -20), (x + 10 + half, -20), (x - 10 + half, 34), (x - 10 - half, 34)]
        soft = canvas.blur(canvas.shape(np.array(streak)), 0.5)
        canvas.paint((255, 255, 255), soft * glass, strength * np.clip((24 - canvas.y) / 38, 0, 1))


def sunglasses_arm() -> np.ndarray:
    """An arm from the hinge (left, x = 0) to the ear (right, x = 60), where it fades into the hair."""
    canvas = Canvas((-2, -10, 70, 22), 4)
    arm = canvas.shape(smooth(ARM))
    fade = np.clip((66 - canvas.x) / 16, 0, 1)
    canvas.paint((25, 10, 5), canvas.below(arm, 4, 2), 0.25 * fade)
    canvas.paint(blend((46, 44, 46), (14, 13, 15), (canvas.y + 6) / 8), arm, fade)
    canvas.relief(arm * (fade > 0), 1.1, 0.4)
    return canvas.picture()


# --- moustache -------------------------------------------------------------------------

MOUSTACHE_UPPER = [(0, 55), (-8, 51.5), (-18, 53), (-29, 58.5), (-39, 60), (-46, 55), (-47.5, 47.5),
                   (-43, 44.5)]  # fmt: skip
MOUSTACHE_LOWER = [(-43, 44.5), (-50.5, 44.5), (-54.5, 53), (-51, 63.5), (-41, 69.5), (-28, 70), (-14, 68.5),
                   (0, 65)]  # fmt: skip


def moustache() -> tuple[np.ndarray, np.ndarray]:
    """The right and the left half of a moustache."""
    canvas = Canvas((-64, 34, 64, 82), 4)
    upper, lower = (smooth(line, closed=False, steps=20) for line in (MOUSTACHE_UPPER, MOUSTACHE_LOWER))
    half = np.concatenate([upper, lower[1:]])
    body = np.maximum(canvas.shape(half), canvas.shape(flipped(half)))
    canvas.paint((30, 12, 5), canvas.below(body, 2, 1.6), 0.35)
    canvas.paint(blend((74, 46, 26), (36, 20, 11), (canvas.y - 50) / 20), body)
    low, everywhere = lower[::-1], np.ones_like(body)
    for strand in range(90):
        share = (strand * 0.6180339887) % 1  # by the golden ratio: evenly spread and reproducible
        start = 0.55 * ((strand * 0.7548776662) % 1)
        line = upper * (1 - share) + low * share
        line = line[int(start * len(line)) : len(line) - int(25 * ((strand * 0.5698402910) % 1))]
        tone = (128, 86, 50) if strand % 2 else (24, 12, 7)
        for side in (line, flipped(line)):
            canvas.strand(side, 1.1, tone, everywhere, 0.45)
    canvas.relief(body, 2.2, 0.35)
    return canvas.halves(body)


# --- dog -------------------------------------------------------------------------------

EAR = [(-28, -120), (-48, -138), (-76, -136), (-98, -112), (-112, -74), (-116, -34), (-106, -16), (-93, -26),
       (-82, -52), (-66, -76), (-44, -92)]  # fmt: skip
EAR_INSIDE = [(-50, -118), (-70, -121), (-88, -100), (-101, -66), (-105, -36), (-98, -36), (-88, -62),
              (-72, -86), (-54, -100)]  # fmt: skip


def dog_ears() -> np.ndarray:
    """Two hanging ears."""
    canvas = Canvas((-124, -146, 124, -6), 1.6)
    for side in (np.asarray, flipped):
        ear, inside = canvas.shape(smooth(side(EAR))), canvas.shape(smooth(side(EAR_INSIDE)))
        canvas.paint((25, 12, 6), canvas.below(ear, 5, 4), 0.3)
        canvas.paint(blend((150, 98, 56), (92, 55, 29), (canvas.y + 138) / 110), ear)
        canvas.relief(ear, 5, 0.5)
        soft = canvas.blur(inside, 2.2)
        canvas.paint(blend((196, 140, 112), (150, 92, 74), (canvas.y + 120) / 80), soft * ear, 0.85)
        fur(canvas, ear, np.asarray(EAR, dtype=np.float64), side)
    return canvas.picture()


def fur(canvas: Canvas, ear: np.ndarray, outline: np.ndarray, side: Callable) -> None:
    """Paint short hairs on an ear, in the direction from its root to its tip."""
    front, back = smooth(outline[:7], closed=False), smooth(outline[:5:-1], closed=False)
    for strand in range(80):
        share, start = (strand * 0.6180339887) % 1, 0.8 * ((strand * 0.7548776662) % 1)
        first = np.linspace(start, start + 0.2, 12)
        line = (1 - share) * _along(front, first) + share * _along(np.vstack([outline[:1], back]), first)
        tone = (205, 150, 100) if strand % 2 else (70, 40, 20)
        canvas.strand(side(line), 1.6, tone, ear, 0.3)


def _along(line: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points (M, 2) of a line (N, 2) at shares (M,), 0 to 1, of its number of pieces."""
    position = np.linspace(0, 1, len(line))
    return np.column_stack([np.interp(shares, position, line[:, axis]) for axis in (0, 1)])


NOSE = [(0, 24.5), (-11, 25.5), (-21, 31), (-24, 40), (-18, 49), (-8, 54), (0, 58), (8, 54), (18, 49),
        (24, 40), (21, 31), (11, 25.5)]  # fmt: skip


def dog_nose() -> np.ndarray:
    """A dog's nose."""
    canvas = Canvas((-32, 18, 32, 70), 4)
    nose = canvas.shape(smooth(NOSE))
    canvas.paint((20, 8, 4), canvas.below(nose, 3, 2.5), 0.4)
    canvas.paint(blend((58, 50, 52), (18, 15, 17), (canvas.y - 25) / 30), nose)
    canvas.relief(nose, 4, 0.6)
    for x in (-10, 10):
        hole = canvas.shape(ellipse(x, 44, 6.2, 3.6, -28 if x < 0 else 28))
        canvas.paint((4, 3, 4), canvas.blur(hole, 0.7), 0.95)
    canvas.strand(np.linspace((0, 41), (0, 60), 20), 1.6, (4, 3, 4), nose, 0.8)
    shine = canvas.blur(canvas.shape(ellipse(-5, 31, 10, 3.2, -8)), 1.3)
    canvas.paint((255, 255, 255), shine, 0.75)
    return canvas.picture()


# --- party hat -------------------------------------------------------------------------

TIP, BRIM_Y, BRIM_X, BRIM_SAG = (0.0, -246.0), -100.0, 56.0, 13.0


def party_hat() -> np.ndarray:
    """A paper cone with stripes and a tuft."""
    canvas = Canvas((-72, -274, 72, -74), 2)
    angle = np.linspace(np.pi, 0, 57)
    brim = np.column_stack([BRIM_X * np.cos(angle), BRIM_Y + BRIM_SAG * np.sin(angle)])
    cone = canvas.shape(np.concatenate([[TIP], brim]))
    canvas.paint((20, 10, 5), canvas.below(cone, 4, 3), 0.3)
    # around: -1 to 1 from the left to the right edge of the cone; up: 0 at the brim, 1 at the tip
    up = np.clip((BRIM_Y - canvas.y) / (BRIM_Y - TIP[1]), -0.2, 0.995)
    around = np.clip(canvas.x / (BRIM_X * (1 - up)), -1, 1)
    level = up + (BRIM_SAG / (BRIM_Y - TIP[1])) * (1 - up) * np.sqrt(1 - around**2)
    twist = (level * 5 + np.arcsin(around) / np.pi) % 1
    canvas.paint((232, 64, 88), cone)
    for start, end, colour in ((0, 0.32, (255, 214, 76)), (0.46, 0.78, (62, 156, 214))):
        stripe = ((twist >= start) & (twist < end)).astype(np.float32)
        canvas.paint(colour, cone * canvas.blur(stripe, 0.3))
    canvas.paint((0, 0, 0), cone, 0.5 * np.clip(around * 0.75 + 0.15, 0, 1) ** 1.6)
    canvas.paint((255, 255, 255), cone, 0.35 * np.exp(-(((around + 0.45) / 0.22) ** 2)))
    for x, y in brim[::4]:
        tuft(canvas, x, y, 6.5, (250, 250, 252))
    tuft(canvas, TIP[0], TIP[1] + 2, 17, (255, 224, 110))
    return canvas.picture()


def tuft(canvas: Canvas, x: float, y: float, radius: float, colour) -> None:
    """Paint a ball of wool: a star of strands, lighter at the top."""
    angle = np.linspace(0, 2 * np.pi, 49)[:-1]
    reach = radius * np.where(np.arange(48) % 2, 0.8, 1.0 + 0.08 * np.sin(np.arange(48) * 2.4))
    ball = canvas.shape(np.column_stack([x + reach * np.cos(angle), y + reach * np.sin(angle)]))
    canvas.paint(colour, ball)
    canvas.paint((90, 70, 80), ball, 0.45 * np.clip((canvas.y - y + 0.3 * (canvas.x - x)) / radius, 0, 1))


# --- beard -----------------------------------------------------------------------------


def beard_hairs(scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Hairs on the canonical face seen from the front, and the corners of the mesh of that face.

    scale: pixels per distance between the outer eye corners.

    Returns (H, W, 4) uint8 RGBA and (N, 2), pixels. It is drawn when it is needed, in a quarter of a second.
    """
    corners = face_points(canonical_head()[:, :2])
    low = corners.min(axis=0) - 0.05
    corners = (corners - low) * scale
    width, height = np.ceil(corners.max(axis=0) + 0.05 * scale).astype(int)
    rng = np.random.default_rng(1)
    cheek = np.array(
        [[-0.84, 0.30], [-0.72, 0.52], [-0.52, 0.68], [-0.36, 0.70], [-0.22, 0.62], [-0.06, 0.585]]
    )
    line = smooth(np.concatenate([cheek, (cheek * [-1, 1])[::-1]]), closed=False, steps=8)
    outline = np.concatenate([line, canonical_head()[list(GROUPS["jaw"]), :2][::-1]])
    area = np.zeros((height, width), np.uint8)
    cv2.fillPoly(area, [np.rint((outline - low) * scale).astype(np.int32)], 255)
    depth = cv2.distanceTransform(np.pad(area, 1), cv2.DIST_L2, 5)[1:-1, 1:-1] / scale
    below = (np.arange(height)[:, None] / scale + low[1]) > 1.0  # at the chin the beard ends in full strength
    density = np.where(below, np.clip(depth / 0.01, 0, 1), np.clip(depth / 0.13, 0, 1)) * (area > 0)
    ground = cv2.GaussianBlur(density.astype(np.float32), (0, 0), 0.02 * scale)
    rgb = np.zeros((height, width, 3), np.uint8) + np.array([52, 38, 30], np.uint8)
    alpha = np.rint(150 * ground).astype(np.uint8)
    rows, columns = np.nonzero(area)
    for place in rng.integers(0, len(rows), 5200):
        root = np.array([columns[place], rows[place]], dtype=np.float64)
        if rng.random() > density[rows[place], columns[place]] ** 0.7:
            continue
        side = (root[0] / scale + low[0]) / 0.8
        angle = np.pi / 2 - 0.7 * side + rng.normal(0, 0.28)
        tip = root + scale * rng.uniform(0.035, 0.075) * np.array([np.cos(angle), np.sin(angle)])
        ends = [np.rint(np.stack([root, tip]) * 16).astype(np.int32)]
        tone = np.array([[34, 24, 19], [62, 45, 34], [96, 72, 54]][rng.choice(3, p=[0.5, 0.35, 0.15])])
        cv2.polylines(rgb, ends, False, tone.tolist(), 1, cv2.LINE_AA, 4)
        cv2.polylines(alpha, ends, False, 235, 1, cv2.LINE_AA, 4)
    return np.dstack([rgb, alpha]), corners


def drawings() -> dict[str, np.ndarray]:
    """All pictures of `art/` by file name, (H, W, 4) uint8; "right" is the right of the person."""
    glasses_right, glasses_left = sunglasses()
    moustache_right, moustache_left = moustache()
    return {
        "sunglasses_right.png": glasses_right,
        "sunglasses_left.png": glasses_left,
        "sunglasses_arm.png": sunglasses_arm(),
        "moustache_right.png": moustache_right,
        "moustache_left.png": moustache_left,
        "dog_ears.png": dog_ears(),
        "dog_nose.png": dog_nose(),
        "party_hat.png": party_hat(),
    }


def main() -> None:
    """Write all pictures and print their sizes."""
    for name, picture in drawings().items():
        with atomic_path(ART / name) as temporary:
            Image.fromarray(picture).save(temporary, format="PNG", optimize=True)
        print(f"{name}  {(ART / name).stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
