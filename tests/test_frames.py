"""Frames from videos, folders and cameras: order, times, colours, damage, and what is no source."""

import numpy as np
import pytest
from media_files import leftovers, rows_of, write_folder, write_video
from scene import Scene, frame, walker

from files import cv2
from video.frames import open_frames, read_frames
from video.track import track_video


def texture(count, step=6, size_wh=(320, 240)):
    """Frames that no encoder makes small: a moving pattern, whose upper edge grows brighter by `step`."""
    pattern = np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    pattern = cv2.GaussianBlur(pattern, (0, 0), 3)
    images = [np.roll(pattern, 3 * number, axis=1) for number in range(count)]
    for number, image in enumerate(images):
        image[:24] = step * number
    return images


# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v")])
def test_a_video_gives_rgb_frames_with_their_times(tmp_path, name, codec):
    step = 30  # grey levels, of which the encoders lose up to 4
    images = texture(8, step)
    images[3][24:] = (200, 30, 30)  # red
    opened = open_frames(write_video(tmp_path / name, images, 20, codec))
    assert (opened.count, opened.frames_per_second, opened.is_live) == (8, 20, False)
    seen = list(opened.frames)
    assert [f.index for f in seen] == list(range(8))
    np.testing.assert_allclose([f.time_s for f in seen], np.arange(8) / 20, atol=1e-6)
    np.testing.assert_allclose([f.image[:16].mean() / step for f in seen], range(8), atol=0.25)
    np.testing.assert_allclose(seen[3].image[100:].mean(axis=(0, 1)), (200, 30, 30), atol=12)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    write_video(tmp_path / "a.avi", texture(3), 20, "MJPG")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(list(read_frames("~/a.avi"))) == 3


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    folder = write_folder(tmp_path / "frames", 12)
    (folder / "notes.txt").write_text("no image")
    seen = list(read_frames(folder, 10))
    assert [int(f.image[0, 0, 0]) for f in seen] == list(range(12))
    np.testing.assert_allclose([f.time_s for f in seen], np.arange(12) / 10)
    assert [f.time_s for f in read_frames(str(folder))][1] == 1 / 25


def test_a_truncated_image_in_a_folder_is_one_damaged_frame(tmp_path):
    folder = write_folder(tmp_path / "frames", 5)
    whole = cv2.imencode(".png", texture(1)[0])[1].tobytes()
    (folder / "frame2.png").write_bytes(whole[: len(whole) // 2])
    (folder / "frame3.png").write_bytes(b"")
    seen = list(read_frames(folder))
    assert [f.image is None for f in seen] == [False, False, True, True, False]
    assert [f.index for f in seen] == list(range(5))


def test_a_damaged_video_goes_on_behind_the_damage(tmp_path):
    path = write_video(tmp_path / "a.mp4", texture(40), 25, "mp4v")
    data = bytearray(path.read_bytes())
    start, end = int(0.4 * len(data)), int(0.45 * len(data))
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    seen = list(read_frames(path))
    lost = [f.index for f in seen if f.image is None]
    assert 1 <= len(lost) <= 6
    assert [f.index for f in seen] == list(range(40))
    np.testing.assert_allclose([f.time_s for f in seen], np.arange(40) / 25, atol=1e-3)
    after = seen[-1].image[:16].mean() / 6
    assert after == pytest.approx(39, abs=1.5)


def test_a_video_without_frames_is_an_empty_one(tmp_path):
    assert list(read_frames(write_video(tmp_path / "a.avi", []))) == []


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("nothing.mp4", None, FileNotFoundError, "no video at .*nothing.mp4"),
        ("zero.mp4", b"", ValueError, r"zero.mp4 is empty \(0 bytes\)"),
        ("text.mp4", b"this is no video\n" * 99, ValueError, "text.mp4 holds no video that OpenCV can read"),
    ],
)
def test_what_is_no_video_is_named(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        read_frames(tmp_path / name)


def test_a_video_that_was_cut_off_is_named(tmp_path):
    path = write_video(tmp_path / "a.mp4", texture(10), 25, "mp4v")
    path.write_bytes(path.read_bytes()[:-2000])  # the index is at the end
    with pytest.raises(ValueError, match="cut off while it was written"):
        read_frames(path)


def test_a_folder_without_images_and_a_wrong_rate_are_named(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"no image in .* ending in .jpg"):
        read_frames(tmp_path)
    with pytest.raises(ValueError, match="frames_per_second must be above 0, got 0"):
        read_frames(tmp_path, 0)


# --- a camera --------------------------------------------------------------------------------


class Camera:
    """In place of cv2.VideoCapture: gives the frames, None where reading fails, then fails for ever."""

    opens = True

    def __init__(self, frames=()):
        self.frames, self.released, self.rate = list(frames), False, 30.0

    def __call__(self, index):
        self.index = index
        return self

    def isOpened(self):
        return self.opens

    def get(self, key):
        return self.rate if key == cv2.CAP_PROP_FPS else 0.0

    def set(self, key, value):
        return True

    def read(self):
        image = self.frames.pop(0) if self.frames else None
        if isinstance(image, BaseException):
            raise image
        return image is not None, image

    def release(self):
        self.released = True


@pytest.mark.parametrize("source", [2, "2", "webcam:2"])
def test_a_camera_gives_frames_with_the_clocks_times(monkeypatch, source):
    camera = Camera([frame(0), None, cv2.error("decoder"), frame(1), frame(2)])
    monkeypatch.setattr(cv2, "VideoCapture", camera)
    monkeypatch.setattr("video.frames.PAUSE_S", 0.0)
    opened = open_frames(source)
    assert (camera.index, opened.name, opened.is_live, opened.count) == (2, "webcam:2", True, None)
    seen = list(opened.frames)
    assert [f.image is None for f in seen[:5]] == [False, True, True, False, False]
    assert all(f.image is None for f in seen[5:])  # pulled out: asked a while, then it is the end
    assert len(seen) < 200
    assert seen[0].time_s == 0
    assert (np.diff([f.time_s for f in seen]) > 0).all()
    assert camera.released


def test_a_camera_that_does_not_open_is_named(monkeypatch):
    camera = Camera()
    camera.opens = False
    monkeypatch.setattr(cv2, "VideoCapture", camera)
    with pytest.raises(OSError, match="camera 0 does not open: is one connected"):
        read_frames("webcam:0")


def test_ctrl_c_ends_a_camera_and_keeps_what_was_seen(tmp_path, monkeypatch):
    images = [frame(number) for number in range(4)]
    folder = write_folder(tmp_path / "frames", 4)
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", Camera([*images, KeyboardInterrupt()]))
        clock = iter(np.arange(1000) / 25)  # a busy machine would make the walker jump
        patch.setattr("video.frames.time.monotonic", lambda: next(clock))
        summary = track_video(Scene([walker]), 0, output_table=tmp_path / "a.csv", progress=False)
    assert (summary.frames, summary.with_faces) == (4, 4)
    assert len(rows_of(tmp_path / "a.csv")) == 4

    class Stopped(Scene):
        def follow(self, image, keypoints):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # of a file, nothing is better than a part
        track_video(Stopped([walker]), folder, tmp_path / "b.avi", tmp_path / "b.csv", progress=False)
    assert not (tmp_path / "b.csv").exists()
    assert not (tmp_path / "b.avi").exists()
    assert leftovers(tmp_path) == []
