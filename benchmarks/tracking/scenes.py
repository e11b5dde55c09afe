"""Videos with known keypoints: a photo moved through 640 x 480 frames, and cut-out faces.

    portrait = portraits()["astronaut"]
    frame = portrait.frame(Pose(x=10), noise=4, rng=rng)      # HxWx3 uint8 RGB
    portrait.matrix(Pose(x=10))                               # photo to frame, 2x3

The photos are in the public domain and come with installed packages (data_load.sample_photos).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_load import sample_photos
from files import cv2
from geometry import crop_matrix, warp

FPS = 30
SIZE_WH = (640, 480)
CUT_SIZE = 200


@dataclass(frozen=True)
class Pose:
    """The place of a photo: x, y in pixels from the centre of the frame, rotation in degrees, zoom factor."""

    x: float = 0.0
    y: float = 0.0
    rotation_deg: float = 0.0
    zoom: float = 1.0


@dataclass(frozen=True)
class Portrait:
    """A photo with one face. centre_xy: the centre of the face; scale: frame pixels per photo pixel."""

    photo: np.ndarray
    centre_xy: tuple[float, float]
    scale: float

    def matrix(self, pose: Pose) -> np.ndarray:
        """The 2x3 matrix from photo to frame that moves the centre of the face to the place of the pose."""
        width, height = SIZE_WH
        side = width / (self.scale * pose.zoom)
        matrix = crop_matrix(self.centre_xy, side, width, rotation_deg=pose.rotation_deg)
        matrix[:, 2] += pose.x, pose.y - (width - height) / 2
        return matrix

    def frame(self, pose: Pose, noise: float, rng: np.random.Generator) -> np.ndarray:
        """The photo at a pose, with fresh Gaussian noise (standard deviation in gray levels)."""
        return add_noise(warp(self.photo, self.matrix(pose), SIZE_WH, border_value=None), noise, rng)


def portraits() -> dict[str, Portrait]:
    """The sample photos, scaled so that the outer eye corners are about 100 pixels apart."""
    photos = sample_photos()
    return {
        "astronaut": Portrait(photos["astronaut"], (225, 120), 1.6),
        "hopper": Portrait(photos["hopper"], (262, 205), 1.0),
    }


def add_noise(image: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """The image as uint8 with Gaussian noise on every channel; noise: its standard deviation."""
    noisy = image + np.float32(noise) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


# --- motions: (seconds, inter-ocular distance in pixels) -> pose ------------------------------------

Motion = Callable[[float, float], Pose]


def sway(hertz: float, reach: float) -> Motion:
    """A sine motion from side to side, `reach` inter-ocular distances to each."""
    return lambda t, eyes: Pose(x=reach * eyes * math.sin(2 * math.pi * hertz * t))


def there_and_back(speed: float, reach: float) -> Motion:
    """Constant speed in inter-ocular distances per second from side to side, `reach` to each."""

    def pose(t: float, eyes: float) -> Pose:
        along = (speed * t + reach) % (4 * reach)  # 0 at the left end, 2 reach at the right one
        return Pose(x=eyes * (min(along, 4 * reach - along) - reach))

    return pose


STOP_MOVES_S, STOP_RESTS_S = 0.6, 0.4


def sudden_stop(speed: float) -> Motion:
    """Constant speed for 0.6 s, then rest for 0.4 s; then the same back."""
    way = speed * STOP_MOVES_S

    def pose(t: float, eyes: float) -> Pose:
        step, since = divmod(t, STOP_MOVES_S + STOP_RESTS_S)
        along = min(since / STOP_MOVES_S, 1.0) * way
        return Pose(x=eyes * ((along if step % 2 == 0 else way - along) - way / 2))

    return pose


SUDDEN_STOP = "fast, with sudden stops"
MOTIONS: dict[str, Motion] = {
    "slow sway (0.5 Hz)": sway(0.5, 0.5),
    "fast sway (1 Hz)": sway(1.0, 0.75),
    "constant speed, there and back": there_and_back(2.0, 1.0),
    SUDDEN_STOP: sudden_stop(3.0),
    "rotated by ±20° (0.5 Hz)": lambda t, _: Pose(rotation_deg=20 * math.sin(math.pi * t)),
    "zoomed, 0.8 to 1.25 times (0.5 Hz)": lambda t, _: Pose(zoom=1.25 ** math.sin(math.pi * t)),
}


# --- cut-out faces -----------------------------------------------------------------------------


def cut_out(photo: np.ndarray, centre_xy, side: float) -> tuple[np.ndarray, np.ndarray]:
    """An oval cut around a face: pixels (200, 200, 3) and their weights (200, 200), both float32."""
    cut = warp(photo, crop_matrix(centre_xy, side, CUT_SIZE), (CUT_SIZE, CUT_SIZE)).astype(np.float32)
    ys, xs = (np.mgrid[:CUT_SIZE, :CUT_SIZE] - CUT_SIZE / 2) / CUT_SIZE
    inside = ((xs / 0.4) ** 2 + (ys / 0.49) ** 2 < 1).astype(np.float32)
    return cut, cv2.GaussianBlur(inside, (0, 0), 3)


def cut_out_faces() -> list[tuple[np.ndarray, np.ndarray]]:
    """The faces of the two sample photos, as `cut_out` returns them."""
    photos = sample_photos()
    return [cut_out(photos["astronaut"], (225, 110), 150), cut_out(photos["hopper"], (262, 205), 260)]


def lay_over(image: np.ndarray, face: tuple[np.ndarray, np.ndarray], x: float, y: float) -> np.ndarray:
    """The float32 image with a cut-out face over it, centred at (x, y)."""
    shift = np.array([[1.0, 0, x - CUT_SIZE / 2], [0, 1, y - CUT_SIZE / 2]])
    pixels, weight = (warp(part, shift, image.shape[1::-1]) for part in face)
    return image + weight[..., None] * (pixels - image)
