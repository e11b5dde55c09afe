"""What a run over many images has found so far, on disk, so that it can be stopped and continued.

`resume_log.jsonl` begins with a line of settings; then each image is one line of JSON, in
the form of `detector.results.to_plain`. Lines are written whole and flushed to disk; a
last line that was cut off by a crash is dropped, and its image done again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from detector.results import ImageFaces, from_dict, to_dict

RESUME_LOG_FILE = "resume_log.jsonl"
SETTINGS, FINISHED = "settings", "finished"


class ResumeLogError(ValueError):
    """A journal that is in the way, damaged, or of another run."""


class SeenPaths:
    """Which paths there were already, in 8 bytes each (a million fit into 8 MB).

    Paths are compared by a 64-bit hash of the absolute path: among a million, the chance
    that any two are mistaken for each other is 3 in 100 million.
    """

    MERGE_AT = 2**16

    def __init__(self):
        self._sorted = np.empty(0, dtype=np.uint64)
        self._recent: set[int] = set()

    def add(self, path: str) -> bool:
        """Remember a path; False if it was there already."""
        digest = hashlib.blake2b(os.fsencode(os.path.abspath(path)), digest_size=8).digest()
        key = int.from_bytes(digest, "little")
        place = int(np.searchsorted(self._sorted, np.uint64(key)))
        known = place < len(self._sorted) and int(self._sorted[place]) == key
        if known or key in self._recent:
            return False
        self._recent.add(key)
        if len(self._recent) >= self.MERGE_AT:
            recent = np.fromiter(self._recent, dtype=np.uint64)
            self._sorted = np.sort(np.concatenate([self._sorted, recent]))
            self._recent.clear()
        return True


class ResumeLog:
    """The journal of one output folder; iterate over it for all results, as often as needed.

    images, faces, errors: how many there are so far. seen: the paths that are done.
    """

    def __init__(self, folder, settings: dict, *, resume: bool = False):
        """Begin a run, or with `resume` go on with the one in the folder, if there is one.

        settings: what the results depend on (JSON values). Raises ResumeLogError where an
        unfinished run would be overwritten, or the settings differ from those it began with.
        """
        self.path = Path(folder) / RESUME_LOG_FILE
        self.images = self.faces = self.errors = 0
        self.seen = SeenPaths()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        end = self._read(settings, resume) if self.path.exists() else 0
        self._file: BinaryIO = self.path.open("r+b" if end else "wb")
        self._file.truncate(end)
        self._file.seek(end)
        if not end:
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
        """Note that everything was looked at, so that the next run may begin anew."""
        self._write([{FINISHED: self.images}])

    def pending(self, paths: Iterable[str]) -> Iterator[str]:
        """The paths that are not done yet, each once."""
        return (path for path in paths if self.seen.add(path))

    def __iter__(self) -> Iterator[ImageFaces]:
        with self.path.open("rb") as file:
            for line in file:
                if line.startswith(_start_of_line("image")):
                    yield from_dict(json.loads(line))

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

    def _read(self, settings: dict, resume: bool) -> int:
        """What an earlier run left; returns where its last whole line ends, or 0 to begin anew."""
        end, last, before = 0, b"", None
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    before = self._first(line)
                if not line.endswith(b"\n"):
                    break
                if resume and number > 1:
                    self._take(line, number)
                end, last = end + len(line), line
        empty = before is None or last.startswith(_start_of_line(SETTINGS))  # nothing to lose
        if empty or (not resume and last.startswith(_start_of_line(FINISHED))):
            return 0
        self._check(settings, before, resume)
        return end

    def _first(self, line: bytes) -> dict | None:
        """The settings in the first line; None where not even that was written whole."""
        start = _start_of_line(SETTINGS)
        if not line.startswith(start[: len(line)]):
            raise ResumeLogError(
                f"{self.path} is not the journal of a run; name another folder, or remove it"
            )
        return self._parse(line, 1)[SETTINGS] if line.endswith(b"\n") else None

    def _parse(self, line: bytes, number: int) -> dict:
        try:
            return json.loads(line)
        except ValueError as error:
            raise self._damage(number, error) from error

    def _damage(self, number: int, what) -> ResumeLogError:
        return ResumeLogError(f"{self.path}, line {number} is damaged: {what}; remove the file to start over")

    def _take(self, line: bytes, number: int) -> None:
        if line.startswith(_start_of_line(FINISHED)):
            return
        values = self._parse(line, number)
        try:
            image = from_dict(values)
        except ValueError as error:
            raise self._damage(number, error) from error
        if not self.seen.add(image.image):
            raise self._damage(number, f"{image.image} is there twice")
        self._count(image)

    def _check(self, settings: dict, before: dict, resume: bool) -> None:
        if not resume:
            raise ResumeLogError(
                f"{self.path} is of a run that was not finished; go on with it by --resume, remove it, "
                "or name another folder with --output"
            )
        different = [key for key in {**before, **settings} if before.get(key) != settings.get(key)]
        if different:
            was = "; ".join(f"{key} was {before.get(key)!r}, is {settings.get(key)!r}" for key in different)
            raise ResumeLogError(
                f"{self.path} is of another run ({was}); repeat its line, or use another --output"
            )


def _start_of_line(key: str) -> bytes:
    return f'{{"{key}": '.encode()
