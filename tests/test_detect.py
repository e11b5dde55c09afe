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
from files import LOCK_FILE, LockedError, cv2, run_lock

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


def test_a_tilde_is_the_home_folder(run, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, err = run("~/in/*.png", "--output=~/out")
    assert (code, err) == (0, "")
    assert (tmp_path / "out" / "faces.json").is_file()


@pytest.mark.parametrize(
    ("format", "name", "images"),
    [("json", "faces.json", 4), ("csv", "faces.csv", 3), ("coco", "faces_coco.json", 3), ("pts", "pts", 3)],
)
def test_folders_in_every_format(run, folder, tmp_path, format, name, images):
    code, out, err = run(folder, "--format", format, "--output", "out", "--draw")
    assert code == 2  # text.jpg was skipped
    assert out == f"{Path('out') / name}: 3 images, 3 faces, 1 skipped\n"
    assert err.startswith(f"detect.py: skipped: {folder / 'text.jpg'} holds text, not an image")
    assert len(read_results(tmp_path / "out" / name)) == images
    assert sorted(os.listdir("out")) == sorted([LOCK_FILE, RESUME_LOG_FILE, "drawn", name])
    assert len(list((tmp_path / "out" / "drawn").rglob("*.*"))) == 3


@pytest.mark.parametrize("output", ["in/out", "in"])
def test_results_are_not_taken_for_images(run, folder, output):
    """Drawn images in the folder that is searched, or in a pattern, are no inputs of the next run."""
    for again in ("--draw", "--resume", "--overwrite"):
        code, out, _ = run(folder, "--output", output, "--draw", again)
        assert code == 2
        assert "3 images" in out
    code, out, err = run(folder, f"{output}/drawn/*.png", "--output", output, "--draw", "--resume")
    assert "3 images" in out
    assert f"{output}/drawn/a.png: this is a result of the same output folder" in err


def test_nothing_of_the_users_is_lost(run, folder, tmp_path):
    """A folder pts/ or faces.json/, or a drawn image, that is in the way ends the run before any work."""
    mine = {"pts/mine.pts": "pts", "faces.json/mine": "json", "drawn/a.png": "json", "faces.csv": "csv"}
    for place, (name, format) in enumerate(mine.items()):
        path = tmp_path / f"out{place}" / name
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        for again in ("--draw", "--overwrite", "--resume"):
            code, out, err = run(folder, "--output", f"out{place}", "--format", format, "--draw", again)
            assert (code, out) == (1, "")
            assert "is there already and was not written by this run" in err
            assert name.split("/")[0] in err
        assert path.read_text() == "mine"
    assert run(folder, "--output", "out", "--format", "pts")[0] == 2
    (tmp_path / "out" / "pts" / "mine.txt").write_text("mine")
    for again in ("--overwrite", "--resume"):
        assert "mine.txt is there already" in run(folder, "--output", "out", "--format", "pts", again)[2]


def test_a_folder_that_is_named_like_a_video_is_a_folder(run, folder, tmp_path):
    folder.rename(tmp_path / "dir.mp4")
    (tmp_path / "dir.csv").write_text("mine")
    code, out, _ = run("dir.mp4", "--output", "out", "--draw")
    assert code == 2
    assert "3 images" in out
    assert sorted(os.listdir(tmp_path)) == ["dir.csv", "dir.mp4", "out"]
    assert (tmp_path / "dir.csv").read_text() == "mine"


def test_the_working_folder_may_be_the_output(run, folder, clip, tmp_path):
    code, out, _err = run("in", "clips/clip.avi", "--output", ".", "--draw")
    assert code == 2
    assert out.splitlines()[0] == "faces.json: 3 images, 3 faces, 1 skipped"
    assert (tmp_path / "drawn" / "in" / "a.png").exists()
    assert (tmp_path / "videos" / "clips" / "clip.avi.csv").exists()


def test_an_output_that_leads_elsewhere_is_refused(run, folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "drawn").symlink_to(tmp_path / "elsewhere")
    code, _, _err = run(folder, "--output", "out", "--draw")
    assert code == 1
    assert os.listdir(tmp_path / "elsewhere") == []


def test_names_that_are_no_text(run, tmp_path):
    """A name that is not UTF-8, one with line ends, one as long as a name may be."""
    images = [
        os.fsdecode(b"in/\xff.png"),
        "in/a\r\nb.png",
        "in/" + "l" * 251 + ".png",
        "in/50%.png",
        "in/\u202e.png",
    ]
    for name in images:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(cv2.imencode(".png", np.zeros((16, 24, 3), np.uint8))[1].tobytes())
    for format, name in command.RESULT_FILES.items():
        code, _out, err = run("in", "--output", f"out-{format}", "--format", format, "--draw")
        assert (code, err) == (0, "")
        back = read_results(tmp_path / f"out-{format}" / name)
        assert len(back) == len(list((tmp_path / f"out-{format}" / "drawn").iterdir())) == len(images)
        if format != "pts":
            assert sorted(image.image for image in back) == sorted(images)


def test_two_runs_do_not_work_in_one_folder(run, folder, tmp_path):
    with run_lock(tmp_path / "out"):
        code, out, err = run(folder, "--output", "out")
    assert (code, out) == (1, "")
    assert f"another run is working in out (process {os.getpid()} on " in err
    assert os.listdir(tmp_path / "out") == [LOCK_FILE]
    assert run(folder, "--output", "out")[0] == 2


def test_the_lock_of_a_killed_process_is_released(tmp_path):
    script = (
        f"from files import run_lock\nwith run_lock({str(tmp_path)!r}): print('held', flush=True); input()"
    )
    options = {"cwd": ROOT, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", script], **options)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LockedError, match=f"process {process.pid} on "), run_lock(tmp_path):
        pass
    process.kill()
    process.communicate()
    with run_lock(tmp_path):
        pass


def test_resume_notices_other_weights(run, folder, tmp_path, monkeypatch):
    net = tmp_path / "net"
    net.mkdir()
    (net / "config.json").write_text("{}")
    (net / "model.safetensors").write_bytes(b"one")
    assert run(folder, "--output", "out", "--checkpoint", net)[0] == 2
    (net / "model.safetensors").write_bytes(b"two")
    code, _, err = run(folder, "--output", "out", "--checkpoint", net, "--resume")
    assert code == 1
    assert "(weights was '" in err
    assert "\n" not in err.strip()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device", "out/faces.json"), "out/faces.json: No space left on device"),
        (ValueError("two\n  lines\x1b[31m"), "two lines\\x1b[31m"),
        (MemoryError(), "there is not enough memory"),
        (KeyError("odd"), "KeyError: 'odd' (--debug shows where)"),
        (ZeroDivisionError(), "ZeroDivisionError (--debug shows where)"),
    ],
)
def test_no_traceback_unless_it_is_asked_for(run, folder, monkeypatch, error, message):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(KeypointDetector, "from_pretrained", fails)
    code, _, err = run(folder, "--output", "out")
    assert (code, err) == (1, f"detect.py: {message}\n")
    with pytest.raises(type(error)):
        run(folder, "--output", "out", "--debug")


@pytest.mark.parametrize(
    ("inputs", "code", "message"),
    [
        (["in/a.png"], 0, ""),
        (["in/a.png", "in/text.jpg"], 2, "skipped: in/text.jpg holds text, not an image"),
        (["in/a.png", "q*.jpg"], 2, "skipped: q*.jpg: nothing matches"),
        (["in/a.png", "nowhere.jpg"], 2, "skipped: no image at nowhere.jpg"),
        (["in/text.jpg"], 1, "skipped: in/text.jpg holds text, not an image"),
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
     ["a.jpg", "--workers", "-1"], ["a.jpg", "--workers", "x"], ["a.jpg", "--batch", "9" * 5000],
     ["a.jpg", "--resume", "--overwrite"], ["a.jpg", "--runtime", "tf"],
     ["a.jpg", "--face-detector", "mtcnn"], ["a.jpg", "--yunet-model", "a.onnx"]],
)  # fmt: skip
def test_a_wrong_line_leaves_with_1(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        command.main(arguments)
    assert left.value.code == 1
    assert "usage" in capsys.readouterr().err


def test_the_face_detector_and_the_runtime_are_passed_on(folder, stub, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(KeypointDetector, "from_pretrained", lambda **load: asked.append(load) or stub)
    monkeypatch.chdir(tmp_path)
    line = [str(folder / "a.png"), "--output", "out"]
    assert command.main(line) == 0
    assert command.main([*line, "--resume", "--face-detector", "haar"]) == 1
    assert "face_detector was None, is 'haar'" in capsys.readouterr().err
    assert command.main([*line, "--overwrite", "--face-detector", "haar", "--runtime", "torch"]) == 0
    assert [load["face_detector"] for load in asked] == [None, "haar"]
    assert [load["runtime"] for load in asked] == ["onnx", "torch"]


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
    code, _, err = run(folder, "--output", "out", "--min-confidence", "0.6")
    assert code == 1
    assert "--overwrite" in err
    assert run(folder, "--output", "out", "--min-confidence", "0.6", "--overwrite")[0] == 2


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
        "out/.lock", "out/drawn/clips/clip.avi.mp4", "out/drawn/clips/clip.mov.mp4", "out/drawn/in/a.png",
        "out/faces.json", "out/resume_log.jsonl", "out/videos/clips/clip.avi.csv",
        "out/videos/clips/clip.mov.csv",
    ]  # fmt: skip
    table = tmp_path / "out" / "videos" / "clips" / "clip.avi.csv"
    assert len(table.read_text().splitlines()) == 1 + 5
    written = table.stat().st_mtime_ns
    assert run("clips/clip.avi", "in/a.png", "--output", "out2", "--draw")[0] == 0
    assert run("clips/*.*", "in/a.png", "--output", "out", "--draw", "--resume")[0] == 2
    assert table.stat().st_mtime_ns == written


def test_resume_notices_what_changed_about_a_video(run, clip, tmp_path):
    assert run("clips/clip.avi", "--output", "out")[0] == 0
    code, _, err = run("clips/clip.avi", "--output", "out", "--resume", "--min-confidence", "0.7")
    assert code == 1
    assert "min_confidence was 0.5, is 0.7" in err
    with clip.open("ab") as file:
        file.write(b"more")
    code, _, err = run("clips/clip.avi", "--output", "out", "--resume")
    assert code == 1
    assert "clips/clip.avi has changed since it was done (size was " in err
    other = tmp_path / "clips" / "clip.mov"  # of the same stem
    other.write_bytes(clip.read_bytes())
    code, out, _ = run(other, "--output", "out", "--resume")
    assert code == 0
    assert "clip.mov.csv: 5 frames" in out


def test_a_video_that_was_stopped_starts_over_and_says_so(run, clip, stub, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stub, "follow", stop)
        code, _, err = run("clips/clip.avi", "--output", "out", "--draw")
        assert code == 130
        assert "--resume" in err
    (tmp_path / "out" / "videos" / ".partial-abcdefgh").mkdir()  # as if it was killed
    code, out, err = run("clips/clip.avi", "--output", "out", "--draw", "--resume")
    assert code == 0
    assert "clips/clip.avi was stopped before its end, and starts over" in err
    assert "5 frames" in out
    assert os.listdir(tmp_path / "out" / "videos") == ["clip.avi.csv"]


def test_a_video_that_was_cut_is_mentioned(run, clip):
    data = bytearray(clip.read_bytes())
    third = data.index(b"00dc", data.index(b"00dc", data.index(b"00dc") + 1) + 1)
    clip.write_bytes(data[:third])
    code, out, err = run("clips/clip.avi", "--output", "out")
    assert code == 0
    assert "1 frames" in out
    assert "announces 5 frames, and only 1 could be read" in err


def test_a_video_alone_goes_to_the_default_folder(run, clip, tmp_path):
    code, out, _ = run(clip)
    assert code == 0
    assert out.startswith(str(Path("keypoints") / "videos" / "clip.avi.csv"))
    assert os.listdir(tmp_path / "keypoints" / "videos") == ["clip.avi.csv"]
    assert run("nowhere.mp4")[0] == 1


def test_help_and_mistakes_do_not_wait_for_pytorch():
    code = "import sys, detect; detect.parse_arguments(['a.jpg']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# --- stopped and continued ---------------------------------------------------------------

MANY = (
    40  # images, each of which takes the detector of SLOW at least so long that a run can be stopped in time
)
SLOW = """
import sys, time
sys.path[:0] = sys.argv[1:3]
import detect
from detector import KeypointDetector
from detector.face_finders import FixedBoxes
from stub_detector import stub_detector
stub = stub_detector(FixedBoxes([[2, 2, 12, 14]]), passes=1)
answer = stub.network
def slowly(batch):
    time.sleep(0.1)
    return answer(batch)
stub.network = slowly
KeypointDetector.from_pretrained = lambda *_, **__: stub
sys.exit(detect.main(sys.argv[3:]))
"""


def start(arguments, cwd) -> subprocess.Popen:
    places = [str(ROOT), str(ROOT / "tests")]
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, *places, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
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


def test_a_run_that_is_killed_and_interrupted_ends_like_one_that_was_not(run, tmp_path):
    photos = tmp_path / "photos"
    for number in range(MANY):
        write_image(photos / f"{number:02}.png", 5 * number, (24 + number % 5, 16))
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

    code, out, _ = run(*line, "--resume")
    assert code == 2
    assert f"{MANY} images, {MANY} faces, 1 skipped" in out
    assert run("photos", "--batch", "1", "--output", "whole")[0] == 2
    found, expected = ((tmp_path / name / "faces.json").read_text() for name in ("out", "whole"))
    assert found == expected
