"""The examples of facial_keypoints/README.md run as printed, in a process and a folder of their own."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from media_files import write_video
from PIL import Image

from detector import KeypointDetector
from files import read_image
from landmarks import GROUPS, NOSE_TIP
from training.augment import move_eyelids

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).resolve().parents[1]
NOSE = (225, 127)  # of the astronaut, read off the photo by eye


def example(heading: str) -> str:
    """The first block of Python below a heading."""
    page = (ROOT / "facial_keypoints" / "README.md").read_text(encoding="utf-8")
    return re.search(rf"^## {heading}\n.*?```python\n(.*?)```", page, re.DOTALL | re.MULTILINE)[1]


def start(code: str, folder: Path, **options) -> subprocess.Popen:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder), "NO_PROXY": "127.0.0.1"}
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment, text=True, **options)


@pytest.fixture
def photo(tmp_path, sample_photo):
    Image.fromarray(sample_photo).save(tmp_path / "photo.jpg", quality=95)
    return tmp_path / "photo.jpg"


@pytest.fixture
def service(tmp_path):
    """The address of the web service, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = example("A web service").replace("8000", str(port))
    with start(code, tmp_path, stderr=subprocess.DEVNULL) as process:
        for _ in range(300):
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            assert process.poll() is None
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        process.kill()


def test_the_web_service_answers_with_faces_and_says_what_is_no_photo(service, photo):
    with urllib.request.urlopen(service, photo.read_bytes(), timeout=30) as answer:
        (face,) = json.load(answer)
    np.testing.assert_allclose(face["keypoints"][NOSE_TIP], NOSE, atol=5)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(service, b"no photo", timeout=30)
    assert refused.value.code == 400
    assert json.load(refused.value) == {"error": "the file of 8 bytes holds text, not an image"}


def test_the_blink_example_finds_a_blink(tmp_path, sample_photo):
    points = KeypointDetector.from_pretrained()(sample_photo)[0].keypoints
    shut, moved = sample_photo.copy(), points.copy()
    for eye in ("right_eye", "left_eye"):
        move_eyelids(shut, moved, list(GROUPS[eye]), 0.05)
    write_video(tmp_path / "film.mp4", [sample_photo] * 20 + [shut] * 5 + [sample_photo] * 20, 25, "mp4v")
    with start(example("Blinks in a film"), tmp_path, stdout=subprocess.PIPE) as process:
        (line,) = process.communicate(timeout=120)[0].splitlines()
    begin, end = map(float, re.findall(r"\d\.\d\d", line))
    assert begin == pytest.approx(20 / 25, abs=0.05)
    assert end == pytest.approx(25 / 25, abs=0.09)


def test_the_video_example_puts_sunglasses_on_a_face(tmp_path, sample_photo):
    frames = [sample_photo[:, step : step + 400] for step in range(0, 12, 4)]
    write_video(tmp_path / "film.mp4", frames, 25, "mp4v")
    with start(example("A video"), tmp_path, stdout=subprocess.PIPE) as process:
        printed = process.communicate(timeout=120)[0].splitlines()
    assert [line[:15] for line in printed] == [f"frame {number}: face 0" for number in range(3)]
    for number, frame in enumerate(frames):
        drawn = read_image(tmp_path / f"frame{number:05}.jpg").astype(int)
        changed = np.abs(drawn - frame).max(axis=2) > 60
        rows, columns = np.nonzero(changed)
        assert changed.sum() > 500  # the glasses, over the eyes at (194, 101) and (256, 105)
        np.testing.assert_allclose([columns.mean() + 4 * number, rows.mean()], [225, 103], atol=12)


def test_the_example_for_other_tools_draws_and_writes(tmp_path, photo):
    pytest.importorskip("supervision")
    before = "from facial_keypoints import KeypointDetector\ndetector = KeypointDetector.from_pretrained()\n"
    code = before + example("For other tools") + "\nprint(int((drawn != image).any(axis=2).sum()))"
    with start(code, tmp_path, stdout=subprocess.PIPE) as process:
        printed = process.communicate(timeout=120)[0]
    assert int(printed) > 500
    values = json.loads((tmp_path / "faces_coco.json").read_text())
    assert values["images"][0]["file_name"] == "photo.jpg"
    np.testing.assert_allclose(
        np.reshape(values["annotations"][0]["keypoints"], (68, 3))[NOSE_TIP, :2], NOSE, atol=5
    )
