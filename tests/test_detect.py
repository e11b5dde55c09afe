"""The command: what it prints and writes, how it leaves, how it is stopped and continued."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from media_files import write_image, write_mixed_folder
from stub_detector import stub_detector

import detect as command
from detector import KeypointDetector
from detector.face_finders import FixedBoxes
from detector.formats import read_results
from detector.resume_log import RESUME_LOG_FILE
from files import cv2

ROOT = Path(__file__).parent.parent


@pytest.fixture
def stub():
    """Knows its answer: one face in each image."""
    return stub_detector(FixedBoxes([[2, 2, 12, 14]]), passes=1)


@pytest.fixture
def folder(tmp_path):
    return write_mixed_folder(tmp_path / "in")


@pytest.fixture
def run(monkeypatch, stub, tmp_path, capsys):
    """The command in this process, with a network that knows its answer; returns (code, out, err)."""
    monkeypatch.setattr(KeypointDetector, "from_pretrained", lambda *_, **__: stub)
    monkeypatch.chdir(tmp_path)

    def runs(*arguments):
        capsys.readouterr()
        code = command.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return runs


# --- images and videos in, results out ----------------------------------------------------


def test_one_image_is_printed_and_leaves_nothing_behind(run, folder, tmp_path):
    code, out, err = run(folder / "a.png")
    assert (code, err) == (0, "")
    (found,) = json.loads(out)
    assert found["size_wh"] == [24, 16]
    assert np.shape(found["faces"][0]["keypoints"]) == (68, 2)
    assert os.listdir(tmp_path) == ["in"]
    code, out, _ = run(folder / "a.png", "--format", "csv")
    assert out.splitlines()[1].startswith(f"{folder / 'a.png'},24,16,0,3.5,4.5,10.5,11.5,0.75,")


@pytest.mark.parametrize(
    ("format", "name", "images"),
    [("json", "faces.json", 4), ("csv", "faces.csv", 3), ("coco", "faces_coco.json", 3), ("pts", "pts", 3)],
)
def test_folders_in_every_format(run, folder, tmp_path, format, name, images):
    code, out, err = run(folder, "--format", format, "--output", "out", "--draw")
    assert code == 2  # text.jpg was skipped
    assert out == f"{Path('out') / name}: 3 images, 3 faces, 1 skipped\n"
    assert err.startswith(f"detect.py: skipped: {folder / 'text.jpg'} is not an image")
    assert len(read_results(tmp_path / "out" / name)) == images
    assert sorted(os.listdir("out")) == sorted([RESUME_LOG_FILE, "drawn", name])
    assert len(list((tmp_path / "out" / "drawn").rglob("*.*"))) == 3


def test_results_are_not_taken_for_images(run, folder):
    """Overlays in the folder that is looked through are not looked at the next time."""
    for _ in range(2):
        code, out, _ = run(folder, "--output", folder / "out", "--draw")
        assert code == 2
        assert "3 images" in out


@pytest.mark.parametrize(
    ("inputs", "code", "message"),
    [
        (["in/a.png"], 0, ""),
        (["in/a.png", "in/text.jpg"], 2, "skipped: in/text.jpg is not an image"),
        (["in/a.png", "q*.jpg"], 2, "skipped: q*.jpg: nothing matches"),
        (["in/a.png", "nowhere.jpg"], 2, "skipped: no image at nowhere.jpg"),
        (["in/text.jpg"], 1, "skipped: in/text.jpg is not an image"),
        (["q*.jpg"], 1, "nothing matches"),
        (["in/deep", "--resume", "--output", "in/a.png"], 1, "a.png"),
    ],
)
def test_exit_codes(run, folder, inputs, code, message):
    exit_code, _, err = run(*inputs)
    assert exit_code == code
    assert message in err


@pytest.mark.parametrize(
    "arguments",
    [[], ["a.jpg", "--format", "xml"], ["a.jpg", "--min-confidence", "2"], ["a.jpg", "--batch", "0"],
     ["a.jpg", "--workers", "-1"], ["a.jpg", "--runtime", "tf"]],
)  # fmt: skip
def test_a_wrong_line_leaves_with_1(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        command.main(arguments)
    assert left.value.code == 1
    assert "usage" in capsys.readouterr().err


def test_a_missing_checkpoint_is_named(folder, capsys):
    assert command.main([str(folder), "--checkpoint", "nonexistent"]) == 1
    assert "no checkpoint named 'nonexistent'" in capsys.readouterr().err


def test_the_same_file_twice_is_done_once(run, folder):
    code, out, _ = run("in/a.png", folder, "in/../in/a.png", "--output", "out")
    assert code == 2
    assert "3 images, 3 faces, 1 skipped" in out


def test_resume_takes_new_files_and_changes_formats(run, folder):
    run(folder, "--output", "out")
    write_image(folder / "later.png")
    code, out, err = run(folder, "--output", "out", "--resume", "--format", "csv")
    assert (code, err) == (2, "")  # what was skipped before is not tried again
    assert "4 images, 4 faces, 1 skipped" in out
    code, _, err = run(folder, "--output", "out", "--resume", "--min-confidence", "0.6")
    assert code == 1
    assert "min_confidence was 0.5, is 0.6" in err
    assert run(folder, "--output", "out", "--min-confidence", "0.6")[0] == 2


@pytest.fixture
def clip(tmp_path):
    """Five frames, as an .avi that every build of OpenCV can write."""
    path = tmp_path / "clips" / "clip.avi"
    path.parent.mkdir()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for value in range(5):
        writer.write(np.full((48, 64, 3), 40 * value, np.uint8))
    writer.release()
    return path


def test_videos_and_images_in_one_line(run, folder, clip, tmp_path):
    (tmp_path / "clips" / "clip.mov").write_bytes(clip.read_bytes())
    (tmp_path / "clips" / "text.mp4").write_text("not a video")
    code, out, err = run("clips/*.*", "in/a.png", "--output", "out", "--draw")
    assert code == 2
    assert "skipped: clips/text.mp4 holds no video" in err
    assert "5 frames, 5 with faces" in out
    assert "1 images, 1 faces, 0 skipped" in out
    files = sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "out").rglob("*.*"))
    assert files == [
        "out/clips/clip.csv", "out/clips/clip.mov.csv", "out/drawn/clips/clip.mov.mp4",
        "out/drawn/clips/clip.mp4", "out/drawn/in/a.png", "out/faces.json", "out/resume_log.jsonl",
    ]  # fmt: skip
    table = tmp_path / "out" / "clips" / "clip.csv"
    assert len(table.read_text().splitlines()) == 1 + 5
    written = table.stat().st_mtime_ns
    assert run("clips/clip.avi", "in/a.png", "--output", "out2", "--draw")[0] == 0
    assert run("clips/*.*", "in/a.png", "--output", "out", "--draw", "--resume")[0] == 2
    assert table.stat().st_mtime_ns == written


def test_a_video_alone_goes_to_the_default_folder(run, clip, tmp_path):
    code, out, _ = run(clip)
    assert code == 0
    assert out.startswith(str(Path("keypoints") / "clip.csv"))
    assert os.listdir(tmp_path / "keypoints") == ["clip.csv"]
    assert run("nowhere.mp4")[0] == 1


def test_help_and_mistakes_do_not_wait_for_pytorch():
    code = "import sys, detect; detect.parse_arguments(['a.jpg']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# --- stopped and continued ---------------------------------------------------------------

MANY = 100  # images; enough that a run is not over before a busy machine gets round to stopping it


def start(arguments, cwd) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command_line = [sys.executable, str(ROOT / "detect.py"), *map(str, arguments)]
    return subprocess.Popen(
        command_line,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # what a shell starts in the background ignores SIGINT, and so would this
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def lines_of(resume_log: Path) -> int:
    return resume_log.read_bytes().count(b"\n") - 1 if resume_log.exists() else 0


def wait_for_lines(process: subprocess.Popen, resume_log: Path, count: int) -> None:
    deadline = time.monotonic() + 300
    while lines_of(resume_log) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.005)


def test_a_run_that_is_killed_and_interrupted_ends_like_one_that_was_not(tmp_path, sample_photo, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(MANY):
        part = sample_photo[: 260 + number % 30, 80 + number % 30 : 380]
        cv2.imwrite(str(photos / f"{number:02}.png"), cv2.cvtColor(part, cv2.COLOR_RGB2BGR))
    (photos / "03.jpg").write_text("not an image")
    line = ["photos", "--batch", "1", "--workers", "1", "--output", "out"]
    resume_log = tmp_path / "out" / RESUME_LOG_FILE

    killed = start(line, tmp_path)
    wait_for_lines(killed, resume_log, 5)
    killed.kill()
    killed.communicate()
    done = lines_of(resume_log)
    assert 5 <= done < MANY + 1, "it was over before it was killed"
    with resume_log.open("ab") as file:
        file.write(b'{"image": "photos/99.png", "size_wh": [1')  # as if it was killed in the middle of a line

    interrupted = start([*line, "--resume"], tmp_path)
    wait_for_lines(interrupted, resume_log, done + 5)
    interrupted.send_signal(signal.SIGINT)
    _, err = interrupted.communicate()
    assert interrupted.returncode == 130, err
    assert b"--resume" in err
    assert b"Traceback" not in err
    assert lines_of(resume_log) < MANY + 1, "it was over before it was interrupted"

    whole = tmp_path / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert command.main([*line, "--resume"]) == 2
        assert f"{MANY} images, {MANY} faces, 1 skipped" in capsys.readouterr().out
        assert command.main(["photos", "--batch", "1", "--output", str(whole)]) == 2
    found, expected = read_results(tmp_path / "out" / "faces.json"), read_results(whole / "faces.json")
    assert [(image.image, image.error) for image in found] == [
        (image.image, image.error) for image in expected
    ]
    assert len(found) == MANY + 1
    for image, same in zip(found, expected, strict=True):
        for face, other in zip(image.faces, same.faces, strict=True):
            np.testing.assert_allclose(face.keypoints, other.keypoints, rtol=0, atol=0.05)
