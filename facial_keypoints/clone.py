"""In a clone, `facial_keypoints.models` is the file models.py at the root, loaded under that name.

The modules import each other by the names that they have at the root (`from landmarks import ...`). A project
that uses them may have a models.py of its own, so as parts of the package they have to import
`facial_keypoints.landmarks`. `in_package` changes the lines with these imports: in a clone when a module is
loaded, by importing this module, and for a wheel when it is built (tools/package.py). What is installed is
therefore plain Python, and does not hold this file.
"""

import importlib.util
import re
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "facial_keypoints"
#: What the package consists of: all that detection, videos, analysis and filters need.
MODULES = (
    "landmarks", "files", "geometry", "sample_faces", "heads", "models", "checkpoint", "detector", "video",
    "analysis", "filters", "detect",
)  # fmt: skip
FROM = re.compile(rf"^([ \t]*)from ((?:{'|'.join(MODULES)})(?:\.\w+)*) import ", re.MULTILINE)
IMPORT = re.compile(rf"^([ \t]*)import ({'|'.join(MODULES)})$", re.MULTILINE)


def in_package(source: str) -> str:
    """The source of a module with its imports of MODULES as imports of PACKAGE; lines keep their numbers."""
    source = FROM.sub(rf"\1from {PACKAGE}.\2 import ", source)
    return IMPORT.sub(rf"\1from {PACKAGE} import \2", source)


class _Loader(SourceFileLoader):
    """Loads a file of the root as a module of the package."""

    def source_to_code(self, data, path, *more, **options):
        """The code of a module, from its bytes."""
        return super().source_to_code(in_package(importlib.util.decode_source(data)), path, *more, **options)

    def path_stats(self, path):
        """Raises OSError: the bytecode in __pycache__ is that of the module at the root."""
        raise OSError("no bytecode")


class _Finder:
    @staticmethod
    def find_spec(name: str, path=None, target=None) -> ModuleSpec | None:
        """The file at the root that `facial_keypoints.NAME` stands for."""
        package, *parts = name.split(".")
        if package != PACKAGE or not parts or parts[0] not in MODULES:
            return None
        place = ROOT.joinpath(*parts)
        is_folder = (place / "__init__.py").is_file()
        file = place / "__init__.py" if is_folder else place.with_suffix(".py")
        if not file.is_file():
            return None
        loader, inside = _Loader(name, str(file)), [str(place)] if is_folder else None
        return importlib.util.spec_from_file_location(
            name, file, loader=loader, submodule_search_locations=inside
        )


sys.meta_path.insert(0, _Finder)  # before the one that would find the files in our folders
