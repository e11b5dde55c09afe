"""The synthetic sample: single frames, videos, and the folder laid out like the real set."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sample_faces.folder as folder_module
from files import cv2
from geometry import box_from_keypoints, box_iou, scale_box
from landmarks import (
    GROUPS,
    NOSE_TIP,
    OUTER_EYE_CORNERS,
)
from sample_faces import (
    IS_SAMPLE_MARKER,
    draw_face,
    draw_identity,
    draw_video,
    is_sample,
    write_sample,
)
from sample_faces.head import Expression, head_points

ROOT = Path(__file__).resolve().parent.parent

# --- frames ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frames():
    return [draw_face(np.random.default_rng([5, i])) for i in range(40)]


def test_frames_have_the_promised_form(frames):
    shapes = set()
    for image, keypoints in frames:
        height, width = image.shape[:2]
        shapes.add((height, width))
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
        assert 100 <= min(height, width) <= max(height, width) <= 300
        assert keypoints.shape == (68, 2)
        assert keypoints.dtype == np.float32
        assert (keypoints >= 0).all()
        assert (keypoints <= [width - 1, height - 1]).all()
        left, top, right, bottom = box_from_keypoints(keypoints)
        assert 0.25 < np.sqrt((right - left) * (bottom - top) / (width * height)) < 0.65
    assert len(shapes) > 30
    assert sum(height != width for height, width in shapes) > 25


def test_same_seed_same_frame_and_another_seed_another(frames):
    image, keypoints = draw_face(np.random.default_rng([5, 0]))
    np.testing.assert_array_equal(image, frames[0][0])
    np.testing.assert_array_equal(keypoints, frames[0][1])
    assert frames[1][0].shape != image.shape or (frames[1][0] != image).any()


def test_poses_and_faces_vary_so_that_the_mean_shape_is_a_bad_answer(frames):
    shapes = np.array([image.shape[1::-1] for image, _ in frames])[:, None]
    keypoints = np.array([points for _, points in frames])
    right, left = (keypoints[:, corner] for corner in OUTER_EYE_CORNERS)
    between_eyes = np.linalg.norm(left - right, axis=1)

    def error(predicted):
        return (np.linalg.norm(predicted - keypoints, axis=2).mean(axis=1) / between_eyes).mean()

    assert error((keypoints / shapes).mean(axis=0) * shapes) > 0.20
    # Even with place and size of every face given, a constant shape is far off.
    low, high = keypoints.min(axis=1, keepdims=True), keypoints.max(axis=1, keepdims=True)
    in_box = (keypoints - low) / (high - low)
    assert error(in_box.mean(axis=0) * (high - low) + low) > 0.10


def test_wishes_are_kept_and_change_nothing_else():
    rng = np.random.default_rng
    person = draw_identity(rng(1))
    smiling = Expression(smile=0.5)
    image, keypoints = draw_face(
        rng(2), identity=person, size_wh=(140, 180), yaw=0, pitch=0, roll=0, expression=smiling
    )
    assert image.shape == (180, 140, 3)
    expected = head_points(person.shape, smiling)[:, :2]
    low, high = keypoints.min(axis=0), keypoints.max(axis=0)
    expected = (expected - expected.min(axis=0)) / np.ptp(expected, axis=0)
    np.testing.assert_allclose((keypoints - low) / (high - low), expected, atol=1e-4)
    turned, _ = draw_face(
        rng(2), identity=person, size_wh=(140, 180), yaw=5, pitch=0, roll=0, expression=smiling
    )
    np.testing.assert_allclose(turned[0, :20].astype(int), image[0, :20], atol=3)  # the same background


@pytest.mark.parametrize(
    ("wish", "message"),
    [({"size_wh": (40, 200)}, "48 x 48 pixels or more, got 40 x 200"), ({"yaw": 90}, "within 60 degrees")],
)
def test_impossible_wishes_are_refused(wish, message):
    with pytest.raises(ValueError, match=message):
        draw_face(np.random.default_rng(0), **wish)


def test_haar_finds_most_near_frontal_faces():
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    found = 0
    for i in range(30):
        image, keypoints = draw_face(np.random.default_rng([7, i]), yaw=-20 + 40 * i / 29)
        face = scale_box(box_from_keypoints(keypoints), 1.2)
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        boxes = [(x, y, x + w, y + h) for x, y, w, h in cascade.detectMultiScale(gray, 1.2, 2)]
        found += any(box_iou(face, box) >= 0.5 for box in boxes)
    assert found >= 21  # 70 %; about 94 % of a larger number


def test_video_moves_smoothly_blinks_and_repeats_itself():
    frames = list(draw_video(3, 80, (160, 120)))
    assert len(frames) == 80
    points = np.array([keypoints for _, keypoints in frames])
    assert {image.shape for image, _ in frames} == {(120, 160, 3)}
    assert (points >= 0).all()
    assert (points <= [159, 119]).all()
    rigid = points[:, [NOSE_TIP, *OUTER_EYE_CORNERS]]
    assert np.linalg.norm(np.diff(rigid, axis=0), axis=2).max() < 2.0
    assert np.ptp(rigid[:, 0, 0]) > 10
    eye = points[:, list(GROUPS["right_eye"])]
    opening = np.linalg.norm(eye[:, 1] - eye[:, 5], axis=1) / np.linalg.norm(eye[:, 0] - eye[:, 3], axis=1)
    assert opening.min() < 0.1 < 0.2 < np.median(opening)
    for (image, keypoints), (again, keypoints_again) in zip(
        draw_video(3, 2, (160, 120)), frames, strict=False
    ):
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(keypoints, keypoints_again)
    with pytest.raises(ValueError, match="num_frames must be 1 or more, got 0"):
        draw_video(3, 0)


# --- the folder ------------------------------------------------------------------------

SMALL = {"seed": 4, "identities": 2, "train_frames": 4, "test_frames": 2}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def small_sample(tmp_path_factory):
    """(folder, what draw_face returned per file in the order of drawing)."""
    drawn, original = [], folder_module.draw_face

    def recording(*args, **kwargs):
        drawn.append(original(*args, **kwargs))
        return drawn[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_module, "draw_face", recording)
        folder = write_sample(tmp_path_factory.mktemp("sample") / "data", **SMALL)
    return folder, drawn


def test_layout_is_that_of_the_real_set(small_sample):
    folder, _ = small_sample
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["training", "test", "training_frames_keypoints.csv", "test_frames_keypoints.csv", IS_SAMPLE_MARKER]
    )
    training = [
        f"Sample_Person_0{person}_{suffix}.jpg" for person in (0, 1) for suffix in ("00", "01", "02", "10")
    ]
    assert sorted(path.name for path in (folder / "training").iterdir()) == training
    test = [name for name in training if name.endswith(("00.jpg", "01.jpg"))]
    assert sorted(path.name for path in (folder / "test").iterdir()) == test
    for name in test:  # the real set's trap: one name, two images
        assert (folder / "training" / name).read_bytes() != (folder / "test" / name).read_bytes()
    header = (folder / "test_frames_keypoints.csv").read_text().splitlines()[0]
    assert header == "," + ",".join(str(i) for i in range(136))


def test_files_give_back_what_was_drawn(small_sample):
    folder, drawn = small_sample
    drawn = iter(drawn)
    for split in ("training", "test"):
        table = pd.read_csv(folder / f"{split}_frames_keypoints.csv", index_col=0)
        for name, row in table.iterrows():
            image, keypoints = next(drawn)
            path = folder / split / name
            assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
            bgra = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(bgra[..., 2::-1], image)
            assert (bgra[..., 3] == 255).all()
            np.testing.assert_allclose(row.to_numpy().reshape(68, 2), keypoints, atol=0.00501)
    assert next(drawn, None) is None


def test_a_person_stays_the_same_and_differs_from_the_others(monkeypatch, tmp_path):
    people = []

    def note(rng, *, identity):
        people.append(identity)
        return np.zeros((4, 4, 3), np.uint8), np.zeros((68, 2), np.float32)

    monkeypatch.setattr(folder_module, "draw_face", note)
    write_sample(tmp_path / "data", identities=3, train_frames=2, test_frames=1)
    # Two training frames per person, then one test frame per person.
    assert people[0] == people[1] == people[6] != people[2] == people[3] == people[7] != people[4]


def test_same_seed_gives_the_same_bytes_and_a_smaller_sample_is_a_part(small_sample, tmp_path):
    folder, _ = small_sample
    expected = contents(folder)
    assert contents(write_sample(tmp_path / "again", **SMALL)) == expected
    fewer = contents(write_sample(tmp_path / "fewer", **{**SMALL, "identities": 1, "train_frames": 2}))
    for name, data in fewer.items():
        assert data == expected[name] or name.endswith((".csv", ".json"))
    other = contents(write_sample(tmp_path / "other", **{**SMALL, "seed": 5, "identities": 1}))
    image = "training/Sample_Person_00_00.jpg"
    assert other[image] != expected[image]


def test_complete_sample_is_reused_and_a_damaged_or_different_one_drawn_again(tmp_path):
    folder = write_sample(tmp_path / "data", identities=1, train_frames=1, test_frames=1)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_sample(folder, identities=1, train_frames=1, test_frames=1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    image = folder / "test" / "Sample_Person_00_00.jpg"
    data = image.read_bytes()
    image.unlink()
    write_sample(folder, identities=1, train_frames=1, test_frames=1)
    assert image.read_bytes() == data
    write_sample(folder, identities=1, train_frames=1, test_frames=1, seed=9)
    assert image.read_bytes() != data
    assert json.loads((folder / IS_SAMPLE_MARKER).read_text())["seed"] == 9
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_other_peoples_files_are_never_overwritten(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    assert not is_sample(folder)
    (folder / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="not the synthetic sample"):
        write_sample(folder, identities=1)
    assert contents(folder) == {"photo.jpg": b"mine"}
    (folder / "photo.jpg").unlink()
    assert is_sample(write_sample(folder, identities=1, train_frames=1, test_frames=1))  # empty is fine


@pytest.mark.parametrize("wrong", [{"identities": 0}, {"train_frames": 100}, {"seed": -1}])
def test_wrong_numbers_are_refused_before_anything_is_written(wrong, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        write_sample(tmp_path / "data", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_leaves_no_folder_and_the_next_one_completes(tmp_path):
    folder = tmp_path / "data"
    command = f"import sample_faces; sample_faces.write_sample({str(folder)!r}, identities=40)"
    process = subprocess.Popen([sys.executable, "-c", command], cwd=ROOT)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob(".partial-*/data/training/*.jpg"))) < 2:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    process.wait()
    assert not folder.exists()
    assert len(list(tmp_path.iterdir())) == 1
    write_sample(folder, identities=1, train_frames=1, test_frames=1)
    assert is_sample(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_failing_run_cleans_up_behind_itself(tmp_path, monkeypatch):
    def full_disk(path, image):
        raise OSError("no space left on device")

    monkeypatch.setattr(folder_module, "_write_png", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_sample(tmp_path / "data", identities=1)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_drawing_at_once_end_with_one_sample(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    options = {"identities": 1, "train_frames": 1, "test_frames": 1}
    original = folder_module._write_files

    def overtaken(partial, wanted):
        original(partial, wanted)
        monkeypatch.setattr(folder_module, "_write_files", original)
        write_sample(folder, **options)  # the other process is done first

    monkeypatch.setattr(folder_module, "_write_files", overtaken)
    write_sample(folder, **options)
    assert is_sample(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
