"""The images: find them, or download them, check them and move them into place.

    python data_fetch.py                  # find or download, and print where
    python data_fetch.py --check          # also compare the pixels of every labelled image
    python data_fetch.py --data sample    # draw the synthetic sample

The search order is the KEYPOINTS_DATA environment variable, `data/` in the
repository, the download. `data/README.md` describes what is found there.
"""

import argparse
import csv
import hashlib
import os
import queue
import shutil
import struct
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm import tqdm

import sample_faces
from data_load import assign_splits, identity_of, read_keypoints_csv
from files import atomic_path, cv2, read_image, remove_leftovers

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

#: Tried in this order. In the second, the data are in <repository>-<commit>/data/.
SOURCES = (
    "https://s3.amazonaws.com/video.udacity-data.com/topher/2018/May/5aea1b91_train-test-data/train-test-data.zip",
    "https://github.com/udacity/P1_Facial_Keypoints/archive/6e55adc6bd032d9fb1ad41a4c3e68aae847cdf81.zip",
)

IMAGE_FOLDERS = ("training", "test")
CSV_FILES = tuple(f"{folder}_frames_keypoints.csv" for folder in IMAGE_FOLDERS)
#: In the order in which they are moved into place: data without the CSVs do not count as complete.
ENTRIES = (*IMAGE_FOLDERS, *CSV_FILES)

STAGING_PREFIX = ".staging-"
CHECKED = "checked"  # inside a staging folder: the tree, once it has passed every check

#: Limits of an archive: the public one has some 5800 images of well under 1 MB each.
MAX_MEMBERS, MAX_TOTAL_BYTES, MAX_FILE_BYTES = 20_000, 4 * 2**30, 64 * 2**20
MAX_DOWNLOAD_BYTES = 2 * 2**30

#: (height, width, SHA-256) as text, see `fingerprint`.
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


class DataError(RuntimeError):
    """Something is wrong with the data; the message says what, and what to do."""


class DataNotFoundError(DataError):
    """There are no data here, and none could be downloaded."""


class DamagedArchiveError(DataError):
    """The downloaded archive is cut short, altered, incomplete or unsafe."""


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
    stall_timeout: float = 10.0,
    progress: bool = True,
) -> DataLocation:
    """The folder of the data set, downloaded first if need be.

    KEYPOINTS_DATA goes before everything but force_sample: a folder (a relative
    path counts from the repository), or the word `sample`.

    download: False only looks.
    sample_ok: take the synthetic sample when no server answers within connect_timeout
        seconds (or none may be asked).
    force_sample: take the synthetic sample in any case.
    stall_timeout: give up when a server sends nothing for so many seconds. One that
        is slow but keeps sending may take as long as it needs.
    sources: URLs of archives; a bad archive or no answer makes it try the next.
    checksums: the table of the files that an archive must hold.

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
    folder = (REPOSITORY / os.path.expanduser(named)).resolve()
    problem = _list_problem(folder) if folder.is_dir() else "there is no such folder"
    if problem:
        raise DataNotFoundError(
            f"KEYPOINTS_DATA names {folder}, but {problem}. It must be a folder with training/, test/, "
            f"{' and '.join(CSV_FILES)} (a relative path counts from {REPOSITORY}), or the word `sample`; "
            "unset it to use data/ or the download."
        )
    return _location(folder, "environment")


def _location(folder: Path, source: Source) -> DataLocation:
    """The location of `folder`; its source is `sample` if it holds drawn faces, wherever it lies."""
    return DataLocation(folder, "sample" if sample_faces.is_sample(folder) else source)


def _draw_sample(data_folder: Path) -> DataLocation:
    return DataLocation(sample_faces.write_sample(data_folder / "sample"), "sample")


def _silent_and_alive(sources: tuple[str, ...], seconds: float) -> tuple[str, list[str]]:
    """(Reasons, sources to try): those that have answered or may still answer; none if no server did."""
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
        "the synthetic sample of drawn faces with `--data sample` (KEYPOINTS_DATA=sample)."
    )


# --- checking ----------------------------------------------------------------------------


def check_data(
    folder: Path, full: bool = False, checksums: Path | None = CHECKSUMS, progress: bool = False
) -> None:
    """Raise DataError unless `folder` holds the data.

    full: False reads both CSVs and looks for every file they list. True decodes every image and
        compares size and pixels with `checksums`.
    checksums: the table; None only decodes (other data, the sample).
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
    """The problem of the CSVs or of the files they list, or '' when all is there."""
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
    """The files that are missing, are no images or differ from `expected` (None: any image will do)."""
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


# --- installing ---------------------------------------------------------------------------


def install_archive(
    sources: Iterable[str],
    folder: Path,
    wanted: Iterable[str],
    find_problem: Callable[[Path], str],
    timeouts: tuple[float, float],
    progress: bool = True,
) -> None:
    """Put the `wanted` files into `folder` from the first source whose archive is good.

    wanted: relative paths, each in training/ or test/ or one of the two CSVs.
    find_problem: given the unpacked tree, says what is wrong with it; '' when it is good.
    timeouts: seconds to connect, and seconds in which a server may send nothing.
    Raises DamagedArchiveError if an archive came but none was good, DataNotFoundError if none came,
    or OSError (disk full). Then nothing is left behind in `folder`.
    """
    problems, damaged = [], False
    for url in sources:
        host = urlsplit(url).netloc
        try:
            _install_from(url, folder, wanted, find_problem, timeouts, progress)
            return
        except DamagedArchiveError as error:
            damaged = True
            problems.append(f"the archive of {host} is not the expected one: {error}")
        except DataNotFoundError as error:
            problems.append(f"{host} {error}")
    told = "; ".join(problems)
    if damaged:
        raise DamagedArchiveError(
            f"The data could not be downloaded: {told}. Nothing was kept; try again "
            "later, or set KEYPOINTS_DATA to a folder that holds the data."
        )
    raise DataNotFoundError(f"no server has the archive ({told})")


def _install_from(url: str, folder: Path, wanted, find_problem, timeouts, progress: bool) -> None:
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=folder))
    archive, tree = staging / "archive.zip", staging / "tree"
    try:
        _download(url, archive, timeouts, progress)
        for part in IMAGE_FOLDERS:
            (tree / part).mkdir(parents=True)
        for name, content in _contents(archive, wanted):
            (tree / name).write_bytes(content)
        archive.unlink()
        problem = find_problem(tree)
        if problem:
            raise DamagedArchiveError(problem)
        if hasattr(os, "sync"):  # after a power cut, a tree called checked must not be an empty one
            os.sync()
        os.rename(tree, staging / CHECKED)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _move_into_place(staging, folder)


def some(names: list[str]) -> str:
    """The first three names, and how many there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more ({len(names)} files)" if names[3:] else "")


# --- downloading -------------------------------------------------------------------------


def ask_servers(sources: tuple[str, ...], seconds: float) -> dict[str, str]:
    """URL -> '' when its server answers, anything at all, else why not; within `seconds` altogether.

    Returns as soon as the first source has answered; later ones may then be absent.
    All are asked at once and in threads, because neither a name look-up nor a host
    with many silent addresses keeps to the timeout of a single connection.
    """
    replies: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def ask(url: str) -> None:
        try:
            requests.head(url, timeout=seconds, allow_redirects=True).close()
            replies.put((url, ""))
        except requests.RequestException as error:
            replies.put((url, type(error).__name__))

    for url in sources:
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    deadline = time.monotonic() + seconds
    answers: dict[str, str] = {}
    while len(answers) < len(sources) and answers.get(sources[0]) != "":
        try:
            url, answer = replies.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return {url: answers.get(url, "silence") for url in sources}
        answers[url] = answer
    return answers


def _download(url: str, archive: Path, timeouts: tuple[float, float], progress: bool) -> None:
    """The answer to `url` as the file `archive`; an error that begins with a verb if there is none."""
    try:
        with requests.get(url, timeout=timeouts, stream=True) as response:
            response.raise_for_status()
            _save(response, archive, progress)
    except requests.HTTPError as error:
        raise DataNotFoundError(f"answers {error.response.status_code}") from error
    except requests.ConnectTimeout as error:
        raise DataNotFoundError("does not answer") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise DamagedArchiveError(f"it broke off or stood still ({type(error).__name__})") from error


def _save(response: requests.Response, archive: Path, progress: bool) -> None:
    announced = response.headers.get("Content-Length", "")
    total = int(announced) if announced.isdecimal() else None
    received = 0
    with (
        open(archive, "wb") as file,
        tqdm(total=total, desc="downloading", unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        for chunk in response.iter_content(2**16):
            received += len(chunk)
            if received > MAX_DOWNLOAD_BYTES:
                raise DamagedArchiveError(f"it has more than {MAX_DOWNLOAD_BYTES / 2**30:g} GiB")
            file.write(chunk)
            bar.update(len(chunk))


# --- unpacking ---------------------------------------------------------------------------


def _contents(archive: Path, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """(relative path, bytes) of the wanted members; DamagedArchiveError for whatever is wrong inside."""
    name = "the file"
    damage = zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OSError
    try:
        with zipfile.ZipFile(archive) as bundle:
            for name, info in _members(bundle, wanted).items():
                with bundle.open(info) as stream:
                    content = stream.read(info.file_size)  # no more than was announced
                yield name, content
    except damage as error:
        raise DamagedArchiveError(f"{name} cannot be unpacked ({error})") from error


def _members(bundle: zipfile.ZipFile, wanted: Iterable[str]) -> dict[str, zipfile.ZipInfo]:
    """Wanted path -> its member, below whichever folder of the archive holds most of them."""
    wanted = sorted(wanted)
    files = _files_by_path(bundle)
    root = _find_root(files, set(wanted))
    missing = [name for name in wanted if root + name not in files]
    if missing:
        raise DamagedArchiveError(f"it lacks {some(missing)}")
    members = {name: files[root + name] for name in wanted}
    big = [name for name, info in members.items() if info.file_size > MAX_FILE_BYTES]
    if big:
        raise DamagedArchiveError(f"{some(big)} would take more than {MAX_FILE_BYTES // 2**20} MiB")
    return members


def _files_by_path(bundle: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = bundle.infolist()
    if len(infos) > MAX_MEMBERS or sum(info.file_size for info in infos) > MAX_TOTAL_BYTES:
        raise DamagedArchiveError(f"it holds more than {MAX_MEMBERS} files or {MAX_TOTAL_BYTES // 2**30} GiB")
    files = {}
    for info in infos:
        path = str(_safe_path(info.filename))
        if path in files:
            raise DamagedArchiveError(f"it holds {path} twice")
        if not info.is_dir():
            files[path] = info
    return files


def _find_root(files: Iterable[str], wanted: set[str]) -> str:
    """The enclosing folder with a slash after it, or '': GitHub's archives have one, the other has none."""
    roots: Counter[str] = Counter()
    for path in map(PurePosixPath, files):
        for tail in (path.name, f"{path.parent.name}/{path.name}"):
            if tail in wanted:
                roots[str(path)[: -len(tail)]] += 1
    return roots.most_common(1)[0][0] if roots else ""


def _safe_path(name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
        raise DamagedArchiveError(f"its member {name!r} points outside the folder it is unpacked into")
    return path


# --- moving into place -------------------------------------------------------------------


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Only one process works on `folder`; the system lets go of the lock when a process dies.

    Windows cannot lock a folder: two downloads at once are not kept apart there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if os.name == "nt":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def leftovers(folder: Path) -> list[Path]:
    """Staging folders in `folder`: of an interrupted call, or of one that is running."""
    return sorted(folder.glob(STAGING_PREFIX + "*"))


def tidy(folder: Path) -> None:
    """Finish the move of a checked tree that was interrupted, delete anything less; needs the lock."""
    for staging in leftovers(folder):
        if (staging / CHECKED).is_dir():
            _move_into_place(staging, folder)
        else:
            shutil.rmtree(staging)
    remove_leftovers(folder)


def _move_into_place(staging: Path, folder: Path) -> None:
    """Move the checked entries into `folder`, the CSVs last. Older entries of these names are kept aside."""
    aside = folder / staging.name.replace(STAGING_PREFIX, "set-aside-")
    for entry in ENTRIES:
        new, target = staging / CHECKED / entry, folder / entry
        if not new.exists():
            continue  # moved before the interruption
        if os.path.lexists(target):
            aside.mkdir(exist_ok=True)
            os.replace(target, aside / entry)
            print(f"{target} was incomplete or belonged to incomplete data: now in {aside}.", file=sys.stderr)
        os.replace(new, target)
    shutil.rmtree(staging)


# --- the committed tables ------------------------------------------------------------------


def read_checksums(file: Path) -> dict[str, Fingerprint]:
    """Relative path -> `fingerprint`, from a table of path, height, width, sha256."""
    with open(file, newline="", encoding="utf-8") as stream:
        return {row["path"]: (row["height"], row["width"], row["sha256"]) for row in csv.DictReader(stream)}


def write_checksums(folder: Path, target_folder: Path = DATA_FOLDER) -> None:
    """Write checksums.csv and splits.csv of the labelled images in `folder`."""
    folder = Path(folder)
    names = sorted(_listed(folder))
    checksums = [(name, *fingerprint(folder / name)) for name in [*CSV_FILES, *names]]
    _write_csv(target_folder / "checksums.csv", ("path", "height", "width", "sha256"), checksums)
    splits = assign_splits(map(identity_of, names))
    digests = [hashlib.sha256(identity.encode()).hexdigest() for identity in splits["identity"]]
    splits.insert(1, "sha256", digests)
    _write_csv(target_folder / "splits.csv", splits.columns, splits.itertuples(index=False))


def _write_csv(target: Path, header: Iterable[str], rows: Iterable[tuple]) -> None:
    with atomic_path(target) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


# --- command line ------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Find, check or tabulate the data. Returns the exit code."""
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
