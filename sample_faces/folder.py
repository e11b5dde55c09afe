"""The sample as a folder, laid out like the real set."""

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from files import cv2
from landmarks import NUM_KEYPOINTS
from sample_faces.frames import draw_face
from sample_faces.people import draw_identity

IS_SAMPLE_MARKER = "SAMPLE.json"
SAMPLE_VERSION = 1  # raise it when the drawing changes, and samples on disk are drawn again
SPLITS = ("training", "test")
STALE_AFTER_S = 3600  # a half-written folder this old belongs to nobody


def is_sample(folder) -> bool:
    """Whether this data folder holds drawn faces instead of the real set."""
    return (Path(folder) / IS_SAMPLE_MARKER).is_file()


def write_sample(
    folder, seed: int = 0, identities: int = 40, train_frames: int = 8, test_frames: int = 2
) -> Path:
    """Draw the whole sample into `folder`, laid out like the real set; returns the folder.

    Writes training/*.jpg, test/*.jpg (PNG bytes with an opaque alpha channel
    under that name, as in the real set), a CSV of keypoints for each, and last
    IS_SAMPLE_MARKER. The test frames reuse names of training frames for other
    images, again as in the real set.

    A complete sample made from the same numbers is left as it is. The folder
    appears in one step, so an interrupted run leaves nothing half done. Raises
    FileExistsError if the folder holds anything that is not a sample, ValueError
    if a count is not 1 to 99 or the seed is negative.
    """
    folder = Path(folder)
    wanted = _wanted(seed, identities, train_frames, test_frames)
    if _is_complete(folder, wanted):
        return folder
    if folder.exists() and not is_sample(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} holds something that is not the synthetic sample; nothing was written. "
            "Name an empty or new folder."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    partial = folder.parent / f".{folder.name}.{secrets.token_hex(6)}.partial"
    try:
        _write_files(partial, wanted)
        _move_into_place(partial, folder, wanted)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


# --- writing -----------------------------------------------------------------------------


def _wanted(seed, identities, train_frames, test_frames) -> dict:
    """What the marker will say, checked."""
    counts = {"identities": identities, "train_frames": train_frames, "test_frames": test_frames}
    for name, count in counts.items():
        if not 1 <= count <= 99:
            raise ValueError(f"{name} must be 1 to 99, got {count}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    return {"version": SAMPLE_VERSION, "seed": int(seed), **{name: int(n) for name, n in counts.items()}}


def _is_complete(folder: Path, wanted: dict) -> bool:
    """Whether the folder holds exactly this sample, all of its images included."""
    if not is_sample(folder):
        return False
    try:
        found = json.loads((folder / IS_SAMPLE_MARKER).read_text(encoding="utf-8"))
    except ValueError:
        return False
    return found == wanted and all(
        (folder / _csv_name(split)).is_file() and (folder / split / name).is_file()
        for split in SPLITS
        for _, _, name in _frames(split, wanted)
    )


def _csv_name(split: str) -> str:
    return f"{split}_frames_keypoints.csv"


def _frames(split: str, wanted: dict) -> Iterator[tuple[int, int, str]]:
    """(identity, frame, file name) of every image; the name ends in a video's digit and a frame's digit."""
    count = wanted["train_frames"] if split == "training" else wanted["test_frames"]
    for identity in range(wanted["identities"]):
        for frame in range(count):
            yield identity, frame, f"Sample_Person_{identity:02d}_{frame // 3}{frame % 3}.jpg"


def _write_files(folder: Path, wanted: dict) -> None:
    folder.mkdir()
    seed = wanted["seed"]
    # One stream of numbers per person and per frame, so that a smaller sample is a part of a larger one.
    # The first number tells the two apart: NumPy takes [seed, 3] and [seed, 3, 0, 0] for the same seed.
    people = [draw_identity(np.random.default_rng([1, seed, i])) for i in range(wanted["identities"])]
    for number, split in enumerate(SPLITS):
        (folder / split).mkdir()
        rows = ["," + ",".join(str(column) for column in range(2 * NUM_KEYPOINTS))]
        for person, frame, name in _frames(split, wanted):
            rng = np.random.default_rng([2, seed, person, number, frame])
            image, keypoints = draw_face(rng, identity=people[person])
            _write_png(folder / split / name, image)
            rows.append(",".join([name, *(f"{value:.2f}" for value in keypoints.ravel())]))
        (folder / _csv_name(split)).write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / IS_SAMPLE_MARKER).write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")


def _write_png(path: Path, image: np.ndarray) -> None:
    bgra = cv2.cvtColor(image, cv2.COLOR_RGB2BGRA)
    done, data = cv2.imencode(".png", bgra, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise OSError(f"OpenCV could not encode {path.name} as PNG")
    path.write_bytes(data.tobytes())


def _remove_leftovers(folder: Path) -> None:
    """Remove what interrupted runs left beside the folder; younger ones may be another process at work."""
    for leftover in folder.parent.glob(f".{folder.name}.*.partial"):
        try:
            stale = time.time() - leftover.stat().st_mtime > STALE_AFTER_S
        except FileNotFoundError:  # another process was faster
            continue
        if stale:
            shutil.rmtree(leftover, ignore_errors=True)


def _move_into_place(partial: Path, folder: Path, wanted: dict) -> None:
    """Rename `partial` to `folder`, an older sample there out of the way first."""
    old = partial.with_name(partial.name.replace(".partial", ".old.partial"))
    try:
        # Two processes may draw the same sample at once: the second finds the first's work and keeps it.
        if folder.exists() and not _is_complete(folder, wanted):
            folder.rename(old)
        if not folder.exists():
            partial.rename(folder)
    except OSError:
        if not _is_complete(folder, wanted):
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
