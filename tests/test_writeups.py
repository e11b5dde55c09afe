"""The write-ups as recipes, the loss that they print, and the time limit of a run."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from checkpoint import ModelConfig, load_checkpoint, load_config
from data_load import CenterCrop, FacialKeypointsDataset, Normalize, RandomCrop, Rescale
from geometry import invert, transform_points, whole_image_matrix
from models import build_model, count_parameters
from training import loop
from training.classic_loss import (
    ClassicCrops,
    all_losses,
    classic_losses,
    losses_without_looking,
    predict_crops,
)
from training.evaluation import ConstantPredictor
from training.loop import train
from training.recipes import RECIPES, get_recipe
from training.writeups import WRITEUPS, WriteUp

EVERY_WRITE_UP = pytest.mark.parametrize("name", WRITEUPS)


def a_sample(shape_hw=(300, 280), keypoints=None, image=None):
    """A black image, all keypoints at one place unless given."""
    keypoints = np.full((68, 2), 120.0, np.float32) if keypoints is None else keypoints
    image = np.zeros((*shape_hw, 3), np.uint8) if image is None else image
    return {"image": image, "keypoints": keypoints, "rng": np.random.default_rng(0)}


# --- recipes ----------------------------------------------------------------------------------


@EVERY_WRITE_UP
def test_each_write_up_is_a_recipe_with_what_it_states(name):
    recipe, entry = RECIPES[name], WRITEUPS[name]
    for fields in (entry.states, entry.stands_in):
        assert {field: getattr(recipe, field) for field in fields} == fields
    assert {"model", "loss", "optimizer", "learning_rate", "epochs", "input_size"} <= entry.settings().keys()
    assert recipe.schedule == "constant", "a time limit would cut a schedule short"
    assert (recipe.crop_mode, recipe.whole_view, recipe.passes, recipe.flip_tta) == (
        "classic",
        "crop",
        1,
        False,
    )


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("writeup_paper_naimishnet", {"input_size": 96, "loss": "mse", "optimizer": "adam"}),
        ("writeup_paper_naimishnet", {"learning_rate": 1e-3, "batch_size": 128, "epochs": 300}),
        ("writeup_002_batch_norm", {"batch_size": 32, "epochs": 7, "loss": "smooth_l1", "optimizer": "adam"}),
        ("writeup_003_lr_1e-2", {"epochs": 10, "learning_rate": 0.01, "loss": "mse", "optimizer": "adam"}),
        ("writeup_003_lr_1e-3", {"epochs": 10, "learning_rate": 0.001, "loss": "mse", "optimizer": "adam"}),
    ],
)  # fmt: skip
def test_what_the_sources_print_is_marked_as_stated(name, stated):
    assert stated.items() <= WRITEUPS[name].states.items()


def test_what_no_source_says_is_marked_as_standing_in():
    for name in ("writeup_000_strided", "writeup_001_two_layer", "writeup_004_wide_dense"):
        assert {"loss", "learning_rate", "batch_size", "epochs"} <= WRITEUPS[name].stands_in.keys()
    assert (
        WRITEUPS["writeup_003_lr_1e-2"].stands_in["model"]
        == WRITEUPS["writeup_002_batch_norm"].states["model"]
    )
    assert [entry.printed_losses for entry in WRITEUPS.values() if entry.printed_losses] == [
        (0.099, 0.077),
        (0.476, 0.463),
    ]


def test_a_field_is_stated_or_stands_in():
    entry = WriteUp("x", "000", states={"loss": "mse"}, stands_in={"loss": "l1"})
    with pytest.raises(ValueError, match="x gives loss twice"):
        entry.settings()


@EVERY_WRITE_UP
def test_the_transform_gives_what_the_network_takes(name):
    recipe = RECIPES[name]
    sample = recipe.transform()(a_sample())
    size = recipe.input_size
    assert sample["image"].shape == (1, size, size)
    assert 0 <= sample["image"].min() <= sample["image"].max() <= 1
    with torch.device("meta"):
        network = build_model(recipe.model, input_size=size, **recipe.model_args)
        assert network(torch.zeros(2, 1, size, size)).shape == (2, 68, 2)
    assert 1e6 < count_parameters(network) < 2e8


def test_the_classic_recipe_is_rescale_and_random_crop():
    ours = RECIPES["writeup_002_batch_norm"].transform()(a_sample())
    sample = a_sample()
    for step in (Rescale(250), RandomCrop(224), Normalize(100, 50)):
        sample = step(sample)
    np.testing.assert_allclose(ours["keypoints"], sample["keypoints"], atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_augmentation_after_the_classic_crop_keeps_points_on_their_pixels(seed):
    image = np.zeros((300, 280, 3), np.uint8)
    image[148:153, 138:143] = 255  # centred at (140, 150)
    keypoints = np.tile(np.array([140.0, 150.0], np.float32), (68, 1))
    sample = {**a_sample(image=image, keypoints=keypoints), "rng": np.random.default_rng(seed)}
    out = RECIPES["writeup_003_lr_1e-2"].transform()(sample)
    picture = out["image"][0].numpy()
    y, x = np.nonzero(picture > (picture.min() + picture.max()) / 2)
    points = out["keypoints"].numpy() * 50 + 100
    np.testing.assert_allclose(points, np.tile([x.mean(), y.mean()], (68, 1)), atol=1.0)


@pytest.mark.parametrize("name", ["writeup_paper_naimishnet", "writeup_001_two_layer"])
def test_the_small_ones_train_on_the_sample(name, sample_folder, tmp_path):
    recipe = get_recipe(name).override({"epochs": 1, "batch_size": 16})
    run = train(recipe, sample_folder, run_folder=tmp_path, progress=False, trained_on="sample")
    assert np.isfinite(run.history[0]["loss"])
    _, config = load_checkpoint(tmp_path / "checkpoint")
    assert (config.recipe, config.epochs, config.stopped_early, config.whole_view) == (name, 1, False, "crop")


# --- the time limit -----------------------------------------------------------------------------


def tiny(**changes):
    return get_recipe("naimishnet").override(
        {"input_size": 32, "batch_size": 16, "schedule": "constant", "ema_decay": 0.0, "epochs": 6, **changes}
    )


def slow_clock(monkeypatch, seconds):
    """Each reading of the training loop's clock is `seconds` after the one before."""
    readings = iter(range(0, 10**6, seconds))
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(readings)))


def test_a_limit_ends_with_the_last_whole_epoch_that_fits(sample_folder, tmp_path, monkeypatch):
    slow_clock(monkeypatch, 20)  # an epoch of 20 s: the fourth would end at 80 s
    run = train(tiny(), sample_folder, run_folder=tmp_path, minutes=1.2, progress=False)
    assert [row["seconds"] for row in run.history] == [20, 20, 20]
    config = load_config(tmp_path / "checkpoint")
    assert (config.epochs, config.stopped_early) == (3, True)


def test_a_limit_counts_what_was_trained_before_and_can_be_raised(sample_folder, tmp_path, monkeypatch):
    whole = train(tiny(), sample_folder, run_folder=tmp_path / "whole", progress=False)
    slow_clock(monkeypatch, 20)
    options = {"run_folder": tmp_path / "stopped_early", "resume": True, "progress": False}
    assert len(train(tiny(), sample_folder, minutes=0.01, **options).history) == 1  # the first one always
    assert len(train(tiny(), sample_folder, minutes=0.4, **options).history) == 1
    assert len(train(tiny(), sample_folder, minutes=0.7, **options).history) == 2
    run = train(tiny(), sample_folder, **options)
    assert (run.config.epochs, run.config.stopped_early) == (6, False)
    for name, tensor in run.model.state_dict().items():
        torch.testing.assert_close(tensor, whole.model.state_dict()[name], rtol=0, atol=0)


def test_a_limit_that_makes_no_sense_is_refused(sample_folder, tmp_path):
    for minutes in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="minutes must be a positive number"):
            train(tiny(), sample_folder, run_folder=tmp_path, minutes=minutes)
    with pytest.raises(ValueError, match="one_cycle schedule.*schedule=constant"):
        train(tiny(schedule="one_cycle"), sample_folder, run_folder=tmp_path, minutes=1)


# --- the loss that write-ups print --------------------------------------------------------------------


@pytest.fixture
def two_images(tmp_path):
    """A 250x250 and a 500x500 image, keypoints at one place each."""
    dataset = FacialKeypointsDataset.from_paths(
        ["Ann_00.png", "Bo_00.png"], [np.full((68, 2), 100.0), np.full((68, 2), 199.5)]
    )
    dataset.image = lambda i: np.zeros((250 * (i + 1), 250 * (i + 1), 3), np.uint8)
    return dataset


def test_losses_by_hand():
    true = np.zeros((3, 68, 2))
    predicted = true.copy()
    predicted[..., 0] = 25.0  # half a unit in x, none in y
    assert all_losses(predicted, true) == pytest.approx({"mse": 0.25 / 2, "smooth_l1": 0.125 / 2})
    predicted[..., 0] = 100.0  # two units: the linear branch, 2 - 0.5
    assert all_losses(predicted, true) == pytest.approx({"mse": 4 / 2, "smooth_l1": 1.5 / 2})


def test_centre_crops_by_hand(two_images):
    crops = ClassicCrops(two_images, "centre")
    # 13 pixels less on each side; and (199.5 + 0.5) / 2 - 0.5 = 99.5 in the image of half the size
    np.testing.assert_allclose(crops.keypoints[:, 0], [[87, 87], [86.5, 86.5]])
    assert crops.image(1).shape == (224, 224, 3)
    assert len(crops) == 2


def test_random_crops_repeat_by_seed_and_draw(two_images):
    one, again = (ClassicCrops(two_images, "random", seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.keypoints, again.keypoints)
    other = ClassicCrops(two_images, "random", seed=3, draw=1)
    assert not np.array_equal(one.keypoints, other.keypoints)
    assert (100 - one.keypoints[0] >= 0).all()
    assert (100 - one.keypoints[0] <= 26).all()
    with pytest.raises(ValueError, match="random, centre, got 'middle'"):
        ClassicCrops(two_images, "middle")


def test_a_predictor_of_any_input_size_answers_in_crop_pixels(two_images):
    class Middle:
        """The middle of its input, wherever that is in the image."""

        config = ModelConfig(model="none", input_size=96)

        def predict(self, images, matrices):
            return np.stack([transform_points(np.full((68, 2), 47.5), invert(m)) for m in matrices])

    crops = ClassicCrops(two_images, "centre")
    np.testing.assert_allclose(predict_crops(Middle(), crops), np.full((2, 68, 2), 111.5), atol=1e-4)


def test_the_crop_is_the_one_that_checkpoints_are_measured_in(two_images):
    matrix = whole_image_matrix((500, 500), 224, "crop")
    sample = CenterCrop(224)(Rescale(250)(a_sample((500, 500), np.full((68, 2), 199.5, np.float32))))
    np.testing.assert_allclose(
        transform_points(np.full((68, 2), 199.5), matrix), sample["keypoints"], atol=1e-4
    )


def test_the_constant_predictor_gets_the_variance(sample_folder):
    constant = ConstantPredictor(ModelConfig(model="baseline", input_size=96))
    losses = classic_losses(constant, sample_folder, "official", draws=1)
    rows = losses_without_looking(sample_folder, "official", draws=1)
    kept = {row["crop"]: row for row in rows if row["aspect"] == "kept"}
    for crop in ("random", "centre"):
        assert losses[crop]["mse"] == pytest.approx(kept[crop]["constant_test"][0], rel=1e-4)
        assert kept[crop]["zero_test"][0] > kept[crop]["constant_test"][0]
    assert losses["random"]["mse"] > losses["centre"]["mse"]
