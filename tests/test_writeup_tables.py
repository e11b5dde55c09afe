"""The page of the write-ups, its records, the times and the ablations."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.ablations import page as ablations
from benchmarks.ablations import rows as ablation_records
from benchmarks.writeups import epoch_times
from benchmarks.writeups import page as writeups
from benchmarks.writeups import rows as writeup_records
from data_fetch import data_checksum
from data_load import FacialKeypointsDataset
from files import write_json
from landmarks import OUTER_EYE_CORNERS
from training import records
from training.augment import NO_AUGMENTATION
from training.loop import train
from training.recipes import RECIPES, get_recipe
from training.records import Evaluation, load_record, save_record
from training.writeups import WRITEUPS

ROOT = Path(__file__).parent.parent


# --- the page -------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Records, runs and shipped networks in an empty folder."""
    for name in ("RECORDS", "RUNS", "SAVED_MODELS"):
        (tmp_path / name.lower()).mkdir()
        monkeypatch.setattr(writeup_records, name, tmp_path / name.lower())
    return tmp_path


def a_record(stem, offset_px):
    """Two faces whose eye corners are 10 px apart, all points off by offset_px."""
    true = np.random.default_rng(0).uniform(0, 50, (2, 68, 2)).astype(np.float32)
    true[:, OUTER_EYE_CORNERS] = [[20, 20], [30, 20]]
    predicted = true + np.array([offset_px, 0], np.float32)
    evaluation = Evaluation(["test/A_0.jpg", "test/B_0.jpg"], ["A", "B"], predicted, true)
    save_record(stem, evaluation.figures, evaluation, {"weights": None})


def test_a_row_without_a_record_says_so(elsewhere):
    row = writeup_records.writeup_rows("identity")[0]
    assert writeups._measured(row)[:3] == ["identity x whole", row.label, "*not trained yet*"]
    assert writeups._length(row, RECIPES[row.label]) == "*not trained yet* (0 of 300)"


def test_a_row_is_printed_from_its_records(elsewhere):
    row = writeup_records.writeup_rows("official")[3]
    recipe = RECIPES[row.label]
    a_record(row.stem(), offset_px=1.0)
    cells = writeups._measured(row)
    assert cells[:6] == [
        "official x whole (leaks)",
        row.label,
        "10.00 (10.00 to 10.00)",
        "10.00",
        "0.0",
        "0.0",
    ]
    assert set(cells[6:]) == {"*not measured yet*"}
    losses = {
        crop: {"mse": value, "smooth_l1": value / 2} for crop, value in (("random", 0.2), ("centre", 0.1))
    }
    write_json(row.losses_file(), {**losses, "provenance": {"weights": None}})
    assert writeups._measured(row)[6:] == ["0.200", "0.100", "0.100", "0.050"]
    training = {
        "recipe": RECIPES[row.label].as_json(),
        "epochs": 5,
        "stopped_early": True,
        "minutes": 74.6,
    }
    write_json(row.folder / "training.json", training)
    assert writeups._length(row, recipe) == "5 of 7, stopped early (75 min)"
    training["recipe"]["batch_size"] = 33  # a record of another recipe is none of this row
    write_json(row.folder / "training.json", training)
    assert "not trained yet" in writeups._length(row, recipe)


def test_losses_of_other_weights_do_not_count(elsewhere):
    row = writeup_records.writeup_rows("official")[0]
    row.folder.mkdir()
    losses = {crop: dict.fromkeys(("mse", "smooth_l1"), 0.1) for crop in ("random", "centre")}
    write_json(row.losses_file(), {**losses, "provenance": {"weights": "of long ago"}})
    assert row.losses() is not None  # the weights are not on this machine: nothing to hold against it
    row.checkpoint.mkdir(parents=True)
    (row.checkpoint / "model.safetensors").write_bytes(b"other")
    assert row.losses() is None


def test_measuring_a_run_stores_what_the_table_needs(elsewhere, sample_folder, monkeypatch):
    # the sample stands in for the data set that the repository knows
    monkeypatch.setattr(records, "committed_data_checksum", lambda: data_checksum(sample_folder))
    row = writeup_records.writeup_rows("official")[0]
    recipe = get_recipe(row.label).override({"epochs": 1, "batch_size": 16})
    train(recipe, sample_folder, run_folder=row.run_folder, progress=False, trained_on="sample")
    data = SimpleNamespace(folder=sample_folder, is_sample=True)
    assert writeup_records.measure_row(row, data) == ["record", "losses", "training"]
    assert writeup_records.measure_row(row, data) == []
    assert row.training()["epochs"] == 1
    figures, arrays = load_record(row.stem())
    assert figures["checkpoint"] == row.name
    assert len(arrays["paths"]) == figures["n"]
    assert "not" not in "".join(writeups._measured(row))
    assert writeup_records.measure_row(writeup_records.writeup_rows("official")[1], data) == []


def places_named():
    """(file, what is in it) of the page's lists: `file` followed by `words`, up to the next file."""
    section = writeups.PAGE.read_text().partition("## Write-up 001, point by point")[2]
    found, file = [], None
    for words in re.findall(r"`([^`]+)`", section):
        if (ROOT / words).is_file() and words.endswith((".py", ".ipynb")):
            file = words
            found.append((file, ""))
        elif "/" in words:
            found.append((words, ""))
        elif file:
            found.append((file, words))
    return found


@pytest.mark.parametrize(("file", "words"), places_named())
def test_every_place_that_the_page_names_is_there(file, words):
    assert json.dumps(words)[1:-1] in (ROOT / file).read_text() or words in (ROOT / file).read_text()


# --- times and ablations ------------------------------------------------------------------------------------


def test_epoch_times_by_hand(sample_folder, monkeypatch):
    ticks = iter(range(1000))
    small = get_recipe("naimishnet").override({"input_size": 32, "batch_size": 4})
    dataset = FacialKeypointsDataset(
        sample_folder / "training_frames_keypoints.csv", sample_folder / "training", seed=0
    )
    monkeypatch.setattr(epoch_times, "get_recipe", lambda name: small)
    rows = epoch_times.measure(["a"], dataset, steps=2, rounds=3, clock=lambda: next(ticks))
    steps = len(dataset) // 4
    assert rows == {"a": {"step": 0.5, "steps_per_epoch": steps, "epoch": 0.5 * steps}}
    stored = {"reference": "b", "recipes": {"a": {"epoch": 6.0}, "b": {"epoch": 4.0}}}
    assert epoch_times.ratios(stored) == {"a": 1.5, "b": 1.0}
    assert epoch_times.recipes()[0] == "naimishnet"
    assert set(WRITEUPS) < set(epoch_times.recipes())


def test_double_division_is_a_second_division_by_255():
    gray = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    sample = {"image": gray, "keypoints": np.full((68, 2), 40.0, np.float32)}
    plain, twice = (replace(ablation_records.ROWS[name].recipe, augmentation=NO_AUGMENTATION).transform()
                    for name in ("base", "divided_twice"))  # fmt: skip
    once, again = (steps(sample)["image"] for steps in (plain, twice))
    torch.testing.assert_close(again, once / 255)
    assert 0.9 / 255 < again.max() <= 1 / 255


def test_each_ablation_changes_what_it_says():
    changed = {
        name: {f for f, v in vars(row.recipe).items() if v != getattr(ablation_records.BASE, f)} - {"name"}
        for name, row in ablation_records.ROWS.items()
    }
    assert changed.pop("base") == changed.pop("constant") == set()
    for name, fields in changed.items():
        assert fields == set(ablation_records.ROWS[name].fields), name
    assert ablation_records.BASE.keypoint_scale() == ((96 - 1) / 2, 96 / 4)
    assert ablation_records.ROWS["224px"].recipe.keypoint_scale() == ((224 - 1) / 2, 224 / 4)


@pytest.fixture
def tiny_ablations(tmp_path, monkeypatch):
    """Base at 10 % on four faces of two people; MSE 2 points worse on one face of each, one seed."""
    monkeypatch.setattr(ablation_records, "RECORDS", tmp_path / "records")
    for name, path in (("PAGE", "a.md"), ("PLOT", "a.png")):
        monkeypatch.setattr(ablations, name, tmp_path / path)
    (tmp_path / "records").mkdir()

    def put(name, seed, errors, **changes):
        row = ablation_records.ROWS[name]
        figures = {
            "nme": float(np.mean(errors)),
            "nme_median": float(np.median(errors)),
            "fr_10": 0.5,
            "found": 1.0,
        }
        stem = ablation_records.stem_of(row, seed)
        arrays = {
            "paths": list("abcd"),
            "identities": list("AABB"),
            "nme_whole": np.array(errors, np.float32),
        }
        np.savez(stem.with_name(stem.name + ".npz"), **arrays)
        recipe = replace(row, fields={**row.fields, **changes}).recipe.as_json()
        write_json(stem.with_name(stem.name + ".json"), {"figures": {"whole": figures}, "recipe": recipe})

    put("base", 0, [0.1, 0.1, 0.1, 0.1])
    put("base", 1, [0.3, 0.3, 0.3, 0.3])
    put("loss_mse", 0, [0.1, 0.12, 0.12, 0.1])
    return put


def test_ablation_table_from_tiny_records(tiny_ablations):
    ablations.write_page()
    lines = {line.split(" | ")[0].strip("| "): line for line in ablations.PAGE.read_text().splitlines()}
    assert "| whole | 2 of 3 | 20.00 | 10.00, 30.00 | - | 20.00 | 50.0 | 100.0 |" in lines["base"]
    # against seed 0 of the base only: 0, 2, 2 and 0 points, one point in the mean for either person
    assert "| 1 of 3 | 11.00 | 11.00 | +1.00 (+1.00 to +1.00) |" in lines["loss_mse"]
    assert "*not trained yet*" in lines["bn"]
    assert ablations.PLOT.read_bytes().startswith(b"\x89PNG")


def test_an_ablation_of_another_recipe_does_not_count(tiny_ablations):
    tiny_ablations("loss_mse", 0, [0.1] * 4, epochs=3)
    assert ablation_records.load(ablation_records.ROWS["loss_mse"], 0) is None


def test_an_ablation_without_all_its_views_does_not_count(tiny_ablations):
    tiny_ablations("face_crop", 0, [0.1] * 4)  # measured on whole images only
    assert ablation_records.load(ablation_records.ROWS["face_crop"], 0) is None


def test_differences_need_the_same_images(tiny_ablations):
    rows = (ablation_records.ROWS[name] for name in ("loss_mse", "base"))
    (_, row), (_, base) = (ablation_records.load(row, 0) for row in rows)
    with pytest.raises(ValueError, match="different images"):
        ablations.paired_difference([({**row, "paths": row["paths"][::-1]}, base)], "whole")


def test_an_ablation_trains_measures_and_is_then_done(sample_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation_records, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(ablation_records, "ROOT", tmp_path)
    views = ("label_box", "haar", "haar, 3 passes")
    tiny = {"input_size": 32, "batch_size": 16, "epochs": 1, "crop_mode": "face"}
    row = ablation_records.Row("face_crop", "x", tiny, views)
    data = SimpleNamespace(folder=sample_folder, is_sample=True)
    ablation_records.measure_row(row, 0, data, "no")
    assert (tmp_path / "runs" / "ablation-face_crop-0" / "history.csv").is_file()
    figures, arrays = ablation_records.load(row, 0)
    assert figures["mixed_precision"] == "no"
    for view in views:
        nme = figures["figures"][view]["nme"]
        assert nme == pytest.approx(np.nanmean(arrays[f"nme_{view}"]), rel=1e-5, nan_ok=True), view
    assert len(arrays["paths"]) == len(arrays["identities"]) == len(arrays["nme_label_box"])


def test_the_constant_predictor_is_measured_without_training(sample_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation_records, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(ablation_records, "ROOT", tmp_path)
    row = ablation_records.ROWS["constant"]
    ablation_records.measure_row(row, 0, SimpleNamespace(folder=sample_folder, is_sample=True), "no")
    figures, _ = ablation_records.load(row, 0)
    assert not (tmp_path / "runs").exists()
    # in a crop from the labels, the mean face has only shape and pose to be wrong about
    assert figures["figures"]["label_box"]["nme"] < figures["figures"]["whole"]["nme"]
