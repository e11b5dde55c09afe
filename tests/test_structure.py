"""Rules of the repository: the direction of imports, keypoint indices, committed files, requirements."""

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from data_fetch import CHECKSUMS, fingerprint, read_checksums
from detector import __version__
from landmarks import GROUPS, OUTER_EYE_CORNERS

ROOT = Path(__file__).resolve().parent.parent

#: Top to bottom; nothing imports from below itself. The commands may call each other.
ORDER = (
    "landmarks", "files", "geometry", "sample_faces", "data_load", "data_fetch", "heads", "models",
    "checkpoint", "detector", "video", "analysis", "filters", "training", "facial_keypoints",
)  # fmt: skip
COMMANDS = ("train", "evaluate", "detect", "export_onnx", "hubconf")
USERS = ("benchmarks", "compare", "publish", "tools", "notebooks", "tests")
RANK = {name: rank for rank, name in enumerate(ORDER)}
RANK |= dict.fromkeys(COMMANDS, len(ORDER))
RANK |= {name: rank for rank, name in enumerate(USERS, len(ORDER) + 1)}
#: plots.py imports nothing else of ours, and only commands, benchmarks, tools and notebooks import it.
PLOTS_MAY_IMPORT = ("files", "landmarks", "geometry", "training.metrics")


def files_of_the_repository() -> list[Path]:
    """All files that are or would be committed; without git, all that are not ignored by name."""
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
    """The source of a module, or the code cells of a notebook without the lines for IPython."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join("".join(cell["source"]) for cell in cells).splitlines()
    return "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in lines)


# --- imports --------------------------------------------------------------------


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
    """The `names` that the module or package `place` at the top of the repository must not import."""
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
def test_nothing_imports_from_below_itself(path):
    place = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert wrong_imports(place, imports_in(code_of(path))) == []


def test_imports_are_absolute():
    """`from . import x` would escape the check above."""
    relative = [
        name_of(path)
        for path in PYTHON_FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


# --- keypoint indices are written in landmarks.py only --------------------------------------------------

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


# --- files -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name_of)
def test_files_stay_short_enough_to_read(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 650


def test_no_file_or_folder_is_called_utils_or_the_like():
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


SLASH, DASH = "/", "-"  # so that this file does not hold what it looks for
MACHINE = {
    "a path of one machine": re.compile(
        rf"(?:^|[\s\"'=(:])/(?:work|farm|tmp|home|root){SLASH}", re.MULTILINE
    ),
    "where the data lie on one machine": re.compile(rf"shared{SLASH}data"),
    "a package registry": re.compile(rf"https?://[^/\s]*(?:pypi|pythonhosted|npmjs|debian)|index{DASH}url"),
}
BINARY = (".png", ".jpg", ".webp", ".safetensors", ".npz")
#: Files that may: the one that names that folder, and two tests of such paths.
MAY_NAME = {
    "where the data lie on one machine": {".ci/run"},
    "a path of one machine": {"tests/test_check_notebooks.py", "tests/test_notebooks.py"},
}


@pytest.mark.parametrize("what", MACHINE)
def test_nothing_of_one_machine_is_committed(what):
    found = []
    for path in FILES:
        if path.suffix in BINARY or name_of(path) in MAY_NAME.get(what, ()):
            continue
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [(name_of(path), match.group()) for match in MACHINE[what].finditer(text)]
    assert found == []


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


def test_the_release_is_the_same_everywhere():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == __version__
