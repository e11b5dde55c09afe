"""Where the images are: find them, or download, check and move them into place.

    python data_fetch.py                  # find or download, and print where
    python data_fetch.py --check          # also compare the pixels of every labelled image
    python data_fetch.py --data sample    # draw the embedded sample

The search order is the KEYPOINTS_DATA environment variable, `data/` in the
repository, the download. `data/README.md` describes what is found there.
"""

import argparse
import csv
import hashlib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from tqdm import tqdm

from data_archive import (
    CSV_FILES,
    IMAGE_FOLDERS,
    SOURCES,
    DamagedArchiveError,
    DataError,
    DataNotFoundError,
    ask_servers,
    install_archive,
    leftovers,
    one_at_a_time,
    some,
    tidy,
)
from data_files import read_image, read_keypoints_csv
from opencv import cv2

__all__ = [
    "DamagedArchiveError",
    "DataError",
    "DataLocation",
    "DataNotFoundError",
    "check_data",
    "data_checksum",
    "find_data",
]

REPOSITORY = Path(__file__).resolve().parent
DATA_FOLDER = REPOSITORY / "data"
CHECKSUMS = DATA_FOLDER / "checksums.csv"

Fingerprint = tuple[str, str, str]
Source = Literal["environment", "repository", "download", "sample"]


@dataclass(frozen=True)
class DataLocation:
    """A folder with training/, test/ and their two CSVs, and how it was found.

    `environment` means named by KEYPOINTS_DATA; `sample` means drawn faces, which
    are good for trying the code and not for results.
    """

    folder: Path
    source: Source

    @property
    def is_sample(self) -> bool:
        return self.source == "sample"


# --- finding -----------------------------------------------------------------------------


def find_data(
    download: bool = True,
    sample_ok: bool = False,
    *,
    force_sample: bool = False,
    data_folder: Path = DATA_FOLDER,
    sources: Iterable[str] = SOURCES,
    checksums: Path = CHECKSUMS,
    connect_timeout: float = 10.0,
    stall_timeout: float = 60.0,
    progress: bool = True,
) -> DataLocation:
    """The folder of the data set, downloaded first if need be.

    KEYPOINTS_DATA goes before everything but force_sample: a folder (a relative
    path counts from the repository), or the word `sample`.

    download: False only looks.
    sample_ok: take the embedded sample when no server answers within connect_timeout
        seconds (or none may be asked).
    force_sample: take the embedded sample, whatever there is.
    stall_timeout: give up when a server sends nothing for so many seconds. One that
        is slow but keeps sending may take as long as it needs.
    sources, checksums: URLs of archives, and the table of what they must hold.

    Raises DataNotFoundError (also for a wrong KEYPOINTS_DATA), DamagedArchiveError,
    which the sample never hides, or DataError when the disk cannot be written.
    """
    named = os.environ.get("KEYPOINTS_DATA", "").strip()
    force_sample = force_sample or named == "sample"
    if named and not force_sample:
        return _named_folder(named)
    data_folder, sources = Path(data_folder), tuple(sources)
    if not force_sample and not leftovers(data_folder) and not _list_problem(data_folder):
        return _location(data_folder, "repository")
    try:
        with one_at_a_time(data_folder):
            tidy(data_folder)
            if force_sample:
                return _draw_sample(data_folder)
            missing = _list_problem(data_folder)
            if not missing:  # another process, or the unfinished move of an earlier one
                return _location(data_folder, "repository")
            silent, alive = _silent_and_alive(sources, connect_timeout) if download else ("not asked", ())
            if not alive and sample_ok:
                return _draw_sample(data_folder)
            if not alive:
                raise _not_found(data_folder, missing, f"no server could be reached ({silent})")
            _install(data_folder, alive, checksums, (connect_timeout, stall_timeout), progress)
    except OSError as error:
        raise DataError(
            f"The data could not be put into {data_folder}: {error}. Check the permissions of that folder "
            "and the free space (about 1 GB), or set KEYPOINTS_DATA to a folder that already holds the data."
        ) from error
    return DataLocation(data_folder, "download")


def _named_folder(named: str) -> DataLocation:
    folder = (REPOSITORY / Path(named).expanduser()).resolve()
    problem = _list_problem(folder) if folder.is_dir() else "there is no such folder"
    if problem:
        raise DataNotFoundError(
            f"KEYPOINTS_DATA names {folder}, but {problem}. It must be a folder with training/, test/, "
            f"{' and '.join(CSV_FILES)} (a relative path counts from {REPOSITORY}), or the word `sample`; "
            "unset it to use data/ or the download."
        )
    return _location(folder, "environment")


def _location(folder: Path, source: Source) -> DataLocation:
    """Drawn faces are called a sample wherever they lie."""
    from sample_faces import is_sample

    return DataLocation(folder, "sample" if is_sample(folder) else source)


def _draw_sample(data_folder: Path) -> DataLocation:
    from sample_faces import write_sample

    return DataLocation(write_sample(data_folder / "sample"), "sample")


def _silent_and_alive(sources: tuple[str, ...], seconds: float) -> tuple[str, list[str]]:
    """Why nobody answered, or the sources to try: those that have answered, and those not heard of yet."""
    answers = ask_servers(sources, seconds)
    reasons = "; ".join(f"{urlsplit(url).netloc}: {answer}" for url, answer in answers.items())
    alive = [url for url in sources if not answers.get(url)] if "" in answers.values() else []
    return f"{reasons}, within {seconds:g} s", alive


def _install(folder: Path, sources: list[str], checksums: Path, timeouts, progress: bool) -> None:
    expected = read_checksums(checksums)

    def find_problem(tree: Path) -> str:
        return _pixel_problem(tree, expected, progress) or _list_problem(tree)

    try:
        install_archive(sources, folder, expected, find_problem, timeouts, progress)
    except DataNotFoundError as error:
        raise _not_found(folder, "nothing is complete", str(error)) from error


def _not_found(data_folder: Path, missing: str, tried: str) -> DataNotFoundError:
    return DataNotFoundError(
        f"There are no data: in {data_folder}, {missing}; {tried}. Set KEYPOINTS_DATA to a folder that has "
        f"them, or unpack {SOURCES[0]} into {data_folder}, or connect to the internet and try again, or take "
        "the embedded sample of drawn faces with `--data sample` (KEYPOINTS_DATA=sample)."
    )


# --- checking ----------------------------------------------------------------------------


def check_data(
    folder: Path, full: bool = False, checksums: Path | None = CHECKSUMS, progress: bool = False
) -> None:
    """Raise DataError unless `folder` holds the data.

    The quick check reads both CSVs and looks for every file they list. The full
    one decodes every image and compares size and pixels with `checksums`; with
    checksums=None (data of one's own, the sample) it only decodes.
    """
    folder = Path(folder)
    problem = _list_problem(folder)
    if not problem and full:
        expected = read_checksums(checksums) if checksums else dict.fromkeys(_listed(folder))
        problem = _pixel_problem(folder, expected, progress)
    if problem:
        raise DataError(f"The data in {folder} are not right: {problem}. Remove them and fetch them anew.")


def data_checksum(folder: Path) -> str:
    """16 hex digits that tell data sets apart: a digest over both CSVs (names and keypoints)."""
    digests = "".join(fingerprint(Path(folder) / name)[2] for name in CSV_FILES)
    return hashlib.sha256(digests.encode()).hexdigest()[:16]


def fingerprint(path: Path) -> Fingerprint:
    """(height, width, SHA-256) of an image's decoded RGB bytes in C order; ('', '', SHA-256) of a CSV.

    Neither the container (PNG, lossless WebP) nor a CSV's line ends make a difference.
    """
    if path.suffix == ".csv":
        return "", "", hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
    image = read_image(path)
    return str(image.shape[0]), str(image.shape[1]), hashlib.sha256(image.tobytes()).hexdigest()


def _names(folder: Path, part: str) -> list[str]:
    return read_keypoints_csv(folder / f"{part}_frames_keypoints.csv")[0]


def _listed(folder: Path) -> list[str]:
    return [f"{part}/{name}" for part in IMAGE_FOLDERS for name in _names(folder, part)]


def _list_problem(folder: Path) -> str:
    """What is wrong with the CSVs or missing of the files they list, or '' when all is there."""
    absent = [name for name in CSV_FILES if not (folder / name).is_file()]
    if absent:
        return f"{some(absent)} cannot be found"
    for part in IMAGE_FOLDERS:
        try:
            names = _names(folder, part)
        except ValueError as error:
            return str(error)
        if not names:
            return f"{part}_frames_keypoints.csv lists no image"
        present = set(os.listdir(folder / part)) if (folder / part).is_dir() else set()
        absent += [f"{part}/{name}" for name in names if name not in present]
    return f"{some(absent)} cannot be found, though the CSVs list them" if absent else ""


def _pixel_problem(folder: Path, expected: Mapping[str, Fingerprint | None], progress: bool) -> str:
    """Which files are missing, are no images or differ from `expected` (None: any image will do)."""
    absent, different = [], []
    for name in tqdm(expected, desc="checking", unit="file", leave=False, disable=not progress):
        try:
            found = fingerprint(folder / name)
        except FileNotFoundError:
            absent.append(name)
        except (ValueError, cv2.error):
            different.append(f"{name} (no image)")
        else:
            if expected[name] not in (None, found):
                different.append(name)
    problems = [f"{some(absent)} cannot be found"] if absent else []
    problems += [f"not as in the original data set: {some(different)}"] if different else []
    return "; ".join(problems)


# --- the committed tables ------------------------------------------------------------------


def read_checksums(file: Path) -> dict[str, Fingerprint]:
    """Relative path -> `fingerprint`, from a table of path, height, width, sha256."""
    with open(file, newline="", encoding="utf-8") as stream:
        return {row["path"]: (row["height"], row["width"], row["sha256"]) for row in csv.DictReader(stream)}


def write_checksums(folder: Path, target_folder: Path = DATA_FOLDER) -> None:
    """Write checksums.csv and splits.csv of the labelled images in `folder`."""
    from data_load import assign_splits, identity_of  # needs PyTorch, finding data does not

    folder = Path(folder)
    names = sorted(_listed(folder))
    checksums = [(name, *fingerprint(folder / name)) for name in [*CSV_FILES, *names]]
    _write_csv(target_folder / "checksums.csv", ("path", "height", "width", "sha256"), checksums)
    splits = assign_splits(map(identity_of, names))
    digests = [hashlib.sha256(identity.encode()).hexdigest() for identity in splits["identity"]]
    splits.insert(1, "sha256", digests)
    _write_csv(target_folder / "splits.csv", splits.columns, splits.itertuples(index=False))


def _write_csv(target: Path, header: Iterable[str], rows: Iterable[tuple]) -> None:
    beside = target.with_name(target.name + ".new")
    with open(beside, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    os.replace(beside, target)


# --- command line ------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Find, check or tabulate the data, and return the exit code."""
    parser = argparse.ArgumentParser(description="Find the data set, or download it, and say where it is.")
    parser.add_argument("--data", choices=("real", "sample"), default="real", help="sample: drawn faces")
    parser.add_argument("--check", action="store_true", help="compare the pixels of every labelled image")
    parser.add_argument("--write-checksums", metavar="FOLDER", help="renew the committed tables from FOLDER")
    options = parser.parse_args(arguments)
    try:
        if options.write_checksums:
            write_checksums(options.write_checksums)
            return 0
        location = find_data(force_sample=options.data == "sample")
        print(f"{location.folder} ({location.source})")
        if options.check:
            checksums = None if location.is_sample else CHECKSUMS
            check_data(location.folder, full=True, checksums=checksums, progress=True)
            print("Every labelled image is as it should be.")
    except (DataError, OSError, ValueError) as error:
        print(f"data_fetch.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
