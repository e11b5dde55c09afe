"""Names and places of the files that detect.py writes into its output folder.

    faces.json, faces.csv, faces_coco.json    the faces of all images, one of them
    pts/holiday/a.jpg.pts                     or one .pts file per face; further faces: a.jpg.face1.pts
    videos/clip.mp4.csv                       the faces of a video
    drawn/holiday/a.jpg, drawn/clip.mp4       images and videos with the faces drawn in

Two inputs never get the same name, and every path lies inside the output folder.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from files import IMAGE_SUFFIXES, remove_leftovers

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv")
CAMERA = re.compile(r"webcam:(?P<index>[0-9]+)")
WRITABLE_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
DRAWN, VIDEOS, PTS = "drawn", "videos", "pts"  # folders in the output folder

MEDIA_SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, ".gif")
RESULT_SUFFIXES = (*MEDIA_SUFFIXES, ".pts", ".csv", ".json", ".jsonl")
NOT_PORTABLE = frozenset('%<>:"/\\|?*')
ENCODED_CAMERA = re.compile(r"webcam%3A[0-9]+")
FURTHER_FACE = re.compile(r"(?P<stem>.+)\.face(?P<number>[0-9]+)", re.DOTALL)
MAX_NAME_BYTES = 255
MAX_STEM_BYTES = 225  # leaves room for .face1234.pts
PREFIX_BYTES = 100


# --- names --------------------------------------------------------------------------------------


def output_name(path: str, base, ending: str) -> str:
    """The name, relative to a folder of results, of the file that belongs to an input.

    path: an image, a video, webcam:0 or an address with "://". base: the folder from which on the
        folders of `path` are kept.
    ending: of the file to write, with its dot.
    For one ending, different inputs get different names:
    - a.jpg with the ending .pts becomes a.jpg.pts.
    - A name that has the ending already is kept: a.png with .png stays a.png. Only where that could be
      the name of another input (a.gif.png could be that of a.gif) the ending is appended.
    - A name without a known image or video ending gets a % before the ending.
    - %, control characters, bytes that are no UTF-8 and what other systems forbid become %XX.
    - The end of a name that is too long is replaced by a hash.
    """
    if "://" in path or CAMERA.fullmatch(path):
        parts = [path]
    else:
        parts = os.path.relpath(os.path.abspath(path), os.path.abspath(base)).split(os.sep)
    *folders, name = map(_encoded, parts)
    return "/".join([*map(_folder_name, folders), _file_name(name, ending)])


def overlay_name(path: str, base) -> str:
    """The name of an image with its faces drawn in: of the same kind, or .png if that cannot be written."""
    suffix = Path(path).suffix
    return output_name(path, base, suffix if suffix.lower() in WRITABLE_IMAGES else ".png")


def pts_names(path: str, base, count: int) -> list[str]:
    """The names of the .pts files of `count` faces of one image."""
    return [output_name(path, base, f".face{number}.pts" if number else ".pts") for number in range(count)]


def pts_image(name: str) -> tuple[str, int]:
    """The image and the face's number in it (from 0) of a .pts file that `pts_names` named.

    name: relative to the folder of .pts files, with "/". A name that was shortened stays as it is.
    """
    stem, number = name.removesuffix(".pts"), 0
    further = FURTHER_FACE.fullmatch(stem)
    if further:
        image = further["stem"].rpartition("/")[2]
        if _has_media_suffix(image) or image.endswith("%"):  # else .face1 is a part of the image's name
            stem, number = further["stem"], int(further["number"])
    parts = [part.removesuffix("%") for part in stem.split("/")]
    return "/".join(map(_decoded, parts)), number


def _encoded(part: str) -> str:
    """A name of a file or folder in characters that every system takes; `_decoded` is the inverse."""
    if part in (os.curdir, os.pardir):
        return "%up" if part == os.pardir else "%here"
    last = len(part) - 1
    return "".join(
        _percent(char)
        if char in NOT_PORTABLE
        or not (char.isprintable() or char == " ")
        or (place == 0 and char == ".")  # hidden files are never results
        or (place == last and char in ". ")  # Windows drops them
        else char
        for place, char in enumerate(part)
    )


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in os.fsencode(char))


def _decoded(part: str) -> str:
    raw = re.sub(rb"%([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), os.fsencode(part))
    return os.fsdecode(raw)


def _folder_name(name: str) -> str:
    """The name of a folder of results, which differs from every name of a file of results."""
    return _shortened(name + "%" if name.lower().endswith(RESULT_SUFFIXES) else name)


def _file_name(name: str, ending: str) -> str:
    is_media = ending.lower() in MEDIA_SUFFIXES
    fits = len(os.fsencode(name)) <= MAX_NAME_BYTES
    if is_media and fits and name.endswith(ending) and not _has_media_suffix(name.removesuffix(ending)):
        return name
    return _shortened(name if _has_media_suffix(name) else name + "%") + ending


def _has_media_suffix(name: str) -> bool:
    return name.lower().endswith(MEDIA_SUFFIXES) or bool(ENCODED_CAMERA.fullmatch(name))


def _shortened(name: str) -> str:
    raw = os.fsencode(name)
    if len(raw) <= MAX_STEM_BYTES:
        return name
    digest = hashlib.blake2b(raw, digest_size=16).hexdigest()
    return f"{raw[:PREFIX_BYTES].decode(errors='ignore')}%~{digest}"


# --- places -------------------------------------------------------------------------------------


class TakenError(ValueError):
    """A result would replace something that no run of detect.py has written there."""


def output_path(folder, name: str) -> Path:
    """The path of the file `name` (relative, with "/") in the output folder.

    Every path that is written goes through this function.
    Raises ValueError for a path that would lie outside the folder, also by way of a link.
    """
    folder, relative = Path(folder), PurePosixPath(name)
    target = folder / relative
    inside = bool(relative.parts) and not relative.is_absolute() and os.pardir not in relative.parts
    if not inside or not target.parent.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{target} would lie outside the output folder {folder}; name another --output")
    return target


def is_regular_file(path: Path) -> bool:
    """True for a file; False for a link to one, a folder, a device, or nothing."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def files_below(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is no folder itself; links are not followed."""
    for place, folders, names in os.walk(folder):
        for name in [*names, *(name for name in folders if (Path(place) / name).is_symlink())]:
            yield Path(place) / name


def clear_leftovers(folder: Path) -> None:
    """Remove the temporary folders that a killed run has left in the output folder (see files.atomic_path).

    Call it only where a run of detect.py has written, and while its lock is held.
    """
    for start in (folder, folder / DRAWN, folder / VIDEOS):
        if start.is_symlink():
            continue
        for place, folders, _ in os.walk(start):
            remove_leftovers(place)
            folders[:] = [] if start == folder else [name for name in folders if not name.startswith(".")]
