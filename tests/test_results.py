"""What README and model cards print is what the stored records give."""

from pathlib import Path

import pytest

from benchmarks import model_cards, results
from training.checkpoint import SAVED_MODELS, load_config

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
    text = model_cards.card(folder.name, load_config(folder), stems)
    assert (folder / "README.md").read_text() == text


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_weights_keep_to_the_size_budget(folder):
    assert (folder / "model.safetensors").stat().st_size <= 16_000_000
    everything = sum(path.stat().st_size for path in SAVED_MODELS.rglob("*") if path.is_file())
    assert everything <= 80_000_000
