"""Every filter by name: on a face, on no face, on half a face, in a video, through detect.py."""

import pickle

import numpy as np
import pytest
from media_files import frames_of, write_video
from turned_head import noise

import detect
from detector.results import make_face
from files import cv2
from filters import Filter, create_filter, filter_names, list_filters, register
from filters.base import Window, trust
from filters.painter import Painter
from geometry import box_from_keypoints, box_side, scale_box
from landmarks import GROUPS, NUM_KEYPOINTS
from sample_faces.head import Expression, Shape, View, project_head

#: An expression that starts every trigger: open mouth, wide, raised brows, shut eyes.
STARTS = Expression(mouth_open=0.9, eyes_closed=1.0, smile=1.0, brow_raise=1.0)


def face(expression=STARTS, centre=(320.0, 330.0), scale=160.0, radius=None, shape=None, **pose):
    """A face of known geometry: the outer eye corners `scale` pixels apart."""
    view = View(scale=scale, offset_xy=centre, **pose)
    points = project_head(shape or Shape(), expression, view)
    return make_face(points, box_from_keypoints(points), 0.9, radius)


def pair():
    wide = Shape(face_width=1.15, mouth_width=1.25, nose_length=0.9)
    return [face(centre=(170.0, 200.0), scale=90), face(centre=(450.0, 210.0), scale=100, shape=wide, yaw=20)]


def starts(name):
    """The expression that a filter needs: a smile that is not lost in an open mouth."""
    return Expression(smile=1.0) if name == "shy" else STARTS


def changed(name, image, faces):
    return (create_filter(name)(image, faces) != image).any(axis=-1)


# --- all filters --------------------------------------------------------------------------------


def test_the_names_are_known():
    assert set(list_filters()) < set(filter_names())
    ours = {"glasses", "top_hat", "cat_ears", "lipstick", "blush", "brows", "make_up", "beard", "face_swap",
            "big_eyes", "slim_face", "rainbow", "surprise", "hearts", "shy"}  # fmt: skip
    assert ours == set(filter_names()) - set(list_filters())
    with pytest.raises(ValueError, match="unknown filter 'wig'; known: beard, big_eyes"):
        create_filter("wig")


def test_a_filter_of_ones_own_is_a_class_and_a_name(monkeypatch):
    monkeypatch.setattr("filters.base._REGISTRY", {})

    @register("red_nose")
    class RedNose(Filter):
        def paint(self, image, face):
            x, y = np.rint(face.keypoints[list(GROUPS["nose_bridge"])[-1]]).astype(int)
            image[y, x] = (255, 0, 0)

    assert (changed("red_nose", np.zeros((500, 600, 3), np.uint8), [face()])).sum() == 1
    with pytest.raises(ValueError, match="there is a filter 'red_nose' already"):
        register("red_nose")(RedNose)


@pytest.mark.parametrize("name", filter_names())
def test_each_changes_the_head_and_nothing_far_from_it(name):
    faces = pair() if name == "face_swap" else [face(starts(name), roll=8, yaw=15)]
    image = noise((700, 680))
    before = image.copy()
    where = changed(name, image, faces)
    np.testing.assert_array_equal(image, before)  # a copy is painted
    assert where.sum() > 200
    allowed = np.zeros_like(where)
    for one in faces:
        left, top, right, bottom = scale_box(one.box_xyxy, 1.8)
        if name in ("top_hat", "cat_ears", "party_hat", "dog"):
            top -= 1.3 * box_side(one.box_xyxy)
        bottom += 0.9 * box_side(one.box_xyxy) * (name == "rainbow")
        allowed |= (columns_in(where, left, right)) & (rows_in(where, top, bottom))
    assert not (where & ~allowed).any()


def columns_in(where, low, high):
    return (np.arange(where.shape[1]) >= low)[None] & (np.arange(where.shape[1]) < high)[None]


def rows_in(where, low, high):
    return (np.arange(where.shape[0]) >= low)[:, None] & (np.arange(where.shape[0]) < high)[:, None]


@pytest.mark.parametrize("name", filter_names())
def test_no_face_gives_a_copy(name):
    image = noise((40, 50))
    painted = create_filter(name)(image, [])
    np.testing.assert_array_equal(painted, image)
    assert not np.shares_memory(painted, image)


@pytest.mark.parametrize("name", filter_names())
@pytest.mark.parametrize("move", [(-320, 0), (330, 0), (0, -330), (20, 300)])
def test_a_face_half_outside_is_painted_where_it_is_seen(name, move):
    """The same face in a larger image gives the same pixels inside, up to the statistics of what is seen."""
    faces = pair() if name == "face_swap" else [face(starts(name))]
    moved = [make_face(one.keypoints + move, one.box_xyxy + np.tile(move, 2)) for one in faces]
    large = np.full((1400, 1440, 3), (196, 150, 128), np.uint8)
    large[::7] -= 20
    large[:, ::5] -= 12
    shift = np.array([400, 400])
    in_large = [make_face(one.keypoints + shift, one.box_xyxy + np.tile(shift, 2)) for one in moved]
    part = create_filter(name)(large[400:1040, 400:1040], moved)
    whole = create_filter(name)(large, in_large)[400:1040, 400:1040]
    difference = abs(part.astype(int) - whole)
    assert difference.mean() < 0.35
    assert np.quantile(difference, 0.995) <= 24


@pytest.mark.parametrize("name", filter_names())
@pytest.mark.parametrize("move", [(-5000, 0), (0, 1e6)])
def test_a_face_wholly_outside_changes_nothing(name, move):
    image = noise((60, 80))
    faces = [make_face(one.keypoints + move, one.box_xyxy + np.tile(move, 2)) for one in pair()]
    np.testing.assert_array_equal(create_filter(name)(image, faces), image)


@pytest.mark.parametrize("name", filter_names())
def test_a_face_that_is_none_is_left_as_it_is_and_the_next_one_is_not(name):
    image = noise((500, 680))
    point = make_face(np.full((NUM_KEYPOINTS, 2), 40.0), (40, 40, 41, 41))
    good = pair() if name == "face_swap" else [face(starts(name), centre=(300, 200), scale=100)]
    np.testing.assert_array_equal(
        create_filter(name)(image, [point, *good])
        if name != "face_swap"
        else create_filter(name)(image, [point]),
        create_filter(name)(image, good) if name != "face_swap" else image,
    )


@pytest.mark.parametrize("name", filter_names())
def test_all_can_be_sent_to_another_process(name):
    painter = pickle.loads(pickle.dumps(Painter(create_filter(name), marks=True)))
    assert painter(noise((60, 60)), []).shape == (60, 60, 3)


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3))], ids=["gray", "float"])
def test_a_wrong_image_is_refused(image):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8 RGB"):
        create_filter("glasses")(image, [])


# --- parts ----------------------------------------------------------------------------------------


def test_trust_follows_the_radius():
    unit = 100.0
    lips = list(GROUPS["outer_lips"])
    known = np.full(NUM_KEYPOINTS, 0.1 * unit)
    assert trust(face(scale=unit, expression=Expression(), radius=known), lips) == 1
    known[lips] = 0.25 * unit  # in the middle between 0.15 and 0.35
    assert trust(face(scale=unit, expression=Expression(), radius=known), lips) == pytest.approx(
        0.5, abs=0.02
    )
    known[lips] = 0.5 * unit
    assert trust(face(scale=unit, expression=Expression(), radius=known), lips) == 0
    assert trust(face(), lips) == 1  # unknown


def test_a_window_is_cut_at_the_image():
    image = np.zeros((20, 30, 3), np.uint8)
    window = Window(image, np.array([[25.0, 5.0], [40.0, 9.0]]), margin=2)
    assert window.corner_xy.tolist() == [23, 3]
    assert window.pixels.shape == (9, 7, 3)
    assert Window(image, np.array([[50.0, 5.0]]), margin=2).empty
    square = np.array([[24.0, 4.0], [27.0, 4.0], [27.0, 7.0], [24.0, 7.0]])
    mask = window.mask(square)
    assert mask[1:4, 1:4].min() == 1
    assert mask[6:].max() == 0
    window.blend(np.full(window.pixels.shape, 200, np.uint8), mask)
    assert image[4:7, 24:27].min() == 200
    assert image[:, :22].max() == 0


# --- detect.py ------------------------------------------------------------------------------------


def test_detect_writes_filtered_images(tmp_path, sample_photo):
    from PIL import Image

    Image.fromarray(sample_photo).save(tmp_path / "a.png")
    Image.fromarray(sample_photo[:, ::-1].copy()).save(tmp_path / "b.png")
    line = [str(tmp_path / "a.png"), "--checkpoint", "heatmapnet-small"]
    assert detect.main([*line, "--output", str(tmp_path / "out"), "--filter", "lipstick"]) == 0
    drawn = np.asarray(Image.open(tmp_path / "out" / "drawn" / "a.png"))
    share = (drawn != sample_photo).any(axis=-1).mean()
    assert 0 < share < 0.02  # the lips, and no points or boxes
    swap = ["--filter", "face_swap", "--filter-photo", str(tmp_path / "b.png")]
    assert detect.main([*line, "--output", str(tmp_path / "swap"), *swap]) == 0
    swapped = np.asarray(Image.open(tmp_path / "swap" / "drawn" / "a.png"))
    assert (swapped != sample_photo).any(axis=-1).sum() > 2000


def test_detect_filters_a_video_and_remembers_it(tmp_path, sample_photo, capsys):
    photo = cv2.resize(sample_photo, (256, 256), interpolation=cv2.INTER_AREA)
    write_video(tmp_path / "clip.avi", [photo] * 4)
    line = [str(tmp_path / "clip.avi"), "--output", str(tmp_path / "out"), "--checkpoint", "heatmapnet-small"]
    assert detect.main([*line, "--filter", "sunglasses"]) == 0
    frames = frames_of(tmp_path / "out" / "drawn" / "clip.avi.mp4")
    before = frames_of(tmp_path / "clip.avi")
    assert len(frames) == 4
    rows, columns = np.nonzero(np.abs(frames[-1].astype(int) - before[-1]).max(axis=-1) > 70)
    assert len(rows) > 200
    assert np.ptp(rows) < 30  # around the eyes, without points and boxes
    assert np.ptp(columns) < 75
    assert detect.main([*line, "--filter", "glasses", "--resume"]) == 1
    assert "filter was 'sunglasses', is 'glasses'" in capsys.readouterr().err


def test_detect_refuses_a_wrong_filter_before_any_work(tmp_path, capsys):
    assert detect.main(["a.png", "--output", str(tmp_path / "out"), "--filter", "wig"]) == 1
    assert "unknown filter 'wig'; known: beard" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        detect.main(["a.png", "--filter", "glasses", "--filter-photo", "b.png"])
    assert "--filter-photo belongs to --filter face_swap" in capsys.readouterr().err
