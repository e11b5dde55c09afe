"""Names and places of results: no two inputs get the same one, and all lie inside the output folder."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.outputs import output_name, output_path, overlay_name, pts_image, pts_names

BASE = os.path.abspath(os.sep + "base")
#: Pieces of names: endings of inputs and results, marks that names of ours use, and odd bytes.
PIECES = st.sampled_from(
    ["a", "a", "b", ".", "..", " ", "%", "%25", "%~", "%up", "~", ".jpg", ".JPG", ".png", ".gif", ".mp4",
     ".avi", ".pts", ".csv", ".face1", ".face2", "\r", "\n", "\x7f", ":", "webcam:0", "webcam%3A0", "\u00e9",
     "\u202e", os.fsdecode(b"\xff"), "x" * 90, "y" * 240]
)  # fmt: skip
NAMES = st.lists(PIECES, min_size=1, max_size=5).map("".join)


def fits(name: str) -> bool:
    return len(os.fsencode(name)) <= 255 and name not in (".", "..")


PATHS = st.lists(NAMES.filter(fits), min_size=1, max_size=3).map(lambda parts: os.path.join(BASE, *parts))


@settings(max_examples=150, deadline=None)
@given(st.lists(PATHS, min_size=2, max_size=8, unique=True))
def test_different_inputs_get_different_names(paths):
    for names_of in (
        # of one input, the drawn image and the drawn video may share a name: it is drawn as one of them
        lambda path: {overlay_name(path, BASE), output_name(path, BASE, ".mp4")},
        lambda path: set(pts_names(path, BASE, 11)),
        lambda path: {output_name(path, BASE, ".csv")},
    ):
        names = [name for path in paths for name in names_of(path)]
        assert len(names) == len(set(names))
        folders = {folder for name in names for folder in folders_of(name)}
        assert not folders & set(names)
        for name in names:
            parts = name.split("/")
            assert name.isprintable()
            assert all(part and not part.startswith(".") and len(os.fsencode(part)) <= 255 for part in parts)


def folders_of(name: str) -> list[str]:
    return [name[:place] for place, char in enumerate(name) if char == "/"]


@settings(max_examples=150, deadline=None)
@given(PATHS)
def test_pts_files_name_their_image_again(path):
    names = pts_names(path, BASE, 3)
    if "%~" not in names[0]:  # shortened names do not
        relative = os.path.relpath(path, BASE).replace(os.sep, "/")
        assert [pts_image(name) for name in names] == [(relative, number) for number in range(3)]


@pytest.mark.parametrize(
    ("path", "drawn", "pts"),
    [
        ("a.jpg", "a.jpg", "a.jpg.pts"),
        ("holiday/a.JPG", "holiday/a.JPG", "holiday/a.JPG.pts"),
        ("a.v2.png", "a.v2.png", "a.v2.png.pts"),
        ("a.gif", "a.gif.png", "a.gif.pts"),
        ("a.gif.png", "a.gif.png.png", "a.gif.png.pts"),
        ("a.png.jpg", "a.png.jpg.jpg", "a.png.jpg.pts"),
        ("dir.mp4/a.jpg", "dir.mp4%/a.jpg", "dir.mp4%/a.jpg.pts"),
        ("a", "a%.png", "a%.pts"),
        ("50%.jpg", "50%25.jpg", "50%25.jpg.pts"),
        ("a\r.jpg", "a%0D.jpg", "a%0D.jpg.pts"),
    ],
)
def test_names_by_hand(path, drawn, pts):
    path = os.path.join(BASE, path)
    assert overlay_name(path, BASE) == drawn
    assert pts_names(path, BASE, 1) == [pts]


def test_names_of_videos_cameras_and_streams():
    assert output_name(os.path.join(BASE, "faces.mp4"), BASE, ".csv") == "faces.mp4.csv"
    assert output_name(os.path.join(BASE, "clip.mp4"), BASE, ".mp4") == "clip.mp4"
    assert output_name(os.path.join(BASE, "clip.avi"), BASE, ".mp4") == "clip.avi.mp4"
    assert output_name("webcam:0", BASE, ".csv") == "webcam%3A0.csv"
    assert output_name("rtsp://host/a/../b", BASE, ".csv") == "rtsp%3A%2F%2Fhost%2Fa%2F..%2Fb%.csv"
    assert output_name(os.path.join(BASE, "..", "a.mp4"), BASE, ".csv") == "%up/a.mp4.csv"


def test_every_path_lies_inside_the_output_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "drawn").symlink_to(tmp_path / "elsewhere")
    assert output_path(tmp_path / "out", "pts/a.pts") == tmp_path / "out" / "pts" / "a.pts"
    assert output_path(Path("."), "faces.json") == Path("faces.json")
    for name in ("../a.csv", "pts/../../a.csv", "/a.csv", "", ".", "drawn/a.jpg"):
        with pytest.raises(ValueError, match="outside the output folder"):
            output_path(tmp_path / "out", name)
