"""The public archive: download, unpack, check and move into place, all or nothing.

`data_fetch.find_data` is the way in. Nothing an archive says is trusted: only
files named in checksums.csv are unpacked, and nothing reaches the data folder
before all of them have passed the check.
"""

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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import urlsplit

import pooch
import requests

#: Tried in this order. In the second, the data are in <repository>-<commit>/data/.
SOURCES = (
    "https://s3.amazonaws.com/video.udacity-data.com/topher/2018/May/5aea1b91_train-test-data/train-test-data.zip",
    "https://github.com/udacity/P1_Facial_Keypoints/archive/6e55adc6bd032d9fb1ad41a4c3e68aae847cdf81.zip",
)

IMAGE_FOLDERS = ("training", "test")
CSV_FILES = tuple(f"{folder}_frames_keypoints.csv" for folder in IMAGE_FOLDERS)
#: In the order in which they are moved into place: without the CSVs nothing counts as complete.
ENTRIES = (*IMAGE_FOLDERS, *CSV_FILES)

STAGING_PREFIX = ".staging-"
CHECKED = "checked"  # inside a staging folder: the tree, once it has passed every check

#: Limits of an archive: the public one has some 5800 images of well under 1 MB each.
MAX_MEMBERS, MAX_TOTAL_BYTES, MAX_FILE_BYTES = 20_000, 4 * 2**30, 64 * 2**20


class DataError(Exception):
    """Something is wrong with the data; the message says what, and what to do."""


class DataNotFoundError(DataError):
    """There are no data here, and none could be downloaded."""


class DamagedArchiveError(DataError):
    """The downloaded archive is cut short, altered, incomplete or unsafe."""


def install_archive(
    sources: Iterable[str],
    folder: Path,
    wanted: Iterable[str],
    find_problem: Callable[[Path], str],
    timeouts: tuple[float, float],
    progress: bool = True,
) -> None:
    """Download from the first source that works and put the `wanted` files into `folder`.

    wanted: relative paths, each in training/ or test/ or one of the two CSVs.
    find_problem: looks at the unpacked tree before it is moved; '' when it is good.
    timeouts: seconds to connect, and seconds in which a server may send nothing.
    Raises DamagedArchiveError, DataNotFoundError or OSError (disk full), with
    nothing left behind in `folder`.
    """
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=folder))
    archive, tree = staging / "archive.zip", staging / "tree"
    try:
        _download(sources, archive, timeouts, progress)
        for part in IMAGE_FOLDERS:
            (tree / part).mkdir(parents=True)
        for name, content in _contents(archive, wanted):
            (tree / name).write_bytes(content)
        archive.unlink()
        problem = find_problem(tree)
        if problem:
            raise _damaged(problem)
        if hasattr(os, "sync"):  # after a power cut, a tree called checked must not be an empty one
            os.sync()
        os.rename(tree, staging / CHECKED)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _move_into_place(staging, folder)


def _damaged(problem: str) -> DamagedArchiveError:
    return DamagedArchiveError(
        f"The downloaded archive is not the expected one: {problem}. Nothing of it was kept; try again "
        "later, or set KEYPOINTS_DATA to a folder that holds the data."
    )


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
    deadline, answers = time.monotonic() + seconds, {}
    while len(answers) < len(sources) and answers.get(sources[0]) != "":
        try:
            url, answer = replies.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return {url: answers.get(url, "silence") for url in sources}
        answers[url] = answer
    return answers


def _download(sources: Iterable[str], archive: Path, timeouts: tuple[float, float], progress: bool) -> None:
    """The first source that arrives whole, as the file `archive`."""
    get = pooch.HTTPDownloader(progressbar=progress, chunk_size=2**16, timeout=timeouts)
    problems, broke_off = [], False
    for url in sources:
        host = urlsplit(url).netloc
        try:
            get(url, str(archive), None)
            return
        except requests.HTTPError as error:
            problems.append(f"{host} answers {error.response.status_code}")
        except requests.ConnectTimeout:
            problems.append(f"{host} does not answer")
        except requests.RequestException as error:
            broke_off = True
            problems.append(f"the transfer from {host} broke off or stood still ({type(error).__name__})")
    told = "; ".join(problems)
    if broke_off:
        raise DamagedArchiveError(f"The archive did not arrive whole: {told}. Nothing was kept; try again.")
    raise DataNotFoundError(f"no server has the archive ({told})")


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
        raise _damaged(f"{name} cannot be unpacked ({error})") from error


def _members(bundle: zipfile.ZipFile, wanted: Iterable[str]) -> dict[str, zipfile.ZipInfo]:
    """Wanted path -> its member, below whichever folder of the archive holds most of them."""
    wanted = sorted(wanted)
    files = _files_by_path(bundle)
    root = _find_root(files, set(wanted))
    missing = [name for name in wanted if root + name not in files]
    if missing:
        raise _damaged(f"it lacks {some(missing)}")
    members = {name: files[root + name] for name in wanted}
    big = [name for name, info in members.items() if info.file_size > MAX_FILE_BYTES]
    if big:
        raise _damaged(f"{some(big)} would take more than {MAX_FILE_BYTES // 2**20} MiB")
    return members


def _files_by_path(bundle: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = bundle.infolist()
    if len(infos) > MAX_MEMBERS or sum(info.file_size for info in infos) > MAX_TOTAL_BYTES:
        raise _damaged(f"it holds more than {MAX_MEMBERS} files or {MAX_TOTAL_BYTES // 2**30} GiB")
    files = {}
    for info in infos:
        path = str(_safe_path(info.filename))
        if path in files:
            raise _damaged(f"it holds {path} twice")
        if not info.is_dir():
            files[path] = info
    return files


def _find_root(files: Iterable[str], wanted: set[str]) -> str:
    """The enclosing folder with a slash after it, or '': GitHub's archives have one, the other has none."""
    roots = Counter()
    for path in map(PurePosixPath, files):
        for tail in (path.name, f"{path.parent.name}/{path.name}"):
            if tail in wanted:
                roots[str(path)[: -len(tail)]] += 1
    return roots.most_common(1)[0][0] if roots else ""


def _safe_path(name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
        raise _damaged(f"its member {name!r} points outside the folder it is unpacked into")
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
    """Staging folders in `folder`: of an interrupted call, or of one at work."""
    return sorted(folder.glob(STAGING_PREFIX + "*"))


def tidy(folder: Path) -> None:
    """Finish the move of a checked tree that was interrupted, delete anything less; needs the lock."""
    for staging in leftovers(folder):
        if (staging / CHECKED).is_dir():
            _move_into_place(staging, folder)
        else:
            shutil.rmtree(staging)


def _move_into_place(staging: Path, folder: Path) -> None:
    """Move the checked entries into `folder`, the CSVs last. What lay there before is kept aside."""
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
