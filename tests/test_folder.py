"""The inputs of detect.py, and faces in many images: lists, batches, drawn images."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from media_files import write_image, write_mixed_folder
from stub_detector import stub_detector

from detector.face_finders import FixedBoxes
from detector.folder import (
    Drawing,
    available_cores,
    common_base,
    detect_paths,
    expand_globs,
    is_video,
    list_images,
    workers_for,
)
from detector.overlay import draw_faces
from files import cv2, to_rgb


@pytest.fixture
def stub():
    """Knows its answer: one face in each image."""
    return stub_detector(FixedBoxes([[2, 2, 12, 14]]), passes=1)


@pytest.fixture
def folder(tmp_path):
    return write_mixed_folder(tmp_path / "in")


def names(paths):
    return [Path(path).name for path in paths]


# --- what it looks at --------------------------------------------------------------------


def test_folders_are_listed_below_and_sorted(folder):
    problems = []
    found = list_images([str(folder), "named.dat"], lambda *problem: problems.append(problem))
    assert names(found) == ["a.png", "b.PNG", "text.jpg", "c.jpg", "named.dat"]
    assert problems == []
    assert names(list_images([str(folder)], problems.append, skip_folder=folder / "deep"))[-1] == "text.jpg"


def test_a_folder_without_images_and_a_pattern_without_a_match(tmp_path, folder):
    problems = []
    (tmp_path / "empty").mkdir()
    assert list(list_images([str(tmp_path / "empty")], lambda *problem: problems.append(problem))) == []
    assert problems[0][0] == str(tmp_path / "empty")
    assert "no image in this folder" in problems[0][1]
    inputs = [str(folder / "*.png"), str(folder / "**" / "c.*"), str(tmp_path / "q*"), "plain.jpg"]
    expanded, unmatched = expand_globs(inputs)
    assert names(expanded) == ["a.png", "c.jpg", "plain.jpg"]
    assert unmatched == [str(tmp_path / "q*")]


def test_a_name_that_exists_is_no_pattern(tmp_path):
    odd = write_image(tmp_path / "a[1].png")
    assert expand_globs([odd]) == ([odd], [])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.mp4", True),
        ("A.MOV", True),
        ("webcam:0", True),
        ("webcam:x", False),
        ("a.jpg", False),
        ("mp4", False),
    ],
)
def test_videos_are_told_by_their_names(name, expected):
    assert is_video(name) is expected


def test_what_inputs_have_in_common(folder):
    assert common_base([str(folder)]) == folder
    assert common_base([str(folder / "a.png"), str(folder / "deep" / "c.jpg")]) == folder
    assert common_base([str(folder / "a.png"), str(folder / "deep")]) == folder
    assert common_base(["a.png"]) == Path.cwd()


# --- in batches --------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than CPUs, for once
@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order_whatever_the_batch(folder, stub, workers):
    paths = [write_image(folder / f"{i:02}.png", i, (20 + i, 30)) for i in range(11)]
    paths.insert(4, str(folder / "text.jpg"))
    groups = list(detect_paths(stub, iter(paths), batch=5, workers=workers))
    assert [len(group) for group in groups] == [5, 5, 2]
    found = [image for group in groups for image in group]
    assert [image.image for image in found] == paths
    assert "holds text, not an image" in found[4].error
    for image in found[:4] + found[5:]:
        (face,) = image.faces
        np.testing.assert_allclose(face.keypoints, stub(image.image)[0].keypoints, atol=1e-3)
        assert image.size_wh == to_rgb(image.image).shape[1::-1]


def test_workers_start_although_opencv_has_threads(folder):
    first = next(path for path in sorted(folder.rglob("*.jpg")))
    script = f"""
import numpy as np
from detector.face_finders import FixedBoxes
from detector.folder import _search
from files import cv2
cv2.setNumThreads(4)
cv2.GaussianBlur(np.zeros((3000, 3000, 3), np.uint8), (0, 0), 3)
assert [item.error for item in _search([{str(first)!r}], FixedBoxes([]), workers=1)] == [""]
assert cv2.getNumThreads() == 4
"""
    # in a process of its own, because a worker that waits for threads it has not got never ends
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, cwd=root)


def test_large_images_do_not_pile_up(folder, stub, monkeypatch):
    monkeypatch.setattr("detector.folder.MAX_PIXEL_BYTES", 2000)  # a small one has 24 x 16 x 3 = 1152 bytes
    paths = [write_image(folder / f"{i}.png") for i in range(5)]
    taken = []

    def watched():
        for path in paths:
            taken.append(path)
            yield path

    groups = detect_paths(stub, watched(), batch=100)
    assert [len(next(groups)) for _ in range(2)] == [2, 2]
    assert len(taken) == 4  # paths are taken as they are needed
    assert [len(group) for group in groups] == [1]


def test_proposals_are_disposed_of_as_for_single_images(folder, stub):
    """The least confidence counts, and a face that was proposed twice is one."""
    stub.face_detector = FixedBoxes([[2, 2, 12, 14], [2, 2, 12, 14.5], [14, 2, 20, 14]])
    path = str(folder / "a.png")
    for least, count in ((0.75, 2), (0.76, 0)):  # the network says 0.75
        stub.min_confidence = least
        found = next(detect_paths(stub, [path]))[0].faces
        assert len(found) == len(stub(path)) == count
        for face, alone in zip(found, stub(path), strict=True):
            np.testing.assert_array_equal(face.keypoints, alone.keypoints)


def test_a_face_detector_that_fails_on_one_image(folder, stub):
    class Fails:
        def __call__(self, image):
            raise cv2.error("out of luck")

    stub.face_detector = Fails()
    found = next(detect_paths(stub, [str(folder / "a.png")]))
    assert found[0].error == "out of luck"


def test_overlays_show_the_face_and_keep_names(folder, stub, tmp_path):
    paths = [str(folder / "a.png"), str(folder / "deep" / "c.jpg")]
    odd = folder / "a.gif"
    odd.write_bytes((folder / "a.png").read_bytes())
    drawing = Drawing(tmp_path / "drawn", folder)
    list(detect_paths(stub, [*paths, str(odd)], drawing=drawing))
    files = sorted(p.relative_to(tmp_path / "drawn").as_posix() for p in (tmp_path / "drawn").rglob("*.*"))
    assert files == ["a.gif.png", "a.png", "deep/c.jpg"]
    plain, drawn = to_rgb(paths[0]), to_rgb(tmp_path / "drawn" / "a.png")
    assert drawn.shape == plain.shape
    assert (drawn[2:14, 2:12] != plain[2:14, 2:12]).any()


def test_an_overlay_never_replaces_its_image(folder, stub):
    path = str(folder / "a.png")
    before = Path(path).read_bytes()
    found = next(detect_paths(stub, [path], drawing=Drawing(folder, folder)))
    assert "replaced by its own result" in found[0].error
    assert Path(path).read_bytes() == before


def test_an_image_that_cannot_be_drawn_is_one_skipped_item(folder, stub, tmp_path):
    """A JPEG file holds no more than 65,500 pixels in a row."""
    wide = str(folder / "wide.jpg")
    Path(wide).write_bytes(cv2.imencode(".png", np.zeros((1, 65_535, 3), np.uint8))[1].tobytes())
    paths = [str(folder / "a.png"), wide, str(folder / "b.PNG")]
    found = next(detect_paths(stub, paths, drawing=Drawing(tmp_path / "drawn", folder)))
    assert [bool(image.error) for image in found] == [False, True, False]
    assert sorted(os.listdir(tmp_path / "drawn")) == ["a.png", "b.PNG"]


def test_a_network_that_fails_on_one_image_does_not_end_the_run(folder, stub):
    network = stub.network

    def fails_on_bright(batch):
        if batch.max() > 0.9:
            raise cv2.error("too bright")
        return network(batch)

    stub.network = fails_on_bright
    paths = [str(folder / "a.png"), write_image(folder / "bright.png", 255), str(folder / "b.PNG")]
    found = next(detect_paths(stub, paths))
    assert [image.error for image in found] == ["", "too bright", ""]
    assert [len(image.faces) for image in found] == [1, 0, 1]


def test_the_videos_of_a_folder_are_mentioned_and_results_left_out(folder):
    (folder / "clip.mp4").write_bytes(b"")
    (folder / "dir.mp4").mkdir()
    write_image(folder / "dir.mp4" / "e.png")
    notes, is_result = [], lambda path: path.endswith("a.png")
    found = list(list_images([str(folder)], pytest.fail, note=notes.append, is_result=is_result))
    assert names(found) == ["b.PNG", "text.jpg", "c.jpg", "e.png"]
    assert len(notes) == 1
    assert f"{folder}: 1 videos in this folder were left out" in notes[0]
    assert not is_video(str(folder / "dir.mp4"))


def test_a_face_is_drawn_where_it_is(sample_photo):
    """Every pixel that changes is near the face; the corner of the box is on its pixel."""
    faces = stub_detector(passes=1)(np.zeros((400, 400, 3), np.uint8), boxes_xyxy=[[100, 200, 220, 320]])
    drawn = draw_faces(np.zeros((400, 400, 3), np.uint8), faces)
    ys, xs = np.nonzero(drawn.any(axis=2))
    assert 99 <= xs.min() <= 100
    assert 219 <= xs.max() <= 221
    assert ys.max() <= 321
    x, y = faces[0].keypoints[0]
    np.testing.assert_allclose(drawn[round(y), round(x)], [255, 0, 255], atol=60)
    assert (draw_faces(sample_photo, []) == sample_photo).all()


def test_workers_only_where_opencv_alone_does_not_use_the_cores():
    assert [workers_for(cores) for cores in (1, 2, 4, 64)] == [0, 0, 4, 8]
    assert 1 <= available_cores() <= os.cpu_count()
