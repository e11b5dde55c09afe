"""What README and model cards print is what the stored records give."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.results import page as results
from checkpoint import SAVED_MODELS, load_config
from tools import model_cards
from training.metrics import summarise
from training.records import load_record, note_in_config

ROOT = Path(__file__).parent.parent
SHIPPED = sorted(path.parent for path in SAVED_MODELS.glob("*/config.json"))


def test_the_readme_has_the_table_of_the_records():
    readme = (ROOT / "README.md").read_text()
    printed = readme.partition(results.START)[2].partition("\n")[2].partition(results.END)[0]
    assert printed.strip() == results.table()


def test_the_table_starts_with_the_baselines_and_marks_the_leak():
    rows = results.table().splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows[:2]] == ["constant", "nearest"]
    for row in rows:
        assert ("(leaks)" in row) == row.startswith("| official")


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_model_cards_have_the_figures_of_the_records(folder):
    stems = model_cards.record_stems(folder)
    assert stems
    text = model_cards.card(folder, load_config(folder), stems)
    assert (folder / "README.md").read_text() == text


RECORDS = sorted(path.with_suffix("") for path in SAVED_MODELS.glob("**/records/*.json"))


@pytest.mark.parametrize("stem", RECORDS, ids=lambda stem: f"{stem.parent.parent.name}-{stem.name}")
def test_stored_figures_follow_from_the_stored_faces(stem):
    row, arrays = load_record(stem)
    again = summarise(arrays["predicted"], arrays["true"], arrays["identities"])
    assert row["n"] == len(arrays["paths"]) == again["n"]
    for name in ("nme", "nme_median", "nme_box", "auc_8", "fr_10", "found"):
        assert again[name] == pytest.approx(row[name], abs=1e-3), name
    assert again["regions"] == pytest.approx(row["regions"], abs=1e-3)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_configs_carry_their_measured_figures(folder, tmp_path):
    stored = {stem.name: load_record(stem)[0] for stem in model_cards.record_stems(folder)}
    measured = load_config(folder).measured
    assert set(measured) == set(stored)
    for name, figures in measured.items():
        assert {key: stored[name][key] for key in figures} == figures
    # and this is how they get there
    shutil.copy(folder / "config.json", tmp_path)
    row = {**next(iter(stored.values())), "split": "validation", "faces": "whole", "nme": 0.5}
    note_in_config(tmp_path, row)
    again = load_config(tmp_path)
    assert again.measured["validation-whole"]["nme"] == 0.5
    assert replace(again, measured=measured) == load_config(folder)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_weights_keep_to_the_size_budget(folder):
    assert (folder / "model.safetensors").stat().st_size <= 16_000_000
    everything = sum(path.stat().st_size for path in SAVED_MODELS.rglob("*") if path.is_file())
    assert everything <= 80_000_000
