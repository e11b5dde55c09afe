"""What `detect.py` was asked to look at: images, globs, folders, videos, cameras.

Folders are read as they are listed, so that any number of files fits into memory.
"""

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from data_files import IMAGE_SUFFIXES

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv")
CAMERA = re.compile(r"webcam:[0-9]+")
SORTED_AT_ONCE = 10_000


def is_video(name: str) -> bool:
    """Whether an input is a camera (webcam:0), a stream (rtsp://...) or a file that ends like a video."""
    return bool(CAMERA.fullmatch(name)) or "://" in name or Path(name).suffix.lower() in VIDEO_SUFFIXES


def expand_globs(inputs: Iterable[str]) -> tuple[list[str], list[str]]:
    """The inputs with each pattern (*, ?, [], **) replaced by what it matches, and patterns without a match.

    A name that exists is no pattern, whatever is in it.
    """
    names, unmatched = [], []
    for item in inputs:
        if not glob.has_magic(item) or os.path.lexists(item):
            names.append(item)
            continue
        matches = sorted(glob.glob(item, recursive=True))
        names += matches
        if not matches:
            unmatched.append(item)
    return names, unmatched


def list_images(
    inputs: Iterable[str], report: Callable[[str, str], None], *, skip_folder=None
) -> Iterator[str]:
    """Paths of images, lazily: of a folder the images below it (by their ending), else the input itself.

    report: called with an input and what is wrong with it. skip_folder: not entered, because results
        of earlier runs are there.
    """
    skipped = None if skip_folder is None else os.path.realpath(skip_folder)
    for item in inputs:
        if not os.path.isdir(item):
            yield item
            continue
        empty = True
        for path in _walk(item, report, skipped):
            empty = False
            yield path
        if empty:
            report(item, f"no image in this folder (files ending in {', '.join(IMAGE_SUFFIXES)})")


def _walk(folder: str, report: Callable[[str, str], None], skipped: str | None) -> Iterator[str]:
    """Images of a folder, then those of its folders; hidden ones and links to folders are left out."""
    folders = []
    try:
        with os.scandir(folder) as entries:
            for entry in _sorted_in_blocks(entries):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                    yield entry.path
    except OSError as error:
        report(folder, f"the folder cannot be read: {error.strerror}")
    for inner in folders:
        if os.path.realpath(inner) != skipped:
            yield from _walk(inner, report, skipped)


def _sorted_in_blocks(entries: Iterable[os.DirEntry]) -> Iterator[os.DirEntry]:
    """Sorted by name, except that a huge folder is sorted a block at a time to save memory."""
    entries = iter(entries)
    while block := list(islice(entries, SORTED_AT_ONCE)):
        yield from sorted(block, key=lambda entry: entry.name)


def common_base(inputs: Iterable[str]) -> Path:
    """The folder from which on paths of inputs are kept in the output: what all of them have in common.

    A folder counts itself, a file the folder that it is in.
    """
    folders = [
        os.path.abspath(item if os.path.isdir(item) else os.path.dirname(item) or ".") for item in inputs
    ]
    return Path(os.path.commonpath(folders) if folders else ".")
