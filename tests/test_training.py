"""The training loop: resuming, interruption, several processes, and what stops it."""

import csv
import ctypes
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoint import load_checkpoint
from data_load import load_split, read_keypoints_csv
from training.loop import (
    EpochSampler,
    MovingAverage,
    TrainingError,
    build_optimizer,
    learning_rate_at,
    set_malloc_options,
    split_by_identity,
    train,
)
from training.losses import LOSSES, WingLoss, build_loss
from training.recipes import RECIPES, Recipe, get_recipe

ROOT = Path(__file__).parent.parent
TINY = {"input_size": "32", "batch_size": "16", "epochs": "3"}
TINY_FLAGS = [flag for item in TINY.items() for flag in ("--set", "=".join(item))]


def tiny(name="naimishnet", **changes) -> Recipe:
    return get_recipe(name).override({**TINY, **changes})


def weights_of(folder):
    model, _ = load_checkpoint(Path(folder) / "checkpoint")
    return model.state_dict()


def assert_same_weights(one, two):
    for name, tensor in weights_of(one).items():
        torch.testing.assert_close(tensor, weights_of(two)[name], rtol=0, atol=0, msg=name)


def train_command(sample_folder, run_folder, *more):
    """A real train.py process on the sample."""
    environment = {**os.environ, "KEYPOINTS_DATA": str(sample_folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "train.py", "--recipe", "naimishnet", "--run", str(run_folder)]
    command += [*TINY_FLAGS, *more]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def rows_of(run_folder):
    with open(Path(run_folder) / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def wait_for_epoch(process, run_folder, epoch):
    for _ in range(1200):
        if (run_folder / "history.csv").exists() and len(rows_of(run_folder)) >= epoch:
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    raise AssertionError("no epoch was finished within a minute")


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_resumes_to_the_same_weights(sample_folder, tmp_path, blow):
    more = ["--set", "epochs=10"]
    whole = train_command(sample_folder, tmp_path / "whole", *more)
    struck = train_command(sample_folder, tmp_path / "struck", *more)
    wait_for_epoch(struck, tmp_path / "struck", 2)
    struck.send_signal(blow)
    output = struck.communicate()[0]
    assert struck.returncode == (130 if blow == signal.SIGINT else -signal.SIGKILL), output
    assert len(rows_of(tmp_path / "struck")) < 10
    assert not (tmp_path / "struck" / "checkpoint").exists()
    refused = train_command(sample_folder, tmp_path / "struck", *more)
    assert "resume it (--resume)" in refused.communicate()[0]
    resumed = train_command(sample_folder, tmp_path / "struck", "--resume", *more)
    assert resumed.wait() == 0, resumed.communicate()[0]
    assert whole.wait() == 0, whole.communicate()[0]
    assert_same_weights(tmp_path / "whole", tmp_path / "struck")
    for one, two in zip(rows_of(tmp_path / "whole"), rows_of(tmp_path / "struck"), strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {
            k: v for k, v in two.items() if k != "seconds"
        }


def test_resume_refuses_another_recipe(sample_folder, tmp_path):
    train(tiny(epochs="1"), sample_folder, run_folder=tmp_path, progress=False)
    with pytest.raises(TrainingError, match="belongs to another run"):
        train(tiny(epochs="2"), sample_folder, run_folder=tmp_path, resume=True, progress=False)


def test_state_holds_tensors_and_plain_values_only(sample_folder, tmp_path):
    train(tiny(epochs="1"), sample_folder, run_folder=tmp_path, progress=False)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["history"][0]["epoch"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint", "history.csv", "state.pt", "tensorboard",
    ]  # fmt: skip


def test_a_loss_that_is_not_finite_names_the_batch(sample_folder, tmp_path):
    with pytest.raises(TrainingError, match=r"epoch \d, batch \d+ of \d+ \(Sample.*learning rate \(1e\+20\)"):
        train(
            tiny(learning_rate="1e20", loss="mse", schedule="constant"),
            sample_folder, run_folder=tmp_path, progress=False,
        )  # fmt: skip


def test_two_processes_reproduce_the_loss_of_one(sample_folder, tmp_path):
    # no dropout: its random numbers differ between processes
    flags = ["--set", "model_args.dropout=0", "--set", "epochs=2"]
    one = train_command(sample_folder, tmp_path / "one", *flags)
    assert one.wait() == 0, one.communicate()[0]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", "0",
        "train.py", "--recipe", "naimishnet", "--run", str(tmp_path / "two"), *TINY_FLAGS, *flags,
    ]  # fmt: skip
    environment = {**os.environ, "KEYPOINTS_DATA": str(sample_folder), "OMP_NUM_THREADS": "1"}
    two = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert two.returncode == 0, two.stdout + two.stderr
    for a, b in zip(rows_of(tmp_path / "one"), rows_of(tmp_path / "two"), strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-4)
        assert float(a["nme"]) == pytest.approx(float(b["nme"]), rel=1e-4)
    for name, tensor in weights_of(tmp_path / "one").items():
        torch.testing.assert_close(tensor, weights_of(tmp_path / "two")[name], rtol=1e-3, atol=1e-4)


def test_training_learns_and_reports(sample_folder, tmp_path):
    seen = []
    plain = {f"augmentation.{f}": "0" for f in ("rotation_deg", "scale", "shift", "flip_prob")}
    recipe = tiny(epochs="30", schedule="constant", **{"model_args.dropout": "0"}, **plain)
    run = train(
        recipe, sample_folder, run_folder=tmp_path, validate=0.2, progress=False,
        on_epoch=lambda row, model: seen.append((row["epoch"], model)),
    )  # fmt: skip
    assert [epoch for epoch, _ in seen] == list(range(1, 31))
    assert run.history[-1]["loss"] < 0.8 * run.history[0]["loss"]
    assert run.history[-1]["nme"] < 0.8 * run.history[0]["nme"]
    assert all(np.isfinite(row["validation_nme"]) for row in run.history)
    assert run.config.trained_on == "official"
    assert not run.model.training
    assert any((tmp_path / "tensorboard").iterdir())


def test_held_out_identities_are_never_trained_on(sample_folder):
    dataset = load_split(sample_folder, "official", "train")
    kept, held = split_by_identity(dataset, 0.25)
    names = np.array(dataset.identities)
    assert held
    assert not set(names[kept]) & set(names[held])
    assert len(kept) + len(held) == len(dataset)
    assert split_by_identity(dataset, 0.0)[1] == []


def test_too_few_images_are_named(sample_folder, tmp_path):
    with pytest.raises(TrainingError, match="fewer than one batch of 5000"):
        train(tiny(batch_size="5000"), sample_folder, run_folder=tmp_path, progress=False)


def test_sampler_order_depends_on_seed_and_epoch_alone():
    one, two = EpochSampler(50, 3), EpochSampler(50, 3)
    list(one)
    assert list(one) == list(two)
    assert sorted(one) == list(range(50))
    two.epoch = 1
    assert list(one) != list(two)


def test_one_cycle_by_hand():
    recipe = Recipe("x", "naimishnet", learning_rate=1.0, schedule="one_cycle")
    rates = [learning_rate_at(step, 100, recipe) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[15] == pytest.approx((1 / 25 + 1) / 2)  # half-way through the warm-up
    assert rates[30] == pytest.approx(1.0)
    assert rates[65] == pytest.approx(0.5)
    assert rates[99] < 0.001
    assert learning_rate_at(7, 100, replace(recipe, schedule="constant")) == 1.0
    with pytest.raises(ValueError, match="schedule"):
        learning_rate_at(0, 1, replace(recipe, schedule="steps"))


def test_moving_average_by_hand():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    average = MovingAverage(layer, decay=0.5)
    layer.weight.data.fill_(1.0)
    average.update(layer)  # the first steps use (1 + 1) / (10 + 1)
    assert average.model.weight.item() == pytest.approx(1 - 2 / 11)
    for _ in range(30):
        average.update(layer)
    assert average.model.weight.item() == pytest.approx(1.0, abs=1e-6)


def test_wing_loss_by_hand():
    wing = WingLoss(width=10, curvature=2)
    zero = torch.zeros(1, 1, 2)
    assert wing(zero, zero).item() == 0
    assert wing(zero + 2, zero).item() == pytest.approx(10 * np.log(2))
    brightness = 10 - 10 * np.log(6)
    assert wing(zero + 12, zero).item() == pytest.approx(12 - brightness, rel=1e-6)
    # continuous where the branches meet
    assert wing(zero + 9.9999, zero).item() == pytest.approx(wing(zero + 10.0001, zero).item(), abs=1e-3)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_are_zero_at_the_truth_and_have_gradients(name):
    loss, true = build_loss(name), torch.randn(2, 68, 2)
    assert loss(true, true).item() == 0
    predicted = (true + 0.3).requires_grad_()
    loss(predicted, true).backward()
    assert (predicted.grad > 0).all()


# Page faults of ten tensors of 64 MB, one after the other, after two of them.
PAGE_FAULTS = """
import resource, torch
from training.parts import set_malloc_options
if {keep}:
    assert set_malloc_options()
def use(times):
    for _ in range(times):
        torch.ones(16 << 20)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use(2)
before = faults()
use(10)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_used_again():
    given_back, kept = (
        int(subprocess.check_output([sys.executable, "-c", PAGE_FAULTS.format(keep=keep)], cwd=ROOT))
        for keep in (False, True)
    )
    assert kept < given_back / 10  # 0 and 163,850 with pages of 4 KiB


def test_a_c_library_that_cannot_keep_memory_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not set_malloc_options()


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="there are mse"):
        build_loss("huber")
    with pytest.raises(ValueError, match="there are .*naimishnet"):
        get_recipe("nothing")
    with pytest.raises(ValueError, match="optimizer must be"):
        build_optimizer(replace(RECIPES["naimishnet"], optimizer="sgd"), torch.nn.Linear(1, 1))


def test_override_parses_types_and_dots():
    recipe = get_recipe("naimishnet").override(
        {"epochs": "3", "learning_rate": "1", "flip_tta": "false", "augmentation.rotation_deg": "5",
         "model_args.dropout": "0.5", "augmentation.wide_range": "1.5,2", "loss": "mse"}
    )  # fmt: skip
    assert (recipe.epochs, recipe.learning_rate, recipe.flip_tta) == (3, 1.0, False)
    assert isinstance(recipe.learning_rate, float)
    assert recipe.augmentation.rotation_deg == 5.0
    assert recipe.augmentation.wide_range == (1.5, 2)
    assert recipe.model_args["dropout"] == 0.5
    assert get_recipe("naimishnet").epochs != 3  # the original is untouched


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": "3"}, "no field 'epoch'.*epochs"),
        ({"epochs": "many"}, "epochs must be of type int, got 'many'"),
        ({"epochs": "2.5"}, "epochs must be of type int"),
        ({"epochs": "true"}, "epochs must be an int"),
        ({"augmentation.colour": "1"}, "no field 'augmentation.colour'"),
        ({"epochs.more": "1"}, "'epochs' has no fields"),
    ],
)
def test_override_refuses_what_it_does_not_know(changes, message):
    with pytest.raises(ValueError, match=message):
        get_recipe("naimishnet").override(changes)


def test_training_csv_row_is_what_the_network_is_trained_on(sample_folder):
    # the first keypoint of the CSV, through crop and normalisation and back, is itself
    recipe = tiny(crop_mode="whole", **{"augmentation.flip": "0"})
    recipe = recipe.override(
        {f"augmentation.{k}": "0" for k in ("rotation_deg", "scale", "shift", "wide_crop_prob")}
    )
    dataset = load_split(sample_folder, "official", "train", recipe.transform(), seed=0)
    names, keypoints = read_keypoints_csv(sample_folder / "training_frames_keypoints.csv")
    height, width = dataset.image(0).shape[:2]
    assert dataset.paths[0].name == names[0]
    crop = dataset[0]["keypoints"].numpy() * recipe.keypoint_std + recipe.keypoint_mean
    side = max(height, width)
    back = (crop + 0.5) * side / 32 - 0.5 - np.array([(side - width) / 2, (side - height) / 2])
    np.testing.assert_allclose(back, keypoints[0], atol=1e-2)
