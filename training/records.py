"""Stored measurements: NAME.json with the figures, NAME.npz with what they came from.

A record is enough to redo any table or plot without weights and without images.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from checkpoint import CONFIG_FILE, load_config
from files import write_json


def save_record(stem, row: dict, evaluation) -> None:
    """Write STEM.json (the row) and STEM.npz (paths, identities, predicted and true keypoints)."""
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    arrays = stem.with_name(stem.name + ".npz")
    beside = stem.with_name(f".{stem.name}.{os.getpid()}.npz")
    try:
        np.savez_compressed(
            beside,
            paths=np.array(evaluation.paths),
            identities=np.array(evaluation.identities),
            # 0.01 px is far finer than the labels; whole hundredths compress to half
            predicted=_to_hundredths(evaluation.predicted),
            true=_to_hundredths(evaluation.true),
        )
        os.replace(beside, arrays)
    finally:
        beside.unlink(missing_ok=True)
    write_json(stem.with_name(stem.name + ".json"), row)


def note_in_config(folder, row: dict) -> None:
    """Write a row's main figures into the `measured` field of a checkpoint's config."""
    config = load_config(folder)
    main = {name: row[name] for name in ("n", "found", "nme", "nme_median", "auc_8", "fr_10", "leak")}
    measured = {**config.measured, f"{row['split']}-{row['faces']}": main}
    write_json(Path(folder) / CONFIG_FILE, replace(config, measured=measured).to_dict())


def load_record(stem) -> tuple[dict, dict[str, np.ndarray]]:
    """The row, and arrays: paths, identities, predicted (NaN where not found), true, both (N, 68, 2) px."""
    stem = Path(stem)
    row = json.loads(stem.with_name(stem.name + ".json").read_text())
    with np.load(stem.with_name(stem.name + ".npz"), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name in ("predicted", "true"):
        values = arrays[name].astype(np.float32) / 100
        values[arrays[name] == _MISSING] = np.nan
        arrays[name] = values
    return row, arrays


_MISSING = np.iinfo(np.int32).min


def _to_hundredths(keypoints: np.ndarray) -> np.ndarray:
    whole = np.rint(np.nan_to_num(keypoints) * 100).astype(np.int32)
    return np.where(np.isnan(keypoints), _MISSING, whole).astype(np.int32)
