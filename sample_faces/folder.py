"""The synthetic sample as a folder, laid out like the real data set."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from files import atomic_path, cv2, remove_leftovers, write_json
from landmarks import NUM_KEYPOINTS
from sample_faces.frames import draw_face
from sample_faces.people import draw_identity

IS_SAMPLE_MARKER = "SAMPLE.json"
SAMPLE_VERSION = 1  # raise it when the drawing changes, and samples on disk are drawn again
SPLITS = ("training", "test")


def is_sample(folder) -> bool:
    """True if this data folder holds drawn faces instead of the real data set."""
    return (Path(folder) / IS_SAMPLE_MARKER).is_file()


def write_sample(
    folder, seed: int = 0, identities: int = 40, train_frames: int = 8, test_frames: int = 2
) -> Path:
    """Draw the synthetic sample into `folder`, laid out like the real data set. Returns the folder.

    seed: 0 or more; the same numbers give the same files.
    identities, train_frames, test_frames: the number of people, and of images of each in training/ and test/;
        1 to 99.
    Writes training/*.jpg, test/*.jpg (PNG bytes with an opaque alpha channel
    under that name, as in the real set), a CSV of keypoints for each, and last
    IS_SAMPLE_MARKER. The test frames have names of training frames and other
    content, again as in the real set.

    A complete sample of the same numbers is left as it is. The folder
    appears in one step, so an interrupted run leaves no part of it. Raises
    FileExistsError if the folder holds anything that is not a sample, ValueError
    for numbers out of range.
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
    remove_leftovers(folder.parent)
    try:
        with suppress(_DrawnMeanwhileError), atomic_path(folder) as partial:
            _write_files(partial, wanted)
            if _is_complete(folder, wanted):
                raise _DrawnMeanwhileError
    except OSError:  # another process may have put its sample there in the last moment
        if not _is_complete(folder, wanted):
            raise
    return folder


class _DrawnMeanwhileError(Exception):
    """Another process has drawn the same sample; its folder stays."""


# --- writing -----------------------------------------------------------------------------


def _wanted(seed, identities, train_frames, test_frames) -> dict:
    """The content of the marker file. Raises ValueError for numbers out of range."""
    counts = {"identities": identities, "train_frames": train_frames, "test_frames": test_frames}
    for name, count in counts.items():
        if not 1 <= count <= 99:
            raise ValueError(f"{name} must be 1 to 99, got {count}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    return {"version": SAMPLE_VERSION, "seed": int(seed), **{name: int(n) for name, n in counts.items()}}


def _is_complete(folder: Path, wanted: dict) -> bool:
    """True if the folder holds exactly this sample, with all of its images."""
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
    # Random numbers of their own for each person and each frame: a smaller sample is a part of a larger one.
    # The first number is needed because NumPy takes [seed, 3] and [seed, 3, 0, 0] for the same seed.
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
    write_json(folder / IS_SAMPLE_MARKER, wanted)


def _write_png(path: Path, image: np.ndarray) -> None:
    bgra = cv2.cvtColor(image, cv2.COLOR_RGB2BGRA)
    done, data = cv2.imencode(".png", bgra, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise OSError(f"OpenCV could not encode {path.name} as PNG")
    path.write_bytes(data.tobytes())
