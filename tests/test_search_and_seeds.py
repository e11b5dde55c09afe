"""The search for a better network, and the three seeds."""

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
from training.loop import train
from training.recipes import get_recipe
from training.records import Evaluation, save_record
from training.uncertainty import calibration_of


def classes(best: int, sharpness: float):
    """The output for one coordinate with five classes at -2, -1, 0, 1, 2, of which one has a high score."""
    scores = torch.zeros(1, 1, 1, 5)
    scores[..., best] = sharpness
    return search.AxisOutput(torch.zeros(1, 1, 1), scores, torch.linspace(-2, 2, 5))


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
    model = recipe.build_model().train()
    output = model(torch.rand(2, 1, 96, 96)).float()
    assert output.keypoints.shape == output.detach().shape == (2, 68, 2)
    mean = (output.scores.softmax(dim=-1) * output.position).sum(dim=-1)
    torch.testing.assert_close(mean, output.keypoints)
    assert not vars(output.keypoints)  # nothing is attached to the tensor
    search.AxisClassLoss()(output, torch.zeros(2, 68, 2)).backward()
    assert model.to_axes.weight.grad.abs().sum() > 0


def test_an_axis_class_network_is_measured_like_any_other():
    model = search.ROWS["axis_classes"].recipe.build_model().eval()
    assert isinstance(model(torch.rand(1, 1, 96, 96)), torch.Tensor)
    assert model.estimate(torch.rand(1, 1, 96, 96))[0].shape == (1, 68, 2)


def test_an_axis_class_network_trains(sample_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(search.LOSSES, "axis_classes", search.AxisClassLoss)
    small = {"input_size": 32, "batch_size": 16, "epochs": 1, "labels": "raw"}
    recipe = search.ROWS["axis_classes"].recipe.override({**small, "model_args.width": 8})
    run = train(recipe, sample_folder, run_folder=tmp_path / "run", progress=False, trained_on="sample")
    assert np.isfinite(run.history[-1]["loss"])
    assert np.isfinite(run.history[-1]["nme"])


# --- seeds ----------------------------------------------------------------------------------------------


def store(stem, errors_px):
    """A record of faces that are each off by so many pixels, 100 px between the eye corners."""
    true = np.random.default_rng(0).uniform(10, 90, (len(errors_px), 68, 2)).astype(np.float32)
    right, left = OUTER_EYE_CORNERS
    true[:, right], true[:, left] = (0, 50), (100, 50)
    predicted = true + np.stack([errors_px, np.zeros(len(errors_px))], axis=1)[:, None, :]
    people = [str(number // 2) for number in range(len(errors_px))]
    evaluation = Evaluation([f"{n}.jpg" for n in range(len(errors_px))], people, predicted, true)
    save_record(stem, evaluation.figures, evaluation, {})


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


def test_uncertainty_is_added_beside_the_run(tmp_path, monkeypatch):
    run = tmp_path / "runs" / "heatmapnet-identity-1"
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
