"""The gallery of filters and the clip: what is committed is what the code makes, and the limits hold."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from test_filters_registry import face

from benchmarks.filter_gallery import clip, page
from benchmarks.filter_gallery.moving import moved
from benchmarks.speed import filters as speed
from benchmarks.speed.page import slower_than
from filters import create_filter, filter_names
from landmarks import GROUPS
from sample_faces.head import Expression


def test_every_filter_is_in_the_gallery_and_is_timed():
    import json

    assert set(page.WHAT) == set(filter_names())
    assert set(json.loads(speed.RECORD.read_text(encoding="utf-8"))["cpu_ms"]) == set(filter_names())


@pytest.mark.parametrize("name", [*page.EXPRESSIONS, "glasses", "face_swap"])
def test_each_shows_on_all_six_pictures(name):
    for (image, points), filter_ in zip(
        page.pictures(page.EXPRESSIONS.get(name)), page.filters_for(name), strict=True
    ):
        painted = filter_(image, [page.as_face(points)])
        assert (painted != image).any(axis=-1).sum() > 200


def test_a_moved_photo_keeps_what_does_not_move_and_turns_what_does():
    photo, points = page.cropped_photos()["astronaut"]
    same, own = moved(photo, points)
    assert np.abs(same.astype(int) - photo).mean() < 2
    np.testing.assert_allclose(own, points, atol=0.5)
    turned, new = moved(photo, points, yaw=15)
    assert np.abs(turned[:4].astype(int) - photo[:4]).max() == 0  # the border
    nose, ear = list(GROUPS["nose_bridge"])[-1], GROUPS["jaw"][0]
    assert new[nose, 0] - points[nose, 0] > 2 * (new[ear, 0] - points[ear, 0]) > 0
    _, opened = moved(photo, points, expression=Expression(mouth_open=0.8))
    lips = list(GROUPS["inner_lips"])
    assert np.ptp(opened[lips, 1]) > np.ptp(points[lips, 1]) + 8


def test_the_clip_is_ten_seconds_and_small_enough():
    assert clip.CLIP.stat().st_size <= clip.MAX_BYTES
    with Image.open(clip.CLIP) as film:
        assert film.size == (2 * clip.SIDE, clip.SIDE)
        assert film.n_frames / clip.FRAMES_PER_SECOND == clip.SECONDS
        duration = 0
        for number in range(film.n_frames):
            film.seek(number)
            film.load()  # reads the duration
            duration += film.info["duration"]
    assert duration == pytest.approx(1000 * clip.SECONDS, rel=0.01)
    named = [name for _, names in clip.SCENES for name in names]
    assert all(create_filter(name) for name in named)


def test_the_example_of_the_page_on_filters_paints_a_nose():
    image = np.full((700, 680, 3), 200, np.uint8)
    one = face(Expression())
    painted = page.example_filter()(image, [one])
    rows, columns = np.nonzero((painted != image).any(axis=-1))
    x, y = one.keypoints[list(GROUPS["nose_bridge"])[-1]]
    assert np.hypot(columns.mean() - x, rows.mean() - y) < 15
    text = page.HOW_TO.read_text(encoding="utf-8")
    assert len(re.search(r"class RedNose.*?```", text, re.DOTALL)[0].splitlines()) <= 40


def test_a_picture_that_looks_the_same_is_not_written_again(tmp_path):
    target = tmp_path / "gallery.jpg"
    shutil.copy(page.PICTURE, target)
    with Image.open(target) as stored:
        image = np.asarray(stored.convert("RGB"))
    assert not page.write_picture(target, image, quality=82)
    other = image.copy()
    other[:200] = 255 - other[:200]
    assert page.write_picture(target, other, quality=82)


def test_the_page_names_the_filters_that_are_too_slow():
    assert slower_than({"a": 4.9, "b": 5.04}, 5.0) == "all 2 filters keep to it"
    assert slower_than({"a": 4.9, "b": 5.1}, 5.0) == "1 of 2 filters miss it (`b`)"
