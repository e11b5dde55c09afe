"""The resume log: what a run of detect.py has done so far, on disk, so that it can be stopped and continued.

`resume_log.jsonl` begins with a line of settings. Each image is one line of JSON, in the form of
`detector.results.to_dict`; further lines name the files that the run has written and its videos.
Lines are written whole and flushed to disk. A line that was cut off or damaged is dropped, and its
image is done again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from detector.outputs import TakenError, clear_leftovers, files_below, is_regular_file, output_path
from detector.results import ImageFaces, from_dict, to_dict
from files import atomic_path

RESUME_LOG_FILE = "resume_log.jsonl"
SETTINGS, FINISHED, WRITES, VIDEO_BEGUN, VIDEO = "settings", "finished", "writes", "video_begun", "video"


class ResumeLogError(ValueError):
    """A resume log that is in the way, or of another run."""


class SeenPaths:
    """A set of paths in 8 bytes each (a million fit into 8 MB).

    Paths are compared by a 64-bit hash of the absolute path: among a million, the chance
    that any two are mistaken for each other is 3 in 100 million.
    """

    MERGE_AT = 2**16

    def __init__(self):
        self._sorted = np.empty(0, dtype=np.uint64)
        self._recent: set[int] = set()

    def __contains__(self, path: str) -> bool:
        return self._has(_hash_of(path))

    def add(self, path: str) -> bool:
        """Remember a path; False if it was there already."""
        key = _hash_of(path)
        if self._has(key):
            return False
        self._recent.add(key)
        if len(self._recent) >= self.MERGE_AT:
            recent = np.fromiter(self._recent, dtype=np.uint64)
            self._sorted = np.sort(np.concatenate([self._sorted, recent]))
            self._recent.clear()
        return True

    def _has(self, key: int) -> bool:
        place = int(np.searchsorted(self._sorted, np.uint64(key)))
        return key in self._recent or (place < len(self._sorted) and int(self._sorted[place]) == key)


def _hash_of(path: str) -> int:
    digest = hashlib.blake2b(os.fsencode(os.path.abspath(path)), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class ResumeLog:
    """The log of one output folder; iterate over it for the results of all images, as often as needed.

    images, faces, errors: how many there are so far. seen: the images that are done. written: the files
    that the run has written or was about to write. videos: {name: fingerprint of the file} of the videos
    that are done. begun: the videos that were begun. damaged: lines that an earlier run left damaged.
    """

    def __init__(self, folder, settings: dict, *, resume: bool = False, overwrite: bool = False):
        """Begin a run, or with `resume` go on with the one in the folder, if there is one.

        settings: what the results depend on (JSON values). overwrite: remove the files that an earlier
        run has written, by its log, and begin anew.
        Call it while the lock of the folder is held.
        Raises ResumeLogError for an earlier run without `resume` and `overwrite`, and for settings that
        differ from those that the run began with.
        """
        self.folder = Path(folder)
        self.path = output_path(self.folder, RESUME_LOG_FILE)
        self.images = self.faces = self.errors = self.damaged = 0
        self.seen, self.written = SeenPaths(), SeenPaths()
        self.videos: dict[str, dict] = {}
        self.begun: set[str] = set()
        self.folder.mkdir(parents=True, exist_ok=True)
        goes_on = False
        if os.path.lexists(self.path):
            before, empty, finished = self._read_ends()
            clear_leftovers(self.folder)
            if empty:
                pass
            elif overwrite:
                self._remove_written()
            elif resume:
                self._check(settings, before)
                self._take_up()
                goes_on = True
            else:
                raise ResumeLogError(self._in_the_way(finished))
        self._file: BinaryIO = self.path.open("r+b" if os.path.lexists(self.path) else "xb")
        if goes_on:
            self._file.seek(0, os.SEEK_END)
        else:
            self._file.truncate(0)
            self._write([{SETTINGS: settings}])

    def __enter__(self) -> "ResumeLog":
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    def add(self, found: Iterable[ImageFaces]) -> None:
        """Append results; when this returns, they are on disk."""
        found = list(found)
        self._write([to_dict(image) for image in found])
        for image in found:
            self._count(image)

    def finish(self) -> None:
        """Note that everything was done."""
        self._write([{FINISHED: self.images}])

    def pending(self, paths: Iterable[str]) -> Iterator[str]:
        """The paths that are not done yet, each once."""
        return (path for path in paths if self.seen.add(path))

    def __iter__(self) -> Iterator[ImageFaces]:
        with self.path.open("rb") as file:
            for line in file:
                if line.startswith(_start_of_line("image")):
                    yield from_dict(json.loads(line))

    # --- files that the run writes ---------------------------------------------------------

    def is_written(self, path) -> bool:
        """True for a file that this run has written."""
        return os.fspath(path) in self.written

    def claim(self, names: Iterable[str]) -> None:
        """Note on disk that these files (relative to the folder) are about to be written by this run.

        Raises TakenError for a name at which there is something that this run has not written; then
        none of the names is noted.
        """
        names = list(names)
        for name in names:
            self.check_free(name)
        if new := [name for name in names if self.written.add(os.fspath(self.folder / name))]:
            self._write([{WRITES: new}])

    def check_free(self, name: str, *, folder: bool = False) -> None:
        """Raises TakenError if something that this run has not written is where a result will be.

        folder: the result is a folder of files; one that is there may hold what this run has written.
        """
        path = output_path(self.folder, name)
        if not os.path.lexists(path):
            return
        taken: Path | None = path
        if folder and path.is_dir() and not path.is_symlink():
            taken = next((file for file in files_below(path) if not self.is_written(file)), None)
        elif not folder and self.is_written(path) and is_regular_file(path):
            taken = None
        if taken is not None:
            raise TakenError(
                f"{taken} is there already and was not written by this run; move it, or name another folder "
                "with --output"
            )

    def begin_video(self, name: str) -> None:
        """Note that a video is being done."""
        self._write([{VIDEO_BEGUN: name}])

    def end_video(self, name: str, fingerprint: dict) -> None:
        """Note that a video is done. fingerprint: JSON values by which a changed file is noticed."""
        self._write([{VIDEO: name, "fingerprint": fingerprint}])
        self.videos[name] = fingerprint

    def _write(self, lines: list[dict]) -> None:
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        self._file.write(text.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _count(self, image: ImageFaces) -> None:
        self.images += 1
        self.faces += len(image.faces)
        self.errors += bool(image.error)

    # --- an earlier run ------------------------------------------------------------------

    def _read_ends(self) -> tuple[dict, bool, bool]:
        """The settings of the earlier run, true if it has done nothing yet, and true if it was finished."""
        if not is_regular_file(self.path):
            raise ResumeLogError(f"{self.path} is not a file, so no resume log can be kept there; move it")
        with self.path.open("rb") as file:
            first, second, last = file.readline(), b"", b""
            for line in file:
                second, last = second or line, line
        start = _start_of_line(SETTINGS)
        if not first.startswith(start[: len(first)]):
            raise ResumeLogError(
                f"{self.path} is not the resume log of a run, or its first line is damaged; name another "
                "folder with --output, or move it"
            )
        before = None
        if first.endswith(b"\n"):
            with suppress(ValueError):
                before = json.loads(first)[SETTINGS]
            if not isinstance(before, dict):
                raise ResumeLogError(
                    f"{self.path}: the first line, which holds the settings, is damaged; name another folder "
                    "with --output, or move the file"
                )
        empty = before is None or not second.endswith(b"\n") or second.startswith(_start_of_line(FINISHED))
        return before or {}, empty, last.startswith(_start_of_line(FINISHED))

    def _lines(self) -> Iterator[tuple[bytes, dict | None]]:
        """Each line after the first with what it holds; None for a damaged one."""
        with self.path.open("rb") as file:
            next(file)
            for line in file:
                try:
                    values = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    values = None
                yield line, values if isinstance(values, dict) else None

    def _take_up(self) -> None:
        """Take over the whole lines of the earlier run, and remove the others from the log."""
        dropped, torn = set(), False
        for number, (line, values) in enumerate(self._lines()):
            if not self._take(values):
                dropped.add(number)
                torn = not line.endswith(b"\n")  # the last one, which was being written when the run ended
        self.damaged = len(dropped) - torn
        if dropped:
            with atomic_path(self.path) as temporary, temporary.open("wb") as file:
                with self.path.open("rb") as before:
                    file.write(next(before))
                file.writelines(line for n, (line, _) in enumerate(self._lines()) if n not in dropped)
                file.flush()
                os.fsync(file.fileno())

    def _take(self, values: dict | None) -> bool:
        """Take over one line; False if it is damaged."""
        if values is None:
            return False
        try:
            if "image" in values:
                image = from_dict(values)
                if not self.seen.add(image.image):
                    return False
                self._count(image)
            elif WRITES in values:
                for name in values[WRITES]:
                    self.written.add(os.fspath(self.folder / name))
            elif VIDEO_BEGUN in values:
                self.begun.add(str(values[VIDEO_BEGUN]))
            elif VIDEO in values:
                self.videos[str(values[VIDEO])] = dict(values["fingerprint"])
            else:
                return FINISHED in values
        except (ValueError, TypeError, KeyError):
            return False
        return True

    def _remove_written(self) -> None:
        """Remove the files that the earlier run has written, and the folders that are empty then."""
        for _, values in self._lines():
            names = values.get(WRITES) if values else None
            for name in names if isinstance(names, list) else []:
                with suppress(ValueError, TypeError, OSError):
                    path = output_path(self.folder, name)
                    if is_regular_file(path):
                        path.unlink()
                    for parent in list(path.parents)[: len(Path(name).parts) - 1]:
                        parent.rmdir()

    def _in_the_way(self, finished: bool) -> str:
        what = "the results of an earlier run" if finished else "a run that was not finished"
        return (
            f"{self.folder} holds {what}: --resume goes on with it, --overwrite removes what it has written "
            "and begins anew, --output names another folder"
        )

    def _check(self, settings: dict, before: dict) -> None:
        different = [key for key in {**before, **settings} if before.get(key) != settings.get(key)]
        if different:
            was = "; ".join(f"{key} was {before.get(key)!r}, is {settings.get(key)!r}" for key in different)
            raise ResumeLogError(
                f"{self.path} is of another run ({was}); repeat its line, or use another --output"
            )


def _start_of_line(key: str) -> bytes:
    return f'{{"{key}": '.encode()
