"""The package `facial_keypoints`: installed, from a clone, by torch.hub; in a project with the same names."""

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from facial_keypoints.clone import MODULES, PACKAGE, in_package

ROOT = Path(__file__).resolve().parents[1]
#: Modules of a project that have the names of ours.
THEIRS = (*MODULES, "data_load", "train", "training", "tools")
#: Uses the detector, imports everything of the project, and says where things came from.
USE = f"""
import importlib, json, sys
import models  # of the project, before anything of ours
faces = {{runtime: load(runtime)(sys.argv[1]) for runtime in sys.argv[2:]}}
from facial_keypoints.analysis import eye_opening, head_pose
from facial_keypoints.filters import apply_filter
from facial_keypoints.files import read_image
from facial_keypoints.video.tracker import FaceTracker
from facial_keypoints import Face, KeypointDetector
points = next(iter(faces.values()))[0].keypoints
apply_filter(read_image(sys.argv[1]), points, "sunglasses"), head_pose(points), eye_opening(points)
print(json.dumps({{
    "nose": {{runtime: found[0].keypoints[30].tolist() for runtime, found in faces.items()}},
    "is face": all(isinstance(found[0], Face) for found in faces.values()),
    "theirs": [importlib.import_module(name).WHOSE for name in {THEIRS}],
}}))
"""
LOAD = """
def load(runtime):
    from facial_keypoints import KeypointDetector
    return KeypointDetector.from_pretrained("heatmapnet-small", runtime=runtime)
"""
HUB = f"""
import torch
def load(runtime):
    options = {{"source": "local", "trust_repo": True, "runtime": runtime}}
    return torch.hub.load({str(ROOT)!r}, "keypoint_detector", "heatmapnet-small", **options)
"""


@pytest.fixture
def project(tmp_path, sample_photo):
    """A folder of a project that has a module of each of our names, and a photo."""
    for name in THEIRS:
        (tmp_path / f"{name}.py").write_text("WHOSE = 'theirs'\n")
    Image.fromarray(sample_photo).save(tmp_path / "photo.png")
    return tmp_path


def run_in(project, python, code, runtimes, **environment):
    (project / "main.py").write_text(code)
    command = [str(python), "main.py", "photo.png", *runtimes]
    environment = {"PATH": "", "HOME": str(project), **environment}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["theirs"] == ["theirs"] * len(THEIRS)
    assert answer["is face"]
    for nose in answer["nose"].values():
        assert nose == pytest.approx([225, 127], abs=5)  # of the astronaut, read off the photo


def test_a_clone_works_in_a_project_of_the_same_names(project):
    pytest.importorskip("onnxruntime")
    run_in(project, sys.executable, LOAD + USE, ["torch", "onnx", "onnx-int8"], PYTHONPATH=str(ROOT))


def test_torch_hub_works_in_a_project_of_the_same_names(project):
    pytest.importorskip("onnxruntime")
    run_in(project, sys.executable, HUB + USE, ["torch", "onnx"])


def files_of(module: str) -> list[Path]:
    folder = ROOT / module
    return sorted(folder.glob("*.py")) if folder.is_dir() else [ROOT / f"{module}.py"]


@pytest.mark.parametrize("path", [path for name in MODULES for path in files_of(name)], ids=lambda p: p.name)
def test_a_module_of_the_package_imports_nothing_by_its_name_at_the_root(path):
    before, after = path.read_text(encoding="utf-8"), in_package(path.read_text(encoding="utf-8"))
    assert len(before.splitlines()) == len(after.splitlines())
    roots = {file.stem for file in ROOT.glob("*.py")} | {file.parent.name for file in ROOT.glob("*/*.py")}
    imported = set()
    for node in ast.walk(ast.parse(after)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
            if node.module.partition(".")[0] == PACKAGE:
                assert (node.module.split(".") + [node.names[0].name])[1] in MODULES
    assert imported & roots <= {PACKAGE}


def test_imports_in_package_by_hand():
    source = "import landmarks\nif a:\n    from models import (\n        X,\n    )\n"
    source += "from filesystem import files\n"
    there = "from facial_keypoints"
    expected = f"{there} import landmarks\nif a:\n    {there}.models import (\n        X,\n    )\n"
    assert in_package(source) == expected + "from filesystem import files\n"


def installer(python: Path) -> list[str]:
    """The command that installs into an environment: uv's, which takes seconds, or pip's."""
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--quiet"]


def test_what_is_installed_works_without_pytorch_in_a_project_of_the_same_names(project, tmp_path_factory):
    environment = tmp_path_factory.mktemp("fresh") / "env"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    needed = ["hatchling", "editables", "-r", str(ROOT / "requirements-onnx.txt")]
    fetched = subprocess.run([*installer(python), *needed], capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.skip(f"there is no package index here: {fetched.stderr.strip().splitlines()[-1:]}")
    before = set(top_level(python))
    subprocess.run([*installer(python), "--no-build-isolation", str(ROOT)], check=True)
    assert {name for name in top_level(python) if not name.endswith(".dist-info")} - before == {PACKAGE}
    run_in(project, python, LOAD + USE, ["auto", "onnx", "onnx-int8"])
    shutil.rmtree(environment)


def top_level(python: Path) -> list[str]:
    code = "import os, sysconfig; print('\\n'.join(os.listdir(sysconfig.get_paths()['purelib'])))"
    return subprocess.check_output([str(python), "-c", code], text=True).splitlines()
