"""The house rules that a machine can check: who imports whom, where numbers live, what may be committed."""

import ast
import json
import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from packaging.requirements import Requirement

from data_fetch import CHECKSUMS, fingerprint, read_checksums
from landmarks import GROUPS, OUTER_EYE_CORNERS

ROOT = Path(__file__).resolve().parent.parent

#: Top to bottom; nothing imports from below itself. The commands may call each other.
ORDER = (
    "landmarks", "files", "geometry", "sample_faces", "data_load", "data_fetch", "models", "checkpoint",
    "detector", "video", "analysis", "filters", "training",
)  # fmt: skip
COMMANDS = ("train", "evaluate", "detect", "export_onnx", "hubconf")
USERS = ("benchmarks", "compare", "tools", "notebooks", "tests")
RANK = {name: rank for rank, name in enumerate(ORDER)}
RANK |= dict.fromkeys(COMMANDS, len(ORDER))
RANK |= {name: rank for rank, name in enumerate(USERS, len(ORDER) + 1)}
#: Drawing only: it imports nothing else of ours, and only commands, benchmarks, tools and notebooks import it.
PLOTS_MAY_IMPORT = ("files", "landmarks", "geometry", "training.metrics")


def files_of_the_repository() -> list[Path]:
    """What is or would be committed; without git (an unpacked archive) what is not ignored by name."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        paths = [ROOT / name for name in listed.split("\0") if name]
    else:
        ignored = {".git", ".venv", "runs", "reports", "__pycache__", ".pytest_cache", ".ruff_cache"}
        paths = []
        for folder, folders, names in os.walk(ROOT):
            below_data = Path(folder) == ROOT / "data"
            folders[:] = [] if below_data else [name for name in folders if name not in ignored]
            paths += [Path(folder) / name for name in names if not name.endswith("_keypoints.csv")]
    return sorted(path for path in paths if path.is_file())


FILES = files_of_the_repository()
PYTHON_FILES = [path for path in FILES if path.suffix == ".py"]
NOTEBOOK_FILES = [path for path in FILES if path.suffix == ".ipynb"]
CODE_FILES = [path for path in PYTHON_FILES + NOTEBOOK_FILES if path.relative_to(ROOT).parts[0] != "tests"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_of(path: Path) -> str:
    """A module's source, or a notebook's code cells without the lines for IPython."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join("".join(cell["source"]) for cell in cells).splitlines()
    return "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in lines)


# --- who imports whom --------------------------------------------------------------------


def imports_in(source: str) -> set[str]:
    """Dotted names of everything imported, inside functions too: 'training.metrics.ced'."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def wrong_imports(place: str, names: set[str]) -> list[str]:
    """Which of `names` a module or package at the top of the repository called `place` must not import."""
    wrong = []
    for name in sorted(names):
        target = name.partition(".")[0]
        if target == place or target not in {*RANK, "plots"}:
            continue
        if place == "plots":
            allowed = any(f"{name}.".startswith(f"{may}.") for may in PLOTS_MAY_IMPORT)
        elif target == "plots":
            allowed = RANK[place] >= len(ORDER)
        else:
            allowed = RANK[target] < RANK[place] or {target, place} <= set(COMMANDS)
        if not allowed:
            wrong.append(name)
    return wrong


def test_everything_has_its_place():
    places = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in PYTHON_FILES}
    assert places - {*RANK, "plots"} == set(), "give it a place in ORDER, COMMANDS or USERS"


@pytest.mark.parametrize("path", CODE_FILES, ids=name_of)
def test_nothing_imports_from_its_right(path):
    place = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert wrong_imports(place, imports_in(code_of(path))) == []


@pytest.mark.parametrize(
    ("place", "line"),
    [(left, f"from {right} import x") for left, right in pairwise(ORDER)]
    + [
        ("geometry", "import data_load"),
        ("models", "def late():\n    from training.loop import train"),
        ("filters", "import plots"),  # plots is for those who look
        ("training", "from train import main"),
        ("plots", "from models import build_model"),
        ("plots", "from training import loop"),
        ("train", "import benchmarks.speed"),
        ("benchmarks", "from notebooks import cells"),
        ("detector", "import tests.small_data"),
    ],
)
def test_a_wrong_import_is_found(place, line):
    assert len(wrong_imports(place, imports_in(line))) == 1


@pytest.mark.parametrize(
    ("place", "line"),
    [(right, f"from {left} import x") for left, right in pairwise(ORDER)]
    + [
        ("plots", "from training import metrics\nfrom training.metrics import ced\nimport geometry"),
        ("notebooks", "import plots, torch\nfrom detector import KeypointDetector"),
        ("notebooks", "from benchmarks import ablations"),
        ("tools", "from tools.check_notebooks import problems"),
        ("training", "from training.losses import build_loss\nimport json"),
    ],
)
def test_a_right_import_passes(place, line):
    assert wrong_imports(place, imports_in(line)) == []


def test_imports_are_absolute():
    """`from . import x` would escape the check above."""
    relative = [
        name_of(path)
        for path in PYTHON_FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


# --- index numbers live in landmarks.py --------------------------------------------------

JAW = len(GROUPS["jaw"])  # below it, a number may as well count images, axes or coordinates
GROUP_ENDS = {(group[0], group[-1] + 1) for group in GROUPS.values() if group[0] >= JAW}
KNOWN_LISTS = {frozenset(group) for group in GROUPS.values()} | {frozenset(OUTER_EYE_CORNERS)}
NAMES_OF_KEYPOINTS = re.compile(r"keypoint|points|landmark", re.IGNORECASE)


def index_numbers(source: str) -> list[int]:
    """Lines in which keypoints are picked by number instead of by a name from landmarks.py."""
    return sorted({node.lineno for node in ast.walk(ast.parse(source)) if _picks_by_number(node)})


def _picks_by_number(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript) and NAMES_OF_KEYPOINTS.search(_last_name(node.value)):
        return any((_number(part) or 0) >= JAW for part in ast.walk(node.slice))
    if isinstance(node, ast.Slice):
        return (_number(node.lower), _number(node.upper)) in GROUP_ENDS
    if isinstance(node, ast.Call) and _last_name(node.func) in ("range", "slice", "arange"):
        return tuple(map(_number, node.args)) in GROUP_ENDS
    if isinstance(node, ast.List | ast.Tuple):
        return frozenset(map(_number, node.elts)) in KNOWN_LISTS
    return False


def _number(node: ast.AST | None) -> int | None:
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def _last_name(node: ast.AST) -> str:
    """`points` of points, face.points, points() and points[0]."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    child = {ast.Call: "func", ast.Subscript: "value"}.get(type(node))
    return _last_name(getattr(node, child)) if child else ""


@pytest.mark.parametrize("path", [p for p in CODE_FILES if p.name != "landmarks.py"], ids=name_of)
def test_no_index_numbers_outside_landmarks(path):
    code = code_of(path)
    assert [(line, code.splitlines()[line - 1]) for line in index_numbers(code)] == []


@pytest.mark.parametrize(
    "line",
    [
        "keypoints[36]", "face.keypoints[..., 45, :]", "points[27:31, 1]", "head_points(x)[0, 30]",
        "true_keypoints[:, [48, 54]]", "p[36:42]", "for i in range(42, 48): pass", "EYES = (36, 45)",
        "NOSE = [31, 32, 33, 34, 35]", "predicted_landmarks[:68]",
    ],
)  # fmt: skip
def test_an_index_number_is_found(line):
    assert index_numbers(f"x = 1\n{line}\n") == [2]


def test_other_numbers_are_left_alone():
    source = "points[:, 0]; keypoints[-1]; image[36:50]; range(17); channels = (32, 64, 128); digest[:48]"
    assert index_numbers(source) == []


# --- files -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name_of)
def test_files_stay_short_enough_to_read(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 620


def test_no_drawer_for_odds_and_ends():
    odd = {"utils", "util", "lib", "common", "helpers", "misc"}
    assert [name_of(path) for path in FILES if odd & {path.stem, *path.relative_to(ROOT).parts}] == []


def data_set_images(paths: list[Path], checksums: dict) -> list[str]:
    """Images among `paths` that are of the data set, by name or by pixels."""
    names = {Path(name).name for name in checksums if not name.endswith(".csv")}
    digests = {digest for _, _, digest in checksums.values()}
    images = [path for path in paths if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp")]
    return [str(path) for path in images if path.name in names or fingerprint(path)[2] in digests]


def test_no_image_of_the_data_set_is_committed():
    assert data_set_images(FILES, read_checksums(CHECKSUMS)) == []


def test_an_image_of_the_data_set_is_found(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), dtype=np.uint8)
    paths = [tmp_path / name for name in ("renamed.png", "Ann_Lee_00.jpg", "ours.png")]
    for path, image in zip(paths, pixels[[0, 1, 1]], strict=True):
        cv2.imwrite(str(path), image)
    checksums = {"training/Bo_Ek_10.jpg": fingerprint(paths[0]), "test/Ann_Lee_00.jpg": ("9", "9", "00")}
    assert data_set_images(paths, checksums) == [str(path) for path in paths[:2]]


SLASH, DASH = "/", "-"  # so that this file does not hold what it looks for
MACHINE = {
    "a path of one machine": re.compile(
        rf"(?:^|[\s\"'=(:])/(?:work|farm|tmp|home|root){SLASH}", re.MULTILINE
    ),
    "where the data lie on one machine": re.compile(rf"shared{SLASH}data"),
    "a package registry": re.compile(rf"https?://[^/\s]*(?:pypi|pythonhosted|npmjs|debian)|index{DASH}url"),
}
#: The one place that may name that folder, and the two that plant paths.
MAY_NAME = {
    "where the data lie on one machine": {".ci/run"},
    "a path of one machine": {"tests/test_check_notebooks.py", "tests/test_notebooks.py"},
}


@pytest.mark.parametrize("what", MACHINE)
def test_nothing_of_one_machine_is_committed(what):
    found = []
    for path in FILES:
        if path.suffix in (".png", ".jpg", ".safetensors", ".npz") or name_of(path) in MAY_NAME.get(what, ()):
            continue
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [(name_of(path), match.group()) for match in MACHINE[what].finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a path of one machine", f"see {SLASH}work{SLASH}main"),
        ("a path of one machine", f"x = '{SLASH}tmp{SLASH}a'"),
        ("where the data lie on one machine", f"..{SLASH}shared{SLASH}data"),
        ("a package registry", f"https:{SLASH}/files.pythonhosted.org/x"),
        ("a package registry", f"--extra-index{DASH}url x"),
    ],
)
def test_a_trace_of_one_machine_is_found(what, text):
    assert MACHINE[what].search(text)
    assert not MACHINE[what].search("reports/tmp/a, data/work/x, https://github.com/udacity/home/x")


# --- requirements --------------------------------------------------------------------------

PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[0-9][0-9a-z.+]*)(?: ; .+)?")


def test_the_lock_pins_everything_and_names_no_server():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert [line for line in lines if not PIN.fullmatch(line)] == []
    pins = [PIN.fullmatch(line).group("name", "version") for line in lines]
    direct = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    for requirement in map(Requirement, filter(None, direct)):
        versions = [version for name, version in pins if name == requirement.name]
        assert versions, f"{requirement} is not in the lock: run `make lock`"
        assert all(version in requirement.specifier for version in versions), requirement


@pytest.mark.parametrize("line", ["torch", "torch>=2", "a==1 --hash=sha256:0", "--extra-index", "a @ file:b"])
def test_a_loose_line_in_a_lock_is_found(line):
    assert not PIN.fullmatch(line)
