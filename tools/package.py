"""Builds the package `facial_keypoints`, for `pip install .` (hatchling reads this file, see pyproject.toml).

The wheel holds the modules of the root below facial_keypoints/, with imports of that package
(facial_keypoints/clone.py), the drawings of the filters, and the networks that detection needs. Nothing is
stored twice in the repository. `pip install -e .` leads to the clone and exposes `facial_keypoints` alone.
"""

import re
import runpy
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

#: Networks in the wheel. The second face finder goes with networks of yours that were trained on `identity`.
NETWORKS = ("heatmapnet", "heatmapnet-small", "face_finder", "face_finder-identity")
#: Requirements beyond requirements-onnx.txt, with the ranges that requirements.txt has.
EXTRAS = {
    "torch": ("torch", "safetensors"),
    "hub": ("huggingface-hub", "requests"),
    "frames": ("pandas",),
}


def package_files(root: Path, modules: tuple[str, ...]) -> Iterator[Path]:
    """The files of the repository that the package holds."""
    for name in modules:
        folder = root / name
        yield from sorted(folder.glob("*.py")) if folder.is_dir() else [root / f"{name}.py"]
    yield from sorted((root / "filters" / "art").iterdir())
    for name in NETWORKS:
        yield from sorted(path for path in (root / "saved_models" / name).iterdir() if path.is_file())


def requirements(path: Path) -> list[str]:
    """The lines of a file of requirements, without comments."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


class Wheel(BuildHookInterface):
    """Adds the files of the package to the wheel."""

    folder = None

    def initialize(self, version: str, build_data: dict) -> None:
        """Called by hatchling before a wheel is built; version: 'standard' or 'editable'."""
        if version == "editable":
            return
        root = Path(self.root)
        clone = runpy.run_path(str(root / "facial_keypoints" / "clone.py"), run_name="clone")
        self.folder = Path(tempfile.mkdtemp())
        for path in package_files(root, clone["MODULES"]):
            name = path.relative_to(root)
            source = path
            if path.suffix == ".py":
                source = self.folder / name
                source.parent.mkdir(parents=True, exist_ok=True)
                source.write_text(clone["in_package"](path.read_text(encoding="utf-8")), encoding="utf-8")
            build_data["force_include"][str(source)] = f"{clone['PACKAGE']}/{name.as_posix()}"

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        """Called by hatchling when the wheel is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder)


class Requirements(MetadataHookInterface):
    """Takes the requirements of the package from the files that hold them."""

    def update(self, metadata: dict) -> None:
        """Called by hatchling with the table `project` of pyproject.toml."""
        root = Path(self.root)
        metadata["dependencies"] = requirements(root / "requirements-onnx.txt")
        by_name = {re.split(r"[<>=]", line)[0]: line for line in requirements(root / "requirements.txt")}
        metadata["optional-dependencies"] = {
            extra: [by_name[name] for name in names] for extra, names in EXTRAS.items()
        }
