"""The gallery of filters: each one on two sample photos and a drawn face, straight and turned.

python -m benchmarks.filter_gallery.page

The clip in the main README is made by clip.py.
"""

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import pages
from benchmarks.filter_gallery.moving import moved
from benchmarks.readme_figure.page import RECORD as POINTS
from data_load import sample_photos
from detector.results import make_face
from files import atomic_path, cv2
from filters import Donor, Filter, create_filter, filter_names
from filters.head_frame import HeadFrame
from filters.triggers import Triggered
from geometry import box_from_keypoints, crop_matrix, transform_points, warp
from sample_faces import draw_face, draw_identity
from sample_faces.head import Expression

HERE = Path(__file__).parent
PAGE, PICTURE = HERE / "README.md", HERE / "gallery.jpg"
HOW_TO = HERE.parents[1] / "filters" / "README.md"
HOW_TO_SIDE = 300  # pixels of one of its three pictures
ENLARGED = crop_matrix((155, 140), 262, HOW_TO_SIDE)  # from a picture of the gallery
TILE = 160  # pixels of a picture
LABEL = 24  # pixels of the line with the name
CROPS = {"astronaut": ((226, 119), 262), "hopper": ((262, 197), 424)}  # centre (x, y) and side, pixels
TURN_DEG = {"astronaut": 16, "hopper": -16, "drawn": 35}
MAX_DIFFERENCE = 20  # grey levels of a square below which a picture counts as the same

#: What a face does where the filter belongs to an expression.
EXPRESSIONS = {
    "rainbow": Expression(mouth_open=0.75),
    "surprise": Expression(brow_raise=1.0),
    "hearts": Expression(eyes_closed=1.0),
    "shy": Expression(smile=1.0),
}
WHAT = {
    "glasses": "a model in three dimensions, placed by the head pose; the far arm is behind the face",
    "top_hat": "scales and turns with the head; the back of its brim is behind the head",
    "cat_ears": "the same with two ears",
    "lipstick": "the outer outline of the lips without the inner one; light and shade stay",
    "blush": "two spots in perspective, fainter on a cheek that is turned away",
    "brows": "short hairs along the points of the brows",
    "make_up": "lip colour, blush and brows together",
    "beard": "a drawing of hairs on the mesh of the face, without the lips",
    "face_swap": "the faces of an image change places; here each picture gets the face of the other photo",
    "big_eyes": "enlarges a ring around each eye",
    "slim_face": "pulls cheeks and jaw inwards",
    "rainbow": "an open mouth starts it",
    "surprise": "raised brows enlarge the eyes",
    "hearts": "a blink starts it, for most of a second",
    "shy": "a smile starts a blush",
    "sunglasses": "two drawings, one for each half, and one for the arms",
    "moustache": "two drawings, one for each half",
    "dog": "drawings of ears and nose",
    "party_hat": "one drawing",
}

TEXT = """# Filters

    python detect.py photo.jpg film.mp4 --output out --filter glasses

Each filter on two sample photos and a drawn face, straight and turned. The turned photos are warps of the
one photo ([moving.py](moving.py)), and so are their expressions; the drawn face is drawn again. The points
of the straight photos are those of the network, the others are known. Filters that an expression starts are
shown as if it had: in a video it is compared with the same person at rest, in one image with other people.
`python -m benchmarks.filter_gallery.page` draws this page, `python -m benchmarks.filter_gallery.clip` the
clip in the [main README](../../README.md). [How to write a filter](../../filters/README.md);
[how long each takes](../speed/README.md).

{table}

![Each filter on two photos and a drawn face, straight and turned](gallery.jpg)

Limits: everybody gets one head shape, so glasses may stand off a wide face. Hair is not known, so hats sit
on the head of the model, and a swapped face ends below the hairline. Points that something hides make
make-up, beards and enlarged eyes fainter; solid things are painted over whatever is in front of the face.
"""


def as_face(keypoints):
    """A `Face` from keypoints alone."""
    return make_face(keypoints, box_from_keypoints(keypoints))


def cropped_photos() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> square crop of a sample photo and its keypoints, both at twice the size of a tile."""
    stored, size = json.loads(POINTS.read_text(encoding="utf-8"))["keypoints"], 2 * TILE
    cut = {}
    for name, photo in sample_photos().items():
        matrix = crop_matrix(*CROPS[name], size)
        cut[name] = (
            warp(photo, matrix, (size, size), border_value=None),
            transform_points(np.array(stored[name]), matrix),
        )
    return cut


def pictures(expression: Expression | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Six (image, keypoints): two photos and a drawn face, each straight and turned."""
    found = []
    for name, (photo, points) in cropped_photos().items():
        for yaw in (0, TURN_DEG[name]):
            same = not yaw and expression is None
            found.append((photo, points) if same else moved(photo, points, yaw=yaw, expression=expression))
    return found + [drawn_face(yaw, expression or Expression()) for yaw in (0, TURN_DEG["drawn"])]


def drawn_face(yaw: float, expression: Expression, pitch: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A drawn person, twice the size of a tile, and the keypoints."""
    person, size = draw_identity(np.random.default_rng(23)), 2 * TILE
    look = {"identity": person, "size_wh": (size, size), "yaw": yaw, "pitch": pitch, "roll": 0}
    image, points = draw_face(np.random.default_rng(3), expression=expression, **look)
    matrix = crop_matrix((size / 2, 0.40 * size), 0.95 * size, size)
    return warp(image, matrix, (size, size), border_value=None), transform_points(points, matrix)


def effect_of(name: str) -> Filter:
    """The filter by name; of one that an expression starts, its effect."""
    filter_ = create_filter(name)
    return filter_.effect if isinstance(filter_, Triggered) else filter_


def filters_for(name: str) -> list[Filter]:
    """One filter for each of the six pictures."""
    if name != "face_swap":
        return [effect_of(name)] * 6
    astronaut, hopper = (Donor.of(image, as_face(points)) for image, points in cropped_photos().values())
    donors = [hopper, hopper, astronaut, astronaut, astronaut, astronaut]
    return [create_filter(name, donor=donor) for donor in donors]


def row(name: str) -> np.ndarray:
    """The line of the gallery for one filter: its name above six pictures."""
    tiles = []
    for (image, points), filter_ in zip(pictures(EXPRESSIONS.get(name)), filters_for(name), strict=True):
        painted = filter_(image, [as_face(points)])
        tiles.append(cv2.resize(painted, (TILE, TILE), interpolation=cv2.INTER_AREA))
    line = np.hstack(tiles)
    label = np.full((LABEL, line.shape[1], 3), 255, np.uint8)
    cv2.putText(label, name, (4, LABEL - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.48, (40, 40, 40), 1, cv2.LINE_AA)
    return np.vstack([label, line])


def write_picture(path: Path, image: np.ndarray, quality: int) -> bool:
    """Write a JPEG; True if that changed the file. One that looks the same already is left alone."""
    if path.is_file():
        with Image.open(path) as old:
            before = np.asarray(old.convert("RGB"))
        if before.shape == image.shape and _difference(before, image) < MAX_DIFFERENCE:
            return False
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format="JPEG", quality=quality)
    return True


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference between means over squares of 8 x 8 pixels, which JPEG hardly changes."""
    size_wh = (one.shape[1] // 8, one.shape[0] // 8)
    small = (cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA).astype(int) for image in (one, other))
    return float(np.abs(np.subtract(*small)).max())


def example_filter() -> Filter:
    """The filter of the page on how to write one, from its text."""
    code = re.search(r"```python\n(.*?)```", HOW_TO.read_text(encoding="utf-8"), re.DOTALL)[1]
    names: dict = {"__name__": "example"}
    exec(code.replace('@register("red_nose")', ""), names)
    return names["RedNose"]()


def how_to() -> np.ndarray:
    """The picture of that page: keypoints, the frame on the head, the result."""
    image, points = drawn_face(-28, Expression(), pitch=-10)
    face = as_face(points)
    first, second, third = (
        warp(one, ENLARGED, (HOW_TO_SIDE,) * 2) for one in (image, image, example_filter()(image, [face]))
    )
    face = as_face(transform_points(points, ENLARGED))
    for x, y in face.keypoints:
        cv2.circle(first, (round(float(x)), round(float(y))), 2, (255, 0, 255), cv2.FILLED, cv2.LINE_AA)
    head = HeadFrame(face)
    outline = np.rint(head.silhouette()).astype(np.int32)
    cv2.polylines(second, [outline], True, (255, 255, 255), 1, cv2.LINE_AA)
    origin = np.array([0.0, 0.0, 0.2])
    for name, direction, colour in (
        ("x", (1, 0, 0), (230, 60, 60)),
        ("y", (0, 1, 0), (60, 190, 80)),
        ("z", (0, 0, 1), (70, 120, 240)),
    ):
        start, end = (
            np.rint(head.project(np.stack([origin, origin + np.array(direction)]))).astype(int).tolist()
        )
        cv2.arrowedLine(second, start, end, colour, 2, cv2.LINE_AA, tipLength=0.1)
        beside = (end[0] + (6 if name == "x" else -16), end[1] + (-8 if name == "z" else 5))
        cv2.putText(second, name, beside, cv2.FONT_HERSHEY_SIMPLEX, 0.55, colour, 2, cv2.LINE_AA)
    return np.hstack([first, second, third])


def write_page() -> None:
    """Write README.md, gallery.jpg and the picture of the page on how to write a filter."""
    names = [name for name in WHAT if name in filter_names()]
    table = pages.markdown_table(["filter", "what it does"], [[f"`{name}`", WHAT[name]] for name in names])
    pages.write_if_changed(PAGE, TEXT.format(table=table))
    write_picture(HOW_TO.with_name("how_to.jpg"), how_to(), quality=88)
    write_picture(PICTURE, np.vstack([row(name) for name in names]), quality=82)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page)
