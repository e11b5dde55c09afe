"""Detection, tracking, analysis and filters with ONNX Runtime alone: no PyTorch, and what 'auto' chooses."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from checkpoint import CheckpointError
from detector import KeypointDetector
from detector.predictor import choose_runtime

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).resolve().parents[1]

#: Runs in a process of its own, in which these packages cannot be imported.
BLOCK = """
import json, sys
ABSENT = {"torch", "torchvision", "pandas", "scipy", "skimage", "matplotlib", "requests", "safetensors"}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Finder())
"""
USE = """
import numpy as np
from detector import KeypointDetector
from files import read_image
image = read_image(sys.argv[1])
detector = KeypointDetector.from_pretrained(sys.argv[2])
faces = detector(image)
try:
    KeypointDetector.from_pretrained(sys.argv[2], runtime="torch")
except ImportError as error:
    assert "PyTorch is not installed: pip install torch" in str(error), error
else:
    raise AssertionError("PyTorch was imported")
from analysis.head_pose import head_pose
from analysis.openings import eye_opening
from filters import apply_filter, create_filter, filter_names
from video.tracker import FaceTracker
apply_filter(image, faces[0].keypoints, "sunglasses")
for name in filter_names():
    create_filter(name)(image, faces)
head_pose(faces[0].keypoints), eye_opening(faces[0].keypoints)
tracker = FaceTracker(detector)
tracked = [tracker(image, number / 25) for number in range(3)]
print(json.dumps({
    "runtime": repr(detector), "faces": len(faces), "keypoints": faces[0].keypoints.tolist(),
    "tracked": [[face.id for face in found] for found in tracked],
    "loaded": sorted(ABSENT & set(sys.modules)),
}))
"""


@pytest.fixture
def photo(tmp_path, sample_photo):
    """The sample photo as a PNG file."""
    from PIL import Image

    Image.fromarray(sample_photo).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_everything_works_without_pytorch(photo, sample_photo):
    command = [sys.executable, "-c", BLOCK + USE, str(photo), "heatmapnet-small"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert answer["runtime"] == (
        "KeypointDetector(heatmapnet-small, onnx, face_detector=NetworkFaceFinder)"
    )
    assert answer["faces"] == 1
    assert answer["tracked"] == [[0]] * 3
    assert answer["loaded"] == []
    ours = KeypointDetector.from_pretrained("heatmapnet-small", runtime="torch")(sample_photo)
    np.testing.assert_allclose(answer["keypoints"], ours[0].keypoints, atol=0.1)


def test_detect_py_works_without_pytorch(photo, tmp_path):
    code = BLOCK + "import detect\nsys.exit(detect.main(sys.argv[1:]))"
    inputs = [str(photo), "--output", str(tmp_path / "out"), "--format", "csv", "--filter", "glasses"]
    command = [sys.executable, "-c", code, *inputs, "--checkpoint", "heatmapnet-small"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out" / "faces.csv").is_file()
    command += ["--overwrite", "--workers", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert "worker processes need PyTorch" in run.stderr


def test_auto_takes_onnx_where_it_can(monkeypatch, tmp_path):
    there = ROOT / "saved_models" / "heatmapnet-small"
    assert choose_runtime(there) == "onnx"
    assert choose_runtime(there, "cuda") == "torch"
    assert choose_runtime(tmp_path) == "torch"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose_runtime(there) == "torch"
    assert repr(KeypointDetector.from_pretrained("heatmapnet-small")).startswith(
        "KeypointDetector(heatmapnet-small, torch"
    )


def test_a_face_detector_of_another_name_and_a_face_finder_in_place_of_a_network_are_errors():
    with pytest.raises(ValueError, match="face_detector must be 'finder', 'haar', 'yunet' or a function"):
        KeypointDetector.from_pretrained(face_detector="mtcnn")
    with pytest.raises(CheckpointError, match="holds a face finder and no keypoint network"):
        KeypointDetector.from_pretrained("face_finder")
