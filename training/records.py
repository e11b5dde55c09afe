"""Stored measurements: NAME.json with the figures, NAME.npz with the points they are computed from.

    save_record(stem, row, evaluation, provenance(...))
    row, arrays = load_record(stem)

The points are rounded to hundredths of a pixel before figures are computed (`Evaluation`), so the
stored points give the stored figures exactly. A record redoes every table and plot without weights
and without images. Its `provenance` says what it depends on; `problem` compares that with what is in
the repository now, and names the command that renews the record.
"""

import csv
import hashlib
import importlib.metadata
import json
import math
import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from checkpoint import CONFIG_FILE, WEIGHTS_FILE, CheckpointError, ModelConfig, load_config
from data_fetch import CHECKSUMS, CSV_FILES
from data_load import LABEL_MAP_FILE, SPLITS_FILE
from files import atomic_path, write_json
from training.metrics import summarise

ROOT = Path(__file__).resolve().parents[1]
#: The fields of a config that decide what keypoints come out.
ANSWER_FIELDS = (
    "model", "model_args", "input_size", "gray_range", "keypoint_mean", "keypoint_std", "whole_view",
    "crop_scale", "box_scale", "passes", "flip_tta", "align_roll", "label_offset",
)  # fmt: skip
PACKAGES = ("torch", "numpy", "opencv-python")
_MISSING = np.iinfo(np.int32).min


# --- points and figures -------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluation:
    """The predicted and true keypoints of a set of faces, rounded to hundredths of a pixel.

    paths: 'training/NAME.jpg' or 'test/NAME.jpg' of each face. identities: its person.
    predicted, true: (N, 68, 2) in pixels of the image; predicted is NaN where no face was found.
    own: predicted, before it was moved to where labels lie (`data_load.to_labels`); None if it was not moved.
    """

    paths: list[str]
    identities: list[str]
    predicted: np.ndarray
    true: np.ndarray
    own: np.ndarray | None = None

    def __post_init__(self):
        for name in ("predicted", "true"):
            object.__setattr__(self, name, _from_hundredths(_to_hundredths(getattr(self, name))))

    @cached_property
    def figures(self) -> dict:
        """Their figures; see `training.metrics.summarise`."""
        return summarise(self.predicted, self.true, self.identities)


def save_record(stem, row: dict, evaluation: Evaluation, provenance: dict) -> None:
    """Write STEM.json (the row and its provenance) and STEM.npz (paths, identities, predicted, true)."""
    stem = Path(stem)
    save_arrays(
        _with_ending(stem, ".npz"),
        paths=np.array(evaluation.paths),
        identities=np.array(evaluation.identities),
        predicted=_to_hundredths(evaluation.predicted),
        true=_to_hundredths(evaluation.true),
    )
    write_json(_with_ending(stem, ".json"), {**row, "provenance": provenance})


def load_record(stem) -> tuple[dict, dict[str, np.ndarray]]:
    """The row, and arrays: paths, identities, predicted (NaN where not found), true, both (N, 68, 2) px."""
    stem = Path(stem)
    row = json.loads(_with_ending(stem, ".json").read_text(encoding="utf-8"))
    with np.load(_with_ending(stem, ".npz"), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name in ("predicted", "true"):
        arrays[name] = _from_hundredths(arrays[name])
    return row, arrays


def renew_figures(stem) -> bool:
    """Compute the figures of a record again from its points; True if that changed the file.

    The figures stand in the row itself (evaluate.py). A difference below 1e-9 is not written: sums
    may differ in their last digits between processors.
    """
    row, arrays = load_record(stem)
    figures = summarise(arrays["predicted"], arrays["true"], arrays["identities"])
    if same_figures({name: row.get(name) for name in figures}, figures):
        return False
    known = {name: value for name, value in row.items() if name not in figures}
    stored = known.pop("provenance", {})
    write_json(_with_ending(Path(stem), ".json"), {**known, **figures, "provenance": stored})
    return True


def same_figures(one, other) -> bool:
    """True if two nested figures have the same names and, up to 1e-9, the same values."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_figures(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_figures, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return one == other


def note_in_config(folder, row: dict) -> None:
    """Write a row's main figures into the `measured` field of a checkpoint's config."""
    config = load_config(folder)
    main = {name: row[name] for name in ("n", "found", "nme", "nme_median", "auc_8", "fr_10", "leak")}
    measured = {**config.measured, f"{row['split']}-{row['faces']}": main}
    if measured != config.measured:
        write_json(Path(folder) / CONFIG_FILE, replace(config, measured=measured).to_dict())


def save_arrays(path, **arrays: np.ndarray) -> None:
    """Write an .npz file; a reader never sees half of it."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def _with_ending(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)  # not with_suffix: names such as heatmapnet.onnx-int8


def _to_hundredths(keypoints: np.ndarray) -> np.ndarray:
    # 0.01 px is far finer than the labels; whole hundredths compress to half
    whole = np.rint(np.nan_to_num(keypoints) * 100).astype(np.int32)
    return np.where(np.isnan(keypoints), _MISSING, whole).astype(np.int32)


def _from_hundredths(hundredths: np.ndarray) -> np.ndarray:
    keypoints = hundredths.astype(np.float32) / 100
    keypoints[hundredths == _MISSING] = np.nan
    return keypoints


# --- provenance ---------------------------------------------------------------------------------


def provenance(
    renew: str,
    *,
    checkpoint=None,
    config: ModelConfig | None = None,
    weights: str = WEIGHTS_FILE,
    data: str = "",
    seed: int | None = None,
    files: Iterable[Path] = (),
) -> dict:
    """The provenance of a measurement made now: everything that it depends on.

    renew: the command that measures it again.
    checkpoint: its folder; config: of the checkpoint, or of a predictor without one.
    weights: the file in that folder that was run.
    data: `data_fetch.data_checksum` of the data. seed: of the training, or of the measurement.
    files: other files of this repository that were used, such as the weights of a face finder.
    """
    folder = Path(checkpoint).resolve() if checkpoint is not None else None
    if folder and config is None:
        config = load_config(folder)
    inside = folder is not None and folder.is_relative_to(ROOT)
    return {
        "renew": renew,
        "checkpoint": folder.relative_to(ROOT).as_posix() if inside else None,
        "weights_file": weights if folder else None,
        "weights": sha256_of(folder / weights) if folder else None,
        "config": config_digest(config) if config else None,
        "files": {Path(f).resolve().relative_to(ROOT).as_posix(): sha256_of(f) for f in files},
        "splits": sha256_of(SPLITS_FILE),
        "data": data or None,
        "seed": seed,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "machine": machine(),
    }


def problem(record, stored: dict) -> str:
    """One line that says why a record is out of date and how to renew it; empty if it is current.

    record: its path, for the message. stored: its `provenance`. What was not recorded (None) and
    what is not on this machine (a training run) is not compared.
    """
    wrong = []
    folder = ROOT / stored["checkpoint"] if stored.get("checkpoint") else None
    if folder and (folder / CONFIG_FILE).is_file():
        weights = folder / stored["weights_file"]
        if stored["weights"] and weights.is_file() and sha256_of(weights) != stored["weights"]:
            wrong.append("weights")
        if stored["config"] and config_digest(load_config(folder)) != stored["config"]:
            wrong.append("config")
    elif folder and folder.parent.name == "saved_models":
        wrong.append("checkpoint, which is gone")
    for name, digest in stored.get("files", {}).items():
        if not (ROOT / name).is_file() or sha256_of(ROOT / name) != digest:
            wrong.append(name)
    if stored.get("splits") and stored["splits"] != sha256_of(SPLITS_FILE):
        wrong.append("splits")
    if stored.get("data") and stored["data"] != committed_data_checksum():
        wrong.append("data")
    if not wrong:
        return ""
    return f"{record} was measured with another {' and '.join(wrong)}; renew it: {stored['renew']}"


def is_current(path) -> bool:
    """True if the record in a JSON file exists, has a provenance and is not out of date."""
    path = Path(path)
    if not path.is_file():
        return False
    stored = json.loads(path.read_text(encoding="utf-8")).get("provenance")
    return stored is not None and not problem(path, stored)


def config_digest(config: ModelConfig) -> str:
    """SHA-256 of the fields of a config that decide what keypoints come out."""
    values = {name: _plain(getattr(config, name)) for name in ANSWER_FIELDS}
    if config.scheme == "ibug":  # errors against labels then depend on where these lie
        values |= {"scheme": config.scheme, "label_map": sha256_of(LABEL_MAP_FILE)}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _plain(value):
    """Numbers as floats and tuples as lists, so that 1 and 1.0 have one digest."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def sha256_of(path) -> str:
    """SHA-256 of a file, in hex. Raises CheckpointError if it cannot be read."""
    path = Path(path)
    try:
        stat = path.stat()
        return _sha256(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from error


@cache
def _sha256(path: Path, changed: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def committed_data_checksum() -> str:
    """The `data_fetch.data_checksum` that the data set must have, from data/checksums.csv."""
    with open(CHECKSUMS, newline="", encoding="utf-8") as file:
        digests = {row["path"]: row["sha256"] for row in csv.DictReader(file) if row["path"].endswith(".csv")}
    return hashlib.sha256("".join(digests[name] for name in CSV_FILES).encode()).hexdigest()[:16]


#: Dot products of 8-bit numbers, as /proc/cpuinfo names them (x86, Arm). With one, 8 bits are fast.
INT8_FLAGS = ("avx512_vnni", "avx_vnni", "asimddp")


def machine(cpu_info: str = "/proc/cpuinfo") -> dict[str, str]:
    """The kind of machine: system, architecture, processor, and its 8-bit instructions.

    cpu_info: the file in which Linux describes the processor. int8 has those of INT8_FLAGS that the processor
    has, or 'none'; 'unknown' without such a file.
    """
    info = Path(cpu_info)
    lines = info.read_text().splitlines() if info.is_file() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", fields.get("Features", "")).split()
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": fields.get("model name") or platform.processor(),
        "int8": (" ".join(flag for flag in INT8_FLAGS if flag in flags) or "none") if flags else "unknown",
    }
