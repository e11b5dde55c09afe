"""Drawn scenes for the face finder: faces of the training images, pasted onto backgrounds without people.

    scenes = CompositeScenes(load_split(data_folder, "identity", "train"), size=256, seed=0)
    scenes[0]["image"].shape       # (1, 256, 256)

Backgrounds are photos that come with scikit-image, textures and text. A frame may show other people beside
the labelled one, mostly at its edge, and they have no label. Cells where such a face may be are ignored: they
are taught neither as a face nor as background.

Random numbers depend on (seed, epoch, index) alone.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from data_load import FacialKeypointsDataset, background_photo, training_labels
from files import cv2
from geometry import (
    box_centre,
    box_from_keypoints,
    box_overlap,
    box_side,
    compose,
    crop_matrix,
    scale_box,
    transform_points,
    warp,
)
from landmarks import GROUPS
from models import FaceFinder
from training.uncertainty import TRAINING_SCENES

BOX_SCALE = 1.2  # side of the box that is taught, over the larger side of the box around the keypoints
#: Photos of scikit-image that show no people.
SCENES = tuple(sorted((*TRAINING_SCENES, "colorwheel", "horse")))
#: How often each kind of scene is drawn.
KINDS = {"frame": 0.25, "mixed": 0.35, "crowd": 0.25, "empty": 0.15}
FACE_PX = (9.0, 220.0)  # larger side of the box around the keypoints, in pixels of the scene
CROWD_PX = (9.0, 50.0)
CROWD_LIMIT = 30  # faces in a scene
KNOWN_SCALE = 1.8  # assumed: a frame shows no second face within this many sizes of the face
IGNORED = -1.0


@dataclass
class Scene:
    """A scene while it is drawn.

    image: (S, S) uint8. unknown: (S, S) bool, pixels that may show a face without a label.
    boxes: box_xyxy of each face.
    """

    image: np.ndarray
    unknown: np.ndarray
    boxes: list[np.ndarray]


class CompositeScenes(Dataset):
    """Scenes with their targets. Set `epoch` for other scenes.

    dataset: the training part of a split. size: side of the scenes in pixels, a multiple of 32.
    length: scenes per epoch.
    labels: as for `data_load.training_labels`.

    An item holds image (1, S, S) float32 in [0, 1]; heat (S/8, S/8): 1 at the centre of a face, falling off
    around it, IGNORED where a face may be that has no label; box (3, S/8, S/8): what `FaceFinder.maps` gives
    for offset and side; weight (S/8, S/8): how much the box counts in this cell.
    """

    def __init__(
        self,
        dataset: FacialKeypointsDataset,
        size: int = 256,
        length: int = 3200,
        seed: int = 0,
        labels: str = "debiased",
    ):
        self.size, self.length, self.seed, self.empty, self.epoch = size, length, seed, False, 0
        self.frames = [
            cv2.cvtColor(dataset.image(index), cv2.COLOR_RGB2GRAY) for index in range(len(dataset))
        ]
        self.keypoints = training_labels(dataset, labels)
        self.photos = [cv2.cvtColor(background_photo(name), cv2.COLOR_RGB2GRAY) for name in SCENES]

    def without_faces(self, length: int) -> "CompositeScenes":
        """`length` other scenes from the same images, none with a face."""
        other = copy.copy(self)
        other.length, other.empty, other.seed = length, True, self.seed + 1
        return other

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(f"there are {self.length} scenes, got index {index}")
        scene = self.scene(np.random.default_rng([self.seed, self.epoch, index]))
        image = torch.from_numpy(scene.image.astype(np.float32) / 255)[None]
        heat, box, weight = targets(scene)
        return {"image": image, "heat": heat, "box": box, "weight": weight}

    def scene(self, rng: np.random.Generator) -> Scene:
        """A new scene."""
        kind = "empty" if self.empty else rng.choice(list(KINDS), p=list(KINDS.values()))
        scene = Scene(self._background(rng), np.zeros((self.size, self.size), bool), [])
        if kind == "frame":
            self._show_frame(scene, rng)
        else:
            for _ in range(rng.integers(4)):
                self._paste_patch(scene, rng)
        if kind == "mixed":
            for _ in range(rng.integers(1, 6)):
                side = np.exp(rng.uniform(*np.log(FACE_PX)))
                self._paste_face(scene, rng.uniform(0, self.size, 2), side, rng)
        elif kind == "crowd":
            self._paste_crowd(scene, rng)
        scene.image = change_light(scene.image, rng)
        return scene

    # faces

    def _pick(self, side: float, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A frame, its keypoints, and the matrix (2, 3) that makes its face `side` px large around (0, 0)."""
        index = rng.integers(len(self.frames))
        keypoints = self.keypoints[index]
        box = box_from_keypoints(keypoints)
        angle = rng.normal(0, 12) if rng.random() < 0.85 else rng.uniform(-60, 60)
        matrix = crop_matrix(
            box_centre(box), box_side(box) / side, 1, rotation_deg=angle, flip=rng.random() < 0.5
        )
        return self.frames[index], keypoints, matrix

    def _show_frame(self, scene: Scene, rng) -> None:
        """A whole frame, enlarged or reduced; what it does not cover stays."""
        side = np.exp(rng.uniform(np.log(40), np.log(0.95 * self.size)))
        frame, keypoints, matrix = self._pick(side, rng)
        matrix[:, 2] += rng.uniform(0.2, 0.8, 2) * self.size
        shape = (self.size, self.size)
        shown = warp(np.full(frame.shape, 255, np.uint8), matrix, shape) > 127
        image = warp(_occluded(frame, keypoints, rng), matrix, shape)
        scene.image[shown] = image[shown]
        points = transform_points(keypoints, matrix)
        known = np.zeros(shape, np.uint8)
        corners = scale_box(box_from_keypoints(points), KNOWN_SCALE)
        left, top, right, bottom = np.clip(np.rint(corners), 0, self.size).astype(int)
        known[top:bottom, left:right] = 1
        scene.unknown |= shown & (known == 0)
        self._add_box(scene, points)

    def _paste_crowd(self, scene: Scene, rng) -> None:
        """Rows of faces of similar size, as in a photo of a group."""
        side = np.exp(rng.uniform(*np.log(CROWD_PX)))
        step = side * rng.uniform(1.5, 2.8)
        for y in np.arange(rng.uniform(0.3, 1) * step, self.size, step * rng.uniform(0.9, 1.4)):
            for x in np.arange(rng.uniform(0, 1) * step, self.size, step):
                if rng.random() < 0.7 and len(scene.boxes) < CROWD_LIMIT:
                    place = np.array([x, y]) + rng.normal(0, 0.12, 2) * step
                    self._paste_face(scene, place, side * np.exp(rng.normal(0, 0.12)), rng)

    def _paste_face(self, scene: Scene, centre_xy, side: float, rng) -> None:
        """A face with some of its surroundings, unless it would cover another one."""
        frame, keypoints, matrix = self._pick(side, rng)
        matrix[:, 2] += centre_xy
        points = transform_points(keypoints, matrix)
        box = _square(points)
        if any(box_overlap(box, other) > 0.25 for other in scene.boxes):
            return
        reach = rng.uniform(1.15, KNOWN_SCALE)
        outline = scale_box(box_from_keypoints(keypoints), reach)
        outline[1] -= rng.uniform(0, 0.25) * box_side(outline)  # the forehead and hair
        mask = _patch_mask(frame.shape, outline, rng)
        if side > 24:
            frame = _occluded(frame, keypoints, rng)
        _paste(scene.image, frame, mask, matrix, rng)
        self._add_box(scene, points)

    def _add_box(self, scene: Scene, points: np.ndarray) -> None:
        """The box of a face (68, 2); a face whose centre is outside of the scene has none."""
        box = _square(points)
        centre = box_centre(box)
        if (centre > -0.5).all() and (centre < self.size - 0.5).all():
            scene.boxes.append(box)
        else:
            left, top, right, bottom = np.clip(np.rint(box), 0, self.size).astype(int)
            scene.unknown[top:bottom, left:right] = True

    # what is no face

    def _background(self, rng) -> np.ndarray:
        kind = rng.random()
        if kind < 0.5:
            return self._photo(rng)
        return texture(self.size, rng) if kind < 0.9 else text(self.size, rng)

    def _photo(self, rng) -> np.ndarray:
        """A part of a photo without people, at any scale and angle."""
        photo = self.photos[rng.integers(len(self.photos))]
        height, width = photo.shape
        side = min(height, width) * np.exp(rng.uniform(np.log(0.15), np.log(1.4)))
        centre = rng.uniform(0, 1, 2) * (width, height)
        matrix = crop_matrix(centre, side, self.size, rotation_deg=rng.normal(0, 20), flip=rng.random() < 0.5)
        return warp(photo, matrix, (self.size, self.size), border_value=None)

    def _paste_patch(self, scene: Scene, rng) -> None:
        """A patch with the outline of a pasted face and no face: the edge must not give faces away."""
        side = np.exp(rng.uniform(*np.log(FACE_PX)))
        if rng.random() < 0.5:
            frame, keypoints, matrix = self._pick(side, rng)
            frame = _shuffled(frame, box_from_keypoints(keypoints), rng)
            outline = scale_box(box_from_keypoints(keypoints), rng.uniform(1.0, 1.3))
        else:
            frame = self._background(rng)
            outline = np.array([0.2, 0.15, 0.8, 0.85]) * self.size
            matrix = crop_matrix(box_centre(outline), box_side(outline) / side, 1)
        matrix[:, 2] += rng.uniform(0, self.size, 2)
        _paste(scene.image, frame, _patch_mask(frame.shape, outline, rng), matrix, rng)


def _square(points: np.ndarray) -> np.ndarray:
    """The box that is taught for a face (68, 2): a square, BOX_SCALE times its larger side."""
    box = box_from_keypoints(points)
    centre, half = box_centre(box) + 0.5, BOX_SCALE * box_side(box) / 2
    return np.concatenate([centre - half, centre + half])


def _patch_mask(shape_hw, outline: np.ndarray, rng) -> np.ndarray:
    """(H, W) uint8, 255 inside an ellipse or a rectangle within `outline`."""
    mask = np.zeros(shape_hw, np.uint8)
    left, top, right, bottom = (int(v) for v in np.rint(outline))
    if rng.random() < 0.6:
        centre, axes = ((left + right) // 2, (top + bottom) // 2), ((right - left) // 2, (bottom - top) // 2)
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1)
    else:
        cv2.rectangle(mask, (left, top), (right, bottom), 255, -1)
    return mask


def _paste(image: np.ndarray, frame: np.ndarray, mask: np.ndarray, matrix: np.ndarray, rng) -> None:
    """Put what is under `mask` in the frame onto the image, in place, where `matrix` maps it."""
    left, top, width, height = cv2.boundingRect(mask)
    if not width or not height:
        return
    corners = np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]])
    placed = transform_points(corners, matrix)
    low = np.maximum(np.floor(placed.min(axis=0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(placed.max(axis=0)).astype(int) + 3, np.array(image.shape[::-1]))
    if (high <= low).any():
        return
    size_wh = tuple(high - low)
    local = compose(np.array([[1.0, 0, -low[0]], [0, 1.0, -low[1]]]), matrix)
    pixels, cover = warp(frame, local, size_wh, border_value=None), warp(mask, local, size_wh)
    if rng.random() < 0.6:
        cover = cv2.GaussianBlur(cover, (0, 0), max(0.4, 0.03 * max(size_wh) * rng.random()))
    gain, shift = np.exp(rng.normal(0, 0.15)), rng.normal(0, 12)
    region = image[low[1] : high[1], low[0] : high[0]]
    share = cover.astype(np.float32) / 255
    mixed = region * (1 - share) + np.clip(pixels * np.float32(gain) + np.float32(shift), 0, 255) * share
    region[:] = np.rint(mixed).astype(np.uint8)


def _occluded(frame: np.ndarray, keypoints: np.ndarray, rng) -> np.ndarray:
    """The frame, in one of six cases with a mask, dark glasses or a bar over the face."""
    kind = rng.random()
    if kind > 1 / 6:
        return frame
    frame, gray = frame.copy(), int(rng.integers(256))
    if kind < 0.06:
        jaw = keypoints[list(GROUPS["jaw"])][2:-2]
        outline = np.vstack([jaw, keypoints[list(GROUPS["nose_bridge"])][-2:].mean(axis=0)])
        cv2.fillConvexPoly(frame, cv2.convexHull(np.rint(outline).astype(np.int32)), gray)
    elif kind < 0.12:
        for eye in ("right_eye", "left_eye"):
            points = keypoints[list(GROUPS[eye])]
            middle = points.mean(axis=0)
            radius = np.ptp(points[:, 0]) * rng.uniform(0.7, 0.95) + 1
            axes = (int(radius), int(radius * rng.uniform(0.7, 1)))
            cv2.ellipse(frame, tuple(int(v) for v in middle), axes, 0, 0, 360, gray // 3, -1)
    else:
        left, top, right, bottom = box_from_keypoints(keypoints)
        start = rng.uniform(0, 0.6, 2) * (right - left, bottom - top) + (left, top)
        end = start + rng.uniform(0.2, 0.45, 2) * (right - left, bottom - top)
        cv2.rectangle(frame, tuple(int(v) for v in start), tuple(int(v) for v in end), gray, -1)
    return frame


def _shuffled(frame: np.ndarray, box: np.ndarray, rng, cells: int = 5) -> np.ndarray:
    """The frame with the blocks of its face in random order: skin and edges without a face."""
    frame = frame.copy()
    left, top, right, bottom = np.clip(np.rint(box), 0, frame.shape[::-1] * 2).astype(int)
    block_h, block_w = (bottom - top) // cells, (right - left) // cells
    if block_h < 1 or block_w < 1:
        return frame
    places = [(top + r * block_h, left + c * block_w) for r in range(cells) for c in range(cells)]
    blocks = [frame[y : y + block_h, x : x + block_w].copy() for y, x in places]
    for (y, x), which in zip(places, rng.permutation(len(blocks)), strict=True):
        frame[y : y + block_h, x : x + block_w] = blocks[which]
    return frame


# --- drawn backgrounds --------------------------------------------------------------------------


def texture(size: int, rng: np.random.Generator) -> np.ndarray:
    """A random (S, S) uint8 pattern: noise of several scales, stripes, rectangles or discs."""
    image = np.zeros((size, size), np.float32)
    for cells in (2, 4, 8, 16, 32, 64):
        noise = rng.normal(0, 1, (cells, cells)).astype(np.float32)
        image += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC) * rng.exponential(20)
    image += rng.uniform(20, 235)
    image = np.clip(image, 0, 255).astype(np.uint8)
    kind = rng.integers(4)
    if kind == 1:
        x = np.arange(size)
        wave = np.sin((x[None] * rng.normal() + x[:, None] * rng.normal()) / rng.uniform(1, 20))
        image = np.clip(image + wave * rng.uniform(10, 80), 0, 255).astype(np.uint8)
    elif kind > 1:
        for _ in range(rng.integers(2, 30)):
            start, gray = rng.integers(size, size=2), int(rng.integers(256))
            side = np.exp(rng.uniform(np.log(4), np.log(size / 2), 2)).astype(int)
            if kind == 2:
                cv2.rectangle(image, tuple(start.tolist()), tuple((start + side).tolist()), gray, -1)
            else:
                cv2.ellipse(
                    image, tuple(start.tolist()), tuple(side.tolist()), rng.uniform(0, 180), 0, 360, gray, -1
                )
    return image


def text(size: int, rng: np.random.Generator) -> np.ndarray:
    """Lines of random letters (S, S) uint8 on a plain ground."""
    ground = int(rng.integers(256))
    image = np.full((size, size), ground, np.uint8)
    scale = rng.uniform(0.3, 2.5)
    for y in np.arange(10, size + 20, 14 + 28 * scale):
        letters = "".join(chr(code) for code in rng.integers(33, 122, rng.integers(4, 30)))
        place = (int(rng.integers(-20, size // 3)), int(y))
        ink = int((ground + rng.integers(60, 200)) % 256)
        cv2.putText(image, letters, place, int(rng.integers(8)), scale, ink, int(rng.integers(1, 4)))
    return image


def change_light(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A (S, S) uint8 image with another contrast and brightness, and sometimes blur, noise or JPEG loss."""
    gain, shift = np.exp(rng.normal(0, 0.3)), rng.normal(0, 25)
    levels = (np.arange(256) - image.mean()) * gain + image.mean() + shift
    image = cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.4))
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(2, 14), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))])
        image = cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE)
    return image


# --- targets ------------------------------------------------------------------------------------


def targets(scene: Scene) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """heat (h, w), box (3, h, w) and weight (h, w) of a scene, as in `CompositeScenes`.

    The score falls off as a Gaussian whose width grows with the face, and is 1 in the cell of the centre.
    """
    stride = FaceFinder.stride
    cells = scene.image.shape[0] // stride
    heat, weight = np.zeros((2, cells, cells), np.float32)
    box = np.zeros((3, cells, cells), np.float32)
    grid = np.arange(cells, dtype=np.float32)
    for face in scene.boxes:
        centre = (box_centre(face) + 0.5) / stride - 0.5
        side = box_side(face) / stride
        spread = max(0.6, 0.09 * side)
        x, y = grid - centre[0], grid - centre[1]
        bump = np.exp(-(x[None] ** 2 + y[:, None] ** 2) / (2 * spread**2))
        column, row = np.clip(np.rint(centre), 0, cells - 1).astype(int)
        bump[row, column] = 1
        nearest = bump > weight
        weight[nearest] = bump[nearest]
        offsets = np.broadcast_to(-x[None], bump.shape), np.broadcast_to(-y[:, None], bump.shape)
        box[0][nearest], box[1][nearest], box[2][nearest] = (
            offsets[0][nearest], offsets[1][nearest], np.log(side),
        )  # fmt: skip
    heat = weight.copy()
    unknown = scene.unknown.reshape(cells, stride, cells, stride).mean(axis=(1, 3)) > 0.5
    heat[unknown & (heat < 0.1)] = IGNORED
    weight[weight < 0.3] = 0
    return torch.from_numpy(heat), torch.from_numpy(box), torch.from_numpy(weight)
