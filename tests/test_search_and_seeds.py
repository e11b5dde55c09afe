"""The search for a better network and its repetition with other seeds: code and committed pages."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.search import page as search
from benchmarks.seeds import page as seeds
from checkpoint import save_checkpoint
from landmarks import OUTER_EYE_CORNERS
from training.evaluation import Evaluation
from training.metrics import summarise
from training.recipes import get_recipe
from training.records import save_record
from training.uncertainty import calibration_of


def test_the_search_page_is_what_its_records_give():
    printed = search.PAGE.read_text()
    assert printed == search.PAGE_TEXT.format(table=search.table(), passes=search.passes_table())


def test_the_seeds_page_is_what_its_records_give():
    text = seeds.PAGE_TEXT.format(recipe=seeds.RECIPE, default=seeds.DEFAULT_CHECKPOINT, table=seeds.table())
    assert seeds.PAGE.read_text() == text


def classes(best: int, sharpness: float):
    """Keypoints of one coordinate with five classes at -2, -1, 0, 1, 2, of which one stands out."""
    scores = torch.zeros(1, 1, 1, 5)
    scores[..., best] = sharpness
    keypoints = torch.zeros(1, 1, 1)
    keypoints.scores = scores, torch.linspace(-2, 2, 5)
    return keypoints


def test_axis_class_loss_by_hand():
    narrow = search.AxisClassLoss(deviation=0.01)  # all of the bell in one class
    true = torch.ones(1, 1, 1)  # class 3
    assert narrow(classes(3, 0.0), true).item() == pytest.approx(math.log(5), rel=1e-5)
    share = math.exp(2) / (math.exp(2) + 4)
    assert narrow(classes(3, 2.0), true).item() == pytest.approx(-math.log(share), rel=1e-5)
    share = 1 / (math.exp(2) + 4)
    assert narrow(classes(0, 2.0), true).item() == pytest.approx(-math.log(share), rel=1e-5)
    # what lies outside the crop counts as its edge
    outside = narrow(classes(4, 2.0), 7 * true)
    assert outside.item() == pytest.approx(narrow(classes(3, 2.0), true).item(), rel=1e-5)


def test_axis_classes_reach_the_network():
    recipe = search.ROWS["axis_classes"].recipe
    torch.manual_seed(0)
    model = recipe.build_model()
    keypoints = model(torch.rand(2, 1, 96, 96))
    assert keypoints.shape == (2, 68, 2)
    search.AxisClassLoss()(keypoints, torch.zeros(2, 68, 2)).backward()
    assert model.to_axes.weight.grad.abs().sum() > 0


# --- seeds ----------------------------------------------------------------------------------------------


def store(stem, errors_px):
    """A record of faces that are each off by so many pixels, 100 px between the eye corners."""
    true = np.random.default_rng(0).uniform(10, 90, (len(errors_px), 68, 2)).astype(np.float32)
    right, left = OUTER_EYE_CORNERS
    true[:, right], true[:, left] = (0, 50), (100, 50)
    predicted = true + np.stack([errors_px, np.zeros(len(errors_px))], axis=1)[:, None, :]
    people = [str(number // 2) for number in range(len(errors_px))]
    figures = summarise(predicted, true, people)
    evaluation = Evaluation(figures, [f"{n}.jpg" for n in range(len(errors_px))], people, predicted, true)
    save_record(stem, figures, evaluation)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setattr(seeds, "stem_of", lambda split, faces, seed: tmp_path / f"{split}-{faces}-{seed}")
    return tmp_path


def test_mean_spread_and_the_averaged_prediction_by_hand(stored):
    store(stored / "identity-whole-0", [3.0, 5.0, 4.0, 4.0])
    store(stored / "identity-whole-1", [5.0, 5.0, 5.0, 5.0])
    assert seeds.cells("identity", "whole")[1:4] == ["4.00", "5.00", "*not trained yet*"]
    store(stored / "identity-whole-2", [-6.0, -6.0, -6.0, -6.0])
    row = seeds.cells("identity", "whole")
    assert row[:4] == ["identity x whole", "4.00", "5.00", "6.00"]
    assert row[4] == "5.00 ± 1.00"
    # people {0, 1} and {2, 3}: means over networks (14/3 + 16/3)/2 and 5
    assert row[5] == "5.00 to 5.00"
    # points averaged: (3 + 5 - 6)/3 = 2/3, 4/3, 1, 1
    assert row[7:] == ["1.00", "0.0"]


def test_a_face_that_one_network_misses_counts_by_the_others():
    errors = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]])
    np.testing.assert_array_equal(seeds.mean_where_found(errors), [2.0, 4.0, np.nan])


def test_trust_is_added_beside_the_run(tmp_path, monkeypatch):
    run = tmp_path / "runs" / "best-identity-1"
    recipe = get_recipe("heatmapnet")
    torch.manual_seed(0)
    save_checkpoint(run / "checkpoint", recipe.build_model(), recipe.config(trained_on="identity"))
    before = (run / "checkpoint" / "model.safetensors").read_bytes()
    monkeypatch.setattr(seeds, "ROOT", tmp_path)
    asked = []

    def fit(arguments):
        asked.append(arguments)
        factors = json.loads(Path(arguments.calibration).read_text())
        shipped = seeds.load_checkpoint(seeds.SHIPPED["identity"])[0]
        assert factors == calibration_of(shipped)

    monkeypatch.setattr(seeds.uncertainty, "run", fit)
    folder = seeds.with_outputs("identity", 1)
    assert folder == run / "with_uncertainty"
    assert (folder / "model.safetensors").is_file()
    assert (run / "checkpoint" / "model.safetensors").read_bytes() == before
    seeds.with_outputs("identity", 1)
    assert len(asked) == 1  # not fitted twice
    shutil.rmtree(folder)
    (run / "of_a_try_that_was_killed").mkdir()
    assert seeds.with_outputs("identity", 1) == folder
