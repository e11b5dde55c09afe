"""The training loop and train.py: results, resuming, interruption, several processes, errors."""

import csv
import ctypes
import json
import os
import pickle
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import files
import train as train_py
from checkpoint import load_checkpoint, load_config
from data_load import load_split, read_keypoints_csv
from detector import __version__
from files import LockedError
from training.loop import (
    EpochSampler,
    MovingAverage,
    TrainingError,
    learning_rate_at,
    run_lock,
    set_malloc_options,
    some_of,
    split_by_identity,
    train,
)
from training.losses import build_loss
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


def train_process(sample_folder, run_folder, *more, launch=()):
    """A process that runs train.py on the sample, with as many threads as this one."""
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "KEYPOINTS_DATA": str(sample_folder), "OMP_NUM_THREADS": threads}
    command = [sys.executable, *launch, "train.py", "--recipe", "naimishnet", "--run", str(run_folder)]
    command += [*TINY_FLAGS, *more]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a shell that starts the tests in the background lets them ignore Ctrl-C, and so this process too
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def rows_of(run_folder):
    with open(Path(run_folder) / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def wait_for_epoch(process, run_folder, epoch):
    for _ in range(6000):
        if (run_folder / "history.csv").exists() and len(rows_of(run_folder)) >= epoch:
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    raise AssertionError("no epoch was finished within five minutes")


@pytest.fixture(scope="module")
def whole_run(sample_folder, tmp_path_factory):
    """The folder of a run of 30 epochs without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    train(tiny(epochs="30"), sample_folder, run_folder=folder, trained_on="sample", progress=False)
    return folder


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_resumes_to_the_same_weights(sample_folder, tmp_path, whole_run, blow):
    struck = train_process(sample_folder, tmp_path, "--set", "epochs=30")
    wait_for_epoch(struck, tmp_path, 2)
    struck.send_signal(blow)
    output = struck.communicate()[0]
    assert struck.returncode == (130 if blow == signal.SIGINT else -signal.SIGKILL), output
    assert len(rows_of(tmp_path)) < 30
    assert not (tmp_path / "checkpoint").exists()
    again = partial(
        train, tiny(epochs="30"), sample_folder, run_folder=tmp_path, trained_on="sample", progress=False
    )
    with pytest.raises(TrainingError, match=r"resume it \(--resume\)"):
        again()
    again(resume=True)
    assert_same_weights(whole_run, tmp_path)
    for one, two in zip(rows_of(whole_run), rows_of(tmp_path), strict=True):
        assert {**one, "seconds": ""} == {**two, "seconds": ""}


def test_resume_refuses_another_recipe(sample_folder, tmp_path):
    train(tiny(epochs="1"), sample_folder, run_folder=tmp_path, progress=False)
    message = r"other settings: recipe.epochs was 1 and is now 2; seed was 0 and is now 3. Take the former"
    with pytest.raises(TrainingError, match=message):
        train(tiny(epochs="2"), sample_folder, seed=3, run_folder=tmp_path, resume=True, progress=False)


def test_epochs_are_extended_where_the_schedule_is_constant(sample_folder, tmp_path):
    again = partial(train, data_folder=sample_folder, progress=False, trained_on="sample")
    constant = tiny(epochs="1", schedule="constant")
    again(constant, run_folder=tmp_path / "a")
    longer = again(constant.override({"epochs": 3}), run_folder=tmp_path / "a", resume=True)
    assert [row["epoch"] for row in longer.history] == [1, 2, 3]
    assert longer.config.epochs == 3
    again(constant.override({"epochs": 3}), run_folder=tmp_path / "b")
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    with pytest.raises(TrainingError, match="epochs was 3 and is now 2. Epochs can be .* done: 3"):
        again(constant.override({"epochs": 2}), run_folder=tmp_path / "a", resume=True)

    again(tiny(epochs="1"), run_folder=tmp_path / "c")
    with pytest.raises(TrainingError, match="this one has schedule=one_cycle; done: 1"):
        again(tiny(epochs="2"), run_folder=tmp_path / "c", resume=True)
    many = tiny(epochs="2", batch_size="8", loss="mse", passes="1")
    with pytest.raises(
        TrainingError, match="batch_size was 16 and is now 8; .*recipe.loss .*; and 1 more. Take"
    ):
        again(many, run_folder=tmp_path / "c", resume=True)


def test_a_dry_run_takes_a_few_images(sample_folder, tmp_path):
    result = train(tiny(epochs="1"), sample_folder, run_folder=tmp_path, limit=8, progress=False)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    settings = json.loads(state["settings"])
    assert (settings["limit"], settings["recipe"]["batch_size"]) == (8, 4)  # two steps
    assert len(result.history) == 1
    dataset = load_split(sample_folder, "official", "train")
    picked = some_of(list(range(len(dataset))), 8)
    assert len(picked) == 8
    assert picked == some_of(list(range(len(dataset))), 8)
    with pytest.raises(TrainingError, match="limit was 8 and is now null"):
        train(tiny(epochs="1"), sample_folder, run_folder=tmp_path, resume=True, progress=False)


def test_progress_counts_steps_and_images(sample_folder, tmp_path, capsys):
    train(tiny(epochs="2", batch_size="4"), sample_folder, run_folder=tmp_path, limit=8)
    lines = capsys.readouterr().err.split("\r")
    assert re.search(r"epoch 2/2, step 2/2: 100%.* 16/16 .*images/s.*NME", lines[-1]), lines[-1]


def test_resume_refuses_changed_training_rows(sample_folder, tmp_path):
    data = shutil.copytree(sample_folder, tmp_path / "data")
    train(tiny(epochs="1"), data, run_folder=tmp_path / "run", progress=False)
    table = data / "training_frames_keypoints.csv"
    lines = table.read_text().splitlines()
    name, first, *others = lines[1].split(",")
    lines[1] = ",".join([name, str(float(first) + 1), *others])
    table.write_text("\n".join(lines) + "\n")
    with pytest.raises(TrainingError, match='other settings: training_rows was "[0-9a-f]{16}" and is now'):
        train(tiny(epochs="1"), data, run_folder=tmp_path / "run", resume=True, progress=False)


def test_a_damaged_state_is_named(sample_folder, tmp_path):
    train(tiny(epochs="1"), sample_folder, run_folder=tmp_path, progress=False)
    state = tmp_path / "state.pt"
    whole = state.read_bytes()
    again = partial(train, tiny(epochs="1"), sample_folder, run_folder=tmp_path, resume=True, progress=False)
    for damaged in (b"", b"garbage", whole[:-5000], pickle.dumps({"a": 1}, protocol=2)):
        state.write_bytes(damaged)
        with pytest.raises(TrainingError, match=r"state.pt is damaged; remove .* and train again"):
            again()
    state.write_bytes(whole)
    values = torch.load(state, weights_only=True)
    for lost in ("model", "history", "optimizer", "settings"):
        torch.save({name: value for name, value in values.items() if name != lost}, state)
        with pytest.raises(TrainingError, match=r"state.pt is damaged"):
            again()


def test_a_row_of_the_history_that_a_kill_has_cost_is_written_again(sample_folder, tmp_path):
    first = train(tiny(epochs="2"), sample_folder, run_folder=tmp_path, progress=False)
    lines = (tmp_path / "history.csv").read_text().splitlines()
    (tmp_path / "history.csv").write_text("\n".join(lines[:-1]) + "\n")  # killed after state.pt was written
    (tmp_path / ".partial-abcdefgh").mkdir()
    again = train(tiny(epochs="2"), sample_folder, run_folder=tmp_path, resume=True, progress=False)
    assert repr(again.history) == repr(first.history)  # NaN is not equal to itself
    assert (tmp_path / "history.csv").read_text().splitlines() == lines
    assert not list(tmp_path.glob(".partial*"))


def test_a_folder_in_which_another_process_trains_is_refused(sample_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LOCK_WAIT_S", 0)
    with (
        run_lock(tmp_path),
        pytest.raises(LockedError, match=f"another run is working in .*process {os.getpid()} on "),
    ):
        train(tiny(epochs="1"), sample_folder, run_folder=tmp_path, progress=False)
    train(tiny(epochs="1"), sample_folder, run_folder=tmp_path, progress=False)


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_a_full_disk_is_named_with_the_path(sample_folder, tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match="state.pt cannot be written: "):
            train(tiny(epochs="1"), sample_folder, run_folder=tmp_path, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "tensorboard"]


def test_values_that_make_no_sense_are_refused_before_any_work(tmp_path):
    nowhere = tmp_path / "no data"
    for options, message in [
        ({"seed": -1}, "seed must be a whole number"),
        ({"validate": 2}, "validate must be a number from 0 to 0.9"),
        ({"num_workers": 10**6}, "num_workers must be"),
        ({"limit": 3}, "limit must be a whole number from 4"),
        ({"split_by": "age"}, "split_by must be one of identity, random; got 'age'"),
        ({"dataset": 1}, "give data_folder, or a dataset of your own"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(tiny(), nowhere, run_folder=tmp_path / "run", **options)
    for changes, message in [
        ({"model_args.foo": "1"}, "no argument 'foo'"),
        ({"model": "resnet"}, "no network named 'resnet'"),
        ({"loss": "huber"}, "no loss named 'huber'; there are mse"),
        ({"loss_args.omega": "1"}, "the loss 'wing' has no argument 'omega'; its arguments are width, curv"),
        ({"loss": "mse", "loss_args": '{"reduction": "sum"}'}, "'mse' has no .*; it has no arguments"),
        ({"loss": "smooth_l1", "loss_args.beta": "-1"}, "beta of the loss 'smooth_l1' must be a number, 0"),
        ({"loss": "adaptive_wing", "loss_args.alpha": "2"}, "'adaptive_wing' cannot be built .*above 2"),
        ({"loss_args.width": "wide"}, "width of the loss 'wing' must be a number"),
        ({"loss_args": "wide"}, "loss_args must be an object"),
        ({"input_size": "16"}, "input_size of at least 27, got 16"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(tiny(**changes), nowhere, run_folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--set", "epochs=0"], "epochs must be a whole number from 1 to 100000; got 0"),
        (["--set", "epochs"], "--set needs FIELD=VALUE, such as epochs=3; got 'epochs'"),
        (["--set", "=3"], "--set needs FIELD=VALUE"),
        (["--set", ""], "--set needs FIELD=VALUE"),
        (["--set", "input_size=1000000"], "input_size must be"),
        (["--set", "name=../x"], "name must be letters"),
        (["--recipe", "nothing"], "no recipe named 'nothing'"),
        (["--seed", "-1"], "seed must be"),
        (["--workers", "-1"], "num_workers must be"),
        (["--limit", "0"], "limit must be a whole number from 4"),
        (["--epochs", "0"], "epochs must be a whole number from 1"),
        (["--recipe", "face_finder", "--epochs", "0"], "epochs must be a whole number from 1"),
        (["--recipe", "face_finder", "--seeds", "1"], "--seeds is not for the face finder"),
        (["--model-file", "{file}"], "a model file must be a Python file (.py); got {file}"),
        (["--set", "loss_args.omega=1"], "the loss 'wing' has no argument 'omega'"),
        pytest.param(
            ["--mixed-precision", "fp16"],
            "fp16 needs a GPU; on a CPU use bf16",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        (["--minutes", "nan"], "minutes must be a positive number"),
        (["--run", "{file}/run"], "{file}/run cannot be written (Not a directory)"),
        (["--export", "{file}"], "{file} cannot be written (File exists)"),
    ],
)
def test_train_py_refuses_in_one_line_before_any_work(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.setattr(train_py, "find_data", lambda **_: pytest.fail("the data were looked for"))
    file = tmp_path / "file"
    file.touch()
    flags = [flag.format(file=file) for flag in flags]
    assert train_py.main(["--recipe", "naimishnet", "--run", str(tmp_path / "run"), *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("train.py: ")
    assert message.format(file=file) in error
    assert error.count("\n") == 1


def test_train_py_exports_half_weights(sample_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KEYPOINTS_DATA", str(sample_folder))
    flags = ["--set", "epochs=1", "--run", str(tmp_path / "run"), "--export", str(tmp_path / "out"), "--half"]
    assert train_py.main(["--recipe", "naimishnet", *TINY_FLAGS, *flags]) == 0
    assert "checkpoint: 1 epoch, training NME" in capsys.readouterr().out
    sizes = [(tmp_path / f / "model.safetensors").stat().st_size for f in ("run/checkpoint", "out")]
    assert sizes[1] < 0.52 * sizes[0]
    assert [load_config(tmp_path / f).version for f in ("run/checkpoint", "out")] == [__version__] * 2


def test_state_holds_tensors_and_plain_values_only(sample_folder, tmp_path):
    train(tiny(epochs="1"), sample_folder, run_folder=tmp_path, progress=False)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["history"][0]["epoch"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".lock", "checkpoint", "history.csv", "state.pt", "tensorboard",
    ]  # fmt: skip


def test_a_loss_that_is_not_finite_names_the_batch(sample_folder, tmp_path):
    with pytest.raises(TrainingError, match=r"epoch \d, batch \d+ of \d+ \(Sample.*learning rate \(1000.0\)"):
        train(
            tiny(learning_rate="1000", loss="mse", schedule="constant", epochs="20"),
            sample_folder, run_folder=tmp_path, progress=False,
        )  # fmt: skip


def test_two_processes_reproduce_the_loss_of_one(sample_folder, tmp_path):
    # no dropout: its random numbers differ between processes
    changes = {"model_args.dropout": "0", "epochs": "2"}
    options = {"run_folder": tmp_path / "one", "trained_on": "sample", "progress": False}
    train(tiny(**changes), sample_folder, **options)
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    flags = [flag for item in changes.items() for flag in ("--set", "=".join(item))]
    two = train_process(sample_folder, tmp_path / "two", *flags, launch=launch)
    output = two.communicate()[0]
    assert two.returncode == 0, output
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
    with pytest.raises(ValueError, match="schedule must be one of constant, one_cycle"):
        replace(recipe, schedule="steps")


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


# Page faults of ten tensors of 40 MB, one after the other, before and after the setting. Up to seven tensors
# were seen to get new memory before the freed memory was used, so fifteen come first.
PAGE_FAULTS = """
import resource, torch
from training.loop import set_malloc_options
def faults_of_ten():
    for number in range(25):
        if number == 15:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(10 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults_of_ten())
assert set_malloc_options()
print(faults_of_ten())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_freed_memory_is_used_again():
    printed = subprocess.check_output([sys.executable, "-c", PAGE_FAULTS], cwd=ROOT, text=True)
    given_back, kept = map(int, printed.split())
    assert kept < given_back / 10  # 0 and 102,410 with pages of 4 KiB


def test_a_c_library_that_cannot_keep_memory_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not set_malloc_options()


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="there are mse"):
        build_loss("huber")
    with pytest.raises(ValueError, match="there are .*naimishnet"):
        get_recipe("nothing")
    with pytest.raises(ValueError, match="optimizer must be one of adam, adamw"):
        replace(RECIPES["naimishnet"], optimizer="sgd")


def test_override_parses_types_and_dots():
    recipe = get_recipe("naimishnet").override(
        {
            "epochs": "3",
            "learning_rate": "1",
            "flip_tta": "false",
            "augmentation.rotation_deg": "5",
            "augmentation.wide_crop_range": "1.5,2",
            "model_args.dropout": "0.5",
            "gray_range": "-1,1",
            "loss": "mse",
        }
    )
    assert (recipe.epochs, recipe.learning_rate, recipe.flip_tta) == (3, 1.0, False)
    assert isinstance(recipe.learning_rate, float)
    assert recipe.augmentation.rotation_deg == 5.0
    assert recipe.augmentation.wide_crop_range == (1.5, 2)
    assert recipe.model_args["dropout"] == 0.5
    assert recipe.gray_range == (-1.0, 1.0)
    blocks = get_recipe("heatmapnet").override({"model_args.blocks": "1,1,1,2"}).model_args["blocks"]
    assert blocks == [1, 1, 1, 2]
    assert get_recipe("naimishnet").epochs != 3  # the original is untouched


def test_arguments_belong_to_their_network_and_loss():
    recipe = get_recipe("naimishnet").override({"loss": "adaptive_wing", "loss_args.omega": "0.2"})
    assert recipe.loss_args == {"omega": 0.2}
    assert recipe.build_loss().omega == 0.2
    assert recipe.override({"loss_args": '{"theta": 0.1}'}).build_loss().theta == 0.1
    assert recipe.override({"loss": "wing"}).loss_args == {}
    both = recipe.override({"model_args.width": "16", "model": "heatmapnet"})
    assert both.model_args == {"width": 16}
    assert recipe.override({"model": "heatmapnet"}).model_args == {}
    assert recipe.override({"model": "naimishnet"}).model_args == {"dropout": 0.2}


def test_a_recipe_without_loss_arguments_is_written_as_before_there_were_any():
    recipe = get_recipe("heatmapnet")
    assert "loss_args" not in recipe.as_json()
    assert recipe.override({"loss_args.width": 0.2}).as_json()["loss_args"] == {"width": 0.2}


def test_mean_and_std_of_keypoints_follow_the_input_size_unless_set():
    recipe = get_recipe("naimishnet").override({"input_size": "128"})
    assert recipe.keypoint_scale() == (63.5, 32.0)
    assert recipe.override({"keypoint_mean": "60"}).keypoint_scale() == (60.0, 32.0)
    config = recipe.config()
    assert (config.keypoint_mean, config.keypoint_std) == (63.5, 32.0)
    assert (recipe.as_json()["keypoint_mean"], recipe.as_json()["keypoint_std"]) == (63.5, 32.0)
    sample = {"image": np.zeros((100, 100, 3), np.uint8), "keypoints": np.full((68, 2), 49.5, np.float32)}
    sample["keypoints"][0] = 24.5  # so that there is a box
    shifted = recipe.override({"crop_mode": "whole", "augmentation.rotation_deg": 0}).transform()(sample)
    assert shifted["keypoints"].shape == (68, 2)
    with pytest.raises(ValueError, match="keypoint_std must be a number"):
        recipe.override({"keypoint_std": "0"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": "3"}, "no field 'epoch'.*epochs"),
        ({"augmentation.colour": "1"}, "no field 'augmentation.colour'"),
        ({"epochs.more": "1"}, "no field 'epochs.more'; only augmentation, model_args and loss_args have"),
        ({"augmentation": "3"}, "set augmentation.NAME"),
        *(
            ({name: text}, f"{name} must be .*; got ")
            for name, text in [
                ("epochs", "many"),
                ("epochs", "2.5"),
                ("epochs", "true"),
                ("epochs", "0"),
                ("epochs", "9" * 5000),
                ("gray_range", "1,2,3"),
                ("gray_range", "1,0"),
                ("ema_decay", "5"),
                ("ema_decay", "nan"),
                ("passes", "0"),
                ("passes", "21"),
                ("labels", "zzz"),
                ("pseudo_label_share", "7"),
                ("whole_view", "zzz"),
                ("box_scale", "0"),
                ("loss", ""),
                ("optimizer", "sgd"),
                ("schedule", "steps"),
                ("flip_tta", "maybe"),
                ("crop_mode", "half"),
                ("batch_size", "0"),
                ("learning_rate", "-1"),
                ("learning_rate", "inf"),
                ("augmentation.flip_prob", "2"),
                ("model_args", "[1]"),
                ("model", ""),
                ("keypoint_std", "0"),
            ]
        ),
    ],
)
def test_override_refuses_what_it_does_not_know(changes, message):
    with pytest.raises(ValueError, match=message):
        get_recipe("naimishnet").override(changes)


def test_training_csv_row_is_what_the_network_is_trained_on(sample_folder):
    # the first keypoint of the CSV, through crop and normalisation and back, is itself
    recipe = tiny(crop_mode="whole", **{"augmentation.flip_prob": "0"})
    recipe = recipe.override(
        {f"augmentation.{k}": "0" for k in ("rotation_deg", "scale", "shift", "wide_crop_prob")}
    )
    dataset = load_split(sample_folder, "official", "train", recipe.transform(), seed=0)
    names, keypoints = read_keypoints_csv(sample_folder / "training_frames_keypoints.csv")
    height, width = dataset.image(0).shape[:2]
    assert dataset.paths[0].name == names[0]
    mean, std = recipe.keypoint_scale()
    crop = dataset[0]["keypoints"].numpy() * std + mean
    side = max(height, width)
    back = (crop + 0.5) * side / 32 - 0.5 - np.array([(side - width) / 2, (side - height) / 2])
    np.testing.assert_allclose(back, keypoints[0], atol=1e-2)


# --- starting from a checkpoint -----------------------------------------------------------------


def start(recipe, sample_folder, folder, start_from, **more):
    return train(recipe, sample_folder, run_folder=folder, start_from=str(start_from), progress=False, **more)


def test_training_starts_from_the_weights_of_a_checkpoint(sample_folder, tmp_path, whole_run):
    recipe = tiny(epochs="1", learning_rate="1e-9", ema_decay="0", optimizer="adam")
    start(recipe, sample_folder, tmp_path / "run", whole_run / "checkpoint")
    for name, tensor in weights_of(tmp_path / "run").items():
        torch.testing.assert_close(tensor, weights_of(whole_run)[name], rtol=0, atol=1e-6, msg=name)


def test_the_config_names_the_people_that_the_first_weights_knew(sample_folder, tmp_path):
    """Else evaluate.py would measure a network of own images on people that it has seen."""
    recipe = get_recipe("heatmapnet_small_ibug").override({"epochs": "1", "batch_size": "4"})
    options = {"dataset": load_split(sample_folder, "official", "train"), "limit": 4, "progress": False}
    first = train(recipe, **options, run_folder=tmp_path / "a", start_from="heatmapnet-small").config
    assert (first.trained_on, first.started_from) == ("own", "official")
    then = train(
        recipe, **options, run_folder=tmp_path / "b", start_from=tmp_path / "a" / "checkpoint"
    ).config
    assert (then.trained_on, then.started_from) == ("own", "official")
    raw = recipe.override({"labels": "raw"})
    with pytest.raises(TrainingError, match="'official', which has people that 'identity' tests"):
        start(raw, sample_folder, tmp_path / "c", tmp_path / "a" / "checkpoint", split="identity")


def test_a_start_from_another_network_or_from_tested_people_is_refused(sample_folder, tmp_path, whole_run):
    other = tiny("heatmapnet_fast", epochs="1", labels="raw")
    with pytest.raises(TrainingError, match="which is not the network of this recipe"):
        start(other, sample_folder, tmp_path / "a", whole_run / "checkpoint")
    tuned = get_recipe("heatmapnet_ibug").override({"labels": "raw", "batch_size": "16"})
    with pytest.raises(TrainingError, match="'official', which has people that 'identity' tests"):
        start(tuned, sample_folder, tmp_path / "b", "heatmapnet", split="identity")


def test_resume_refuses_another_start(sample_folder, tmp_path, whole_run):
    recipe = tiny(epochs="1")
    start(recipe, sample_folder, tmp_path / "run", whole_run / "checkpoint")
    with pytest.raises(TrainingError, match="start_from was .* and is now null"):
        train(recipe, sample_folder, run_folder=tmp_path / "run", resume=True, progress=False)
