"""Confidence and radius: losses and calibration by hand; the shipped network on faces and other things."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data as skimage_data

import training.uncertainty
from benchmarks.uncertainty.page import held_across_halves
from checkpoint import ModelConfig, load_checkpoint, save_checkpoint
from data_load import load_split
from detector import DEFAULT_CHECKPOINT, KeypointDetector
from models import build_model, heatmap_spread
from training.recipes import get_recipe
from training.uncertainty import (
    COVERAGE,
    TEST_SCENES,
    TRAINING_SCENES,
    UncertaintySamples,
    augmented_faces,
    calibrate,
    fit,
    no_faces,
    pinball,
    set_calibration,
    uncertainty_figures,
    with_uncertainty,
)


@pytest.fixture(autouse=True)
def one_torch_thread():
    """The head is so small that several threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small():
    torch.manual_seed(0)
    plain = build_model("heatmapnet", input_size=32, width=8).eval()
    config = ModelConfig("heatmapnet", 32, {"width": 8}, keypoint_mean=15.5, keypoint_std=8.0, passes=2)
    return plain, config


def samples(count=4000, seed=0):
    """Two inputs decide: the first one which crop is a face, the second how large its errors are."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(count, 64 + 68)).astype(np.float32)
    is_face = inputs[:, 0] > 0
    size = np.exp(0.5 * inputs[:, 1])[:, None] * 0.1
    errors = (rng.rayleigh(size=(count, 68)) * size).astype(np.float32)
    errors[~is_face] = np.nan
    return UncertaintySamples(*(torch.from_numpy(values) for values in (inputs, is_face, errors)))


def test_pinball_by_hand():
    # above the quantile every unit costs 0.9, below it 0.1
    assert pinball(torch.tensor([3.0]), torch.tensor([1.0]), 0.9).item() == pytest.approx(1.8)
    assert pinball(torch.tensor([1.0]), torch.tensor([3.0]), 0.9).item() == pytest.approx(0.2)
    values = torch.arange(1.0, 101.0)
    costs = [pinball(values, torch.tensor(q), 0.9).item() for q in np.arange(80.0, 100.0)]
    assert abs(80 + int(np.argmin(costs)) - 90) <= 1


def test_spread_by_hand():
    heatmaps = torch.full((1, 3, 5, 7), -40.0)
    heatmaps[0, 0, 2, 3] = 0  # one cell: no spread
    heatmaps[0, 1, 1, 0] = heatmaps[0, 1, 1, 6] = 0  # two cells six apart: 3 from their middle
    heatmaps[0, 2, 0, 0] = heatmaps[0, 2, 4, 3] = 0  # 3-4-5: 2.5 from their middle
    torch.testing.assert_close(heatmap_spread(heatmaps), torch.tensor([[0.0, 3.0, 2.5]]), atol=1e-3, rtol=0)


def test_the_head_changes_no_keypoint_and_is_saved_in_the_checkpoint(small, tmp_path):
    plain, config = small
    model, new_config = with_uncertainty(plain, config)
    x = torch.rand(3, 1, 32, 32)
    assert torch.isnan(plain.estimate(x)[1]).all()
    keypoints, confidence, radius, visibility = model.estimate(x)
    torch.testing.assert_close(keypoints, plain(x), rtol=0, atol=0)
    assert confidence.shape == (3,)
    assert radius.shape == (3, 68)
    assert (radius > 0).all()
    assert torch.isnan(visibility).all()
    save_checkpoint(tmp_path / "mine", model, new_config)
    again, loaded = load_checkpoint(tmp_path / "mine")
    assert loaded.model_args == {"width": 8, "uncertainty": True}
    torch.testing.assert_close(again.estimate(x)[2], radius)


def test_the_head_learns_what_decides(small):
    model, _ = with_uncertainty(*small)
    fit(model, samples(), steps=400)
    new = samples(seed=1)
    figures = uncertainty_figures(model, new)
    assert figures["faces_above_half"] > 0.9
    assert figures["others_above_half"] < 0.1
    assert figures["coverage"] == pytest.approx(COVERAGE, abs=0.05)  # uncalibrated
    _, radius = model.uncertainty(new.inputs)
    large, little = new.inputs[:, 1] > 1, new.inputs[:, 1] < -1
    # errors differ by a factor of e^(0.5 * 3) = 4.5 between the middles of these two groups
    assert 2.5 < radius[large].mean() / radius[little].mean() < 8


def test_calibration_repairs_a_radius_that_is_too_small(small):
    model, _ = with_uncertainty(*small)
    fit(model, samples(), steps=300)
    worse = samples(seed=2)
    worse = replace(worse, errors=worse.errors * 1.5)  # as on held-out people
    assert uncertainty_figures(model, worse)["coverage"] < 0.8
    found = calibrate(model, worse)
    same = calibrate(model, samples(seed=2))
    assert found["radius_scale"] == pytest.approx(1.5 * same["radius_scale"], rel=1e-4)
    set_calibration(model, found)
    assert uncertainty_figures(model, worse)["coverage"] == pytest.approx(COVERAGE, abs=0.005)


def test_fitting_leaves_the_labels_of_the_data_set(small, sample_folder):
    """Also when it fails half-way."""
    recipe = get_recipe("heatmapnet").override({"input_size": "32"})
    dataset = load_split(sample_folder, "official", "train", seed=0)
    before = dataset.keypoints.copy()

    class Failing(torch.nn.Linear):
        def head_inputs(self, images):
            assert images.shape[1:] == (1, 32, 32)
            raise MemoryError

    with pytest.raises(MemoryError):
        augmented_faces(Failing(1, 1), recipe, dataset)
    np.testing.assert_array_equal(dataset.keypoints, before)


def test_augmented_faces_are_crops_of_every_face(small, sample_folder):
    model, _ = with_uncertainty(*small)
    dataset = load_split(sample_folder, "official", "train", seed=0)
    found = augmented_faces(model, get_recipe("heatmapnet").override({"input_size": "32"}), dataset, epochs=1)
    assert len(found.inputs) == len(found.errors) == len(dataset)
    assert found.is_face.all()
    assert torch.isfinite(found.errors).all()


def test_boxes_without_a_face_are_beside_the_faces(small, sample_folder):
    model, config = with_uncertainty(*small)
    dataset = load_split(sample_folder, "official", "train")
    found = no_faces(model, config, dataset, ("coins",))
    assert not found.is_face.any()
    assert torch.isnan(found.errors).all()
    assert len(found.inputs) >= 100  # the scene alone gives as many
    assert not set(TRAINING_SCENES) & set(TEST_SCENES)
    for name in (*TRAINING_SCENES, *TEST_SCENES):
        assert getattr(skimage_data, name)().size


def test_a_radius_is_checked_on_people_it_was_not_scaled_on():
    person = np.arange(40) // 10
    errors, radius = np.ones((40, 68)), np.ones((40, 68))
    errors[person % 2 == 1] = 2.0
    # scaled on the odd people (2 px) it holds all even ones (1 px), the other way round none
    assert held_across_halves(errors, radius, person) == (1.0, 0.0)


def test_other_networks_are_refused(tmp_path, capsys):
    recipe = get_recipe("naimishnet")
    save_checkpoint(tmp_path / "dense", recipe.build_model(), recipe.config())
    assert training.uncertainty.main([str(tmp_path / "dense"), "--calibrate"]) == 1
    assert "has no heatmaps" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["abacus", "meta:x"])
def test_a_device_that_is_not_there_is_named(device, capsys):
    assert training.uncertainty.main(["heatmapnet-small-identity", "--calibrate", "--device", device]) == 1
    assert f"device {device!r} cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "5", '{"radius_scale": 1.0}', '{"radius_scale": "a"}'])
def test_a_calibration_file_needs_its_three_factors(text, tmp_path, capsys):
    (tmp_path / "mine.json").write_text(text)
    arguments = ["heatmapnet-small-identity", "--calibration", str(tmp_path / "mine.json")]
    assert training.uncertainty.main(arguments) == 1
    assert "the numbers radius_scale, logit_scale, logit_shift" in capsys.readouterr().err


# --- what ships --------------------------------------------------------------------------------


def test_the_shipped_network_tells_a_face_from_a_cup_of_coffee(sample_photo):
    detector = KeypointDetector.from_pretrained(DEFAULT_CHECKPOINT)
    face = detector(sample_photo)[0]
    assert face.confidence > 0.9
    eyes = np.linalg.norm(face.keypoints[36] - face.keypoints[45])
    assert (face.radius > 0).all()
    assert 0.01 < np.median(face.radius) / eyes < 0.25
    cat = skimage_data.chelsea()
    for box in ([20, 150, 160, 290], [300, 10, 440, 150]):
        assert detector(cat, boxes_xyxy=[box])[0].confidence < 0.5
