"""Checkpoints: saving and loading, old formats, damaged files, ONNX files, and the hub."""

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hub_server import hub, hub_server  # noqa: F401 (fixtures)
from safetensors.torch import load_file, save_file

import checkpoint
from checkpoint import (
    CheckpointError,
    ModelConfig,
    check_onnx,
    find_checkpoint,
    load_checkpoint,
    load_config,
    record_onnx,
    save_checkpoint,
)
from detector import KeypointDetector
from files import write_json
from models import build_model
from training.recipes import RECIPES

CONFIG = ModelConfig(
    model="naimishnet", input_size=32, passes=3, trained_on="identity", measured={"nme": 0.1}
)


def a_network():
    torch.manual_seed(0)
    return build_model("naimishnet", input_size=32).eval()


def test_round_trip(tmp_path):
    model = a_network()
    save_checkpoint(tmp_path / "one", model, CONFIG)
    again, config = load_checkpoint(tmp_path / "one")
    assert config == CONFIG
    assert not again.training
    x = torch.rand(2, 1, 32, 32)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=0, atol=0)
    in_its_layout = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(again(x), in_its_layout(x), rtol=0, atol=0)
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["config.json", "model.safetensors"]


def test_a_loaded_network_has_the_layout_of_training(tmp_path):
    save_checkpoint(tmp_path / "one", a_network(), CONFIG)
    kernels = [p for p in load_checkpoint(tmp_path / "one")[0].parameters() if p.ndim == 4]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def test_half_storage_halves_the_file_and_loads_as_float32(tmp_path):
    model = a_network()
    save_checkpoint(tmp_path / "full", model, CONFIG)
    save_checkpoint(tmp_path / "half", model, CONFIG, half=True)
    sizes = [(tmp_path / kind / "model.safetensors").stat().st_size for kind in ("full", "half")]
    assert sizes[1] < 0.52 * sizes[0]
    again, _ = load_checkpoint(tmp_path / "half")
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(again(x), model(x), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_give_configs_that_survive_json(name):
    config = RECIPES[name].config(seed=3, trained_on="official")
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_other_files_in_the_folder_stay(tmp_path):
    (tmp_path / "README.md").write_text("card")
    save_checkpoint(tmp_path, a_network(), CONFIG)
    assert (tmp_path / "README.md").read_text() == "card"


def test_truncated_weights(tmp_path):
    save_checkpoint(tmp_path, a_network(), CONFIG)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="model.safetensors cannot be read"):
        load_checkpoint(tmp_path)


def test_weights_of_another_network(tmp_path):
    save_checkpoint(tmp_path, a_network(), replace(CONFIG, input_size=64))
    with pytest.raises(CheckpointError, match="do not fit its config"):
        load_checkpoint(tmp_path)


def test_a_pickle_is_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    save_checkpoint(tmp_path, a_network(), CONFIG)
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "must hold an object"),
        ('{"model": "naimishnet"}', "the fields input_size are missing"),
        ('{"model": "naimishnet", "input_size": 96, "magic": 1}', 'there is no field "magic"'),
        ('{"model": "naimishnet", "input_size": 96, "format": 99}', "format 99 is not 2"),
        ('{"model": "naimishnet", "input_size": 96, "format": []}', "format .. is not 2"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_bad_configs_are_named(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_config(tmp_path)


NONSENSE = [
    ("input_size", 0), ("input_size", None), ("input_size", [96]), ("input_size", 1e9), ("input_size", 96.0),
    ("passes", 1.5), ("passes", "2"), ("passes", 0), ("passes", 21), ("passes", True),
    ("gray_range", 5), ("gray_range", [1, 0]), ("gray_range", [0, 1, 2]), ("gray_range", ["0", "1"]),
    ("label_offset", 7), ("label_offset", [7, 0]), ("model_args", []), ("model", 3), ("model", ""),
    ("keypoint_std", 0), ("keypoint_std", 1e30), ("keypoint_std", float("nan")), ("crop_scale", 1e9),
    ("box_scale", 0), ("flip_tta", "yes"), ("align_roll", 1), ("whole_view", "zzz"), ("trained_on", "moon"),
    ("seed", -1), ("onnx", "model.onnx"), ("measured", None), ("epochs", -1), ("keypoint_mean", 10**400),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), NONSENSE)
def test_a_value_that_a_field_may_not_have_is_named(tmp_path, name, value):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG.to_dict(), name: value}))
    with pytest.raises(CheckpointError, match=rf"config.json: {name} must be .*; got ") as caught:
        load_config(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_args": {"foo": 1}}, "has no argument 'foo'; its arguments are dropout, batch_norm"),
        ({"model_args": {"input_size": 64}}, "multiple values"),
        ({"model_args": {"dropout": "much"}}, "dropout must be a number from 0 to 1.6"),
        ({"model": "resnet"}, "no network named 'resnet'"),
        ({"input_size": 1024}, "1,017,287,096 weights"),
        ({"model": "heatmapnet", "model_args": {"blocks": [10**9] * 4}}, "each of blocks must be"),
        ({"model": "heatmapnet", "model_args": {"width": 10**9}}, "width must be a whole number"),
    ],
)
def test_a_network_that_cannot_be_built_is_named(tmp_path, changes, message):
    save_checkpoint(tmp_path, a_network(), CONFIG)
    write_json(tmp_path / "config.json", {**CONFIG.to_dict(), **changes})
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)


def test_format_1_is_read_under_the_new_names(tmp_path):
    torch.manual_seed(0)
    model = build_model("heatmapnet", input_size=32, width=8, uncertainty=True).eval()
    config = ModelConfig(
        "heatmapnet", 32, {"width": 8, "uncertainty": True}, whole_view="stretch", crop_scale=1.5,
        box_scale=1.6, passes=3, flip_tta=True, align_roll=True, stopped_early=True,
    )  # fmt: skip
    save_checkpoint(tmp_path, model, config)
    weights = load_file(tmp_path / "model.safetensors")
    old = {name.replace("uncertainty.", "trust."): tensor for name, tensor in weights.items()}
    assert old.keys() != weights.keys()
    save_file(old, tmp_path / "model.safetensors")
    names = {new: old for old, new in checkpoint.RENAMED_FIELDS.items()}
    values = {names.get(name, name): value for name, value in config.to_dict().items() if name != "onnx"}
    values |= {"model_args": {"width": 8, "trust": True}, "whole_view": "squash", "format": 1}
    write_json(tmp_path / "config.json", values)
    again, config_again = load_checkpoint(tmp_path)
    assert config_again == config
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=0, atol=0)


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path):
    model = a_network()
    save_checkpoint(tmp_path, model, CONFIG)
    weights = load_file(tmp_path / "model.safetensors")
    weights["head.0.bias"][3] = float("nan")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="head.0.bias are not finite"):
        load_checkpoint(tmp_path)
    with torch.no_grad():
        model.head[0].bias[3] = 1e5  # too large for float16
    with pytest.raises(CheckpointError, match="is not saved: the weights head.0.bias are not finite"):
        save_checkpoint(tmp_path / "new", model, CONFIG, half=True)
    assert not (tmp_path / "new").exists()


def test_files_have_the_mode_that_the_umask_gives(tmp_path):
    save_checkpoint(tmp_path, a_network(), CONFIG)
    (tmp_path / "plain").write_text("")
    modes = {(tmp_path / name).stat().st_mode for name in ("plain", "config.json", "model.safetensors")}
    assert len(modes) == 1


def test_leftovers_of_a_killed_process_are_cleared(tmp_path):
    (tmp_path / ".partial-abcdefgh").mkdir()
    (tmp_path / ".partial-abcdefgh" / "model.safetensors").write_bytes(b"half")
    save_checkpoint(tmp_path, a_network(), CONFIG)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model.onnx"])
def test_a_fifo_is_refused(tmp_path, name):
    save_checkpoint(tmp_path, a_network(), CONFIG)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    read = partial(check_onnx, tmp_path / name) if name == "model.onnx" else load_checkpoint
    with pytest.raises(CheckpointError, match=f"{name} is no regular file|no checkpoint named"):
        read(tmp_path)


def test_configs_and_onnx_checks_need_no_pytorch(tmp_path):
    script = "import sys; sys.modules['torch'] = sys.modules['safetensors'] = None\n"
    script += "from checkpoint import *; folder = find_checkpoint('heatmapnet')\n"
    script += "check_onnx(folder / 'model.onnx', folder); print(load_config(folder).passes)"
    root = checkpoint.SAVED_MODELS.parent
    assert subprocess.check_output([sys.executable, "-c", script], cwd=root, text=True) == "2\n"


# --- ONNX files ------------------------------------------------------------------------------


@pytest.fixture
def with_onnx(tmp_path):
    """A checkpoint with stand-ins for ONNX files, and another file."""
    save_checkpoint(tmp_path, a_network(), CONFIG)
    for name in ("model.onnx", "model-int8.onnx"):
        (tmp_path / name).write_bytes(name.encode() * 100)
        record_onnx(tmp_path / name)
    (tmp_path / "other.onnx").write_bytes(b"of the user")
    return tmp_path


def test_shipped_onnx_files_are_recorded():
    files = sorted(checkpoint.SAVED_MODELS.glob("*/*.onnx"))
    assert len(files) >= 8
    for path in files:
        check_onnx(path, path.parent)


def test_an_onnx_file_that_is_not_the_recorded_one_is_refused(with_onnx):
    path = with_onnx / "model.onnx"
    check_onnx(path, with_onnx)
    whole = path.read_bytes()
    for damaged in (whole[:-1], b"garbage", (with_onnx / "model-int8.onnx").read_bytes(), b""):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"is damaged or belongs to other weights.*export_onnx.py"):
            check_onnx(path, with_onnx)
    with pytest.raises(CheckpointError, match="holds no SHA-256 of other.onnx"):
        check_onnx(with_onnx / "other.onnx", with_onnx)
    path.unlink()
    with pytest.raises(CheckpointError, match="model.onnx is missing; make it: python export_onnx.py"):
        check_onnx(path, with_onnx)


def test_saving_other_weights_removes_the_onnx_files_of_the_old_ones(with_onnx):
    model = a_network()
    save_checkpoint(with_onnx, model, replace(CONFIG, passes=2))
    assert sorted(load_config(with_onnx).onnx) == ["model-int8.onnx", "model.onnx"]
    check_onnx(with_onnx / "model.onnx", with_onnx)
    with torch.no_grad():
        model.head[0].bias += 1
    save_checkpoint(with_onnx, model, CONFIG)
    assert load_config(with_onnx).onnx == {}
    assert sorted(p.name for p in with_onnx.glob("*.onnx")) == ["other.onnx"]


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("saved_models/heatmapnt", "the folder saved_models has nothing of that name"),
        ("saved_models", "it is a folder without a config.json"),
        ("train.py", "it is a file, not a folder"),
        ("", "neither a folder nor OWNER/NAME"),
        ("a/b/c", "neither a folder nor OWNER/NAME"),
        ("nul\0", "neither a folder nor OWNER/NAME"),
        ("x" * 5000, "cannot be the name"),
    ],
)
def test_a_mistyped_name_is_no_hub_error(monkeypatch, name, message):
    monkeypatch.chdir(checkpoint.SAVED_MODELS.parent)
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(name)


def test_unknown_name_says_what_there_is():
    with pytest.raises(CheckpointError, match="no checkpoint named 'nobody'.*saved_models/ has .*heatmapnet"):
        load_checkpoint("nobody")


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_a_full_disk_keeps_the_old_checkpoint(tmp_path):
    import resource

    folder = tmp_path / "c"
    save_checkpoint(folder, a_network(), CONFIG)
    before = (folder / "model.safetensors").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # the operating system refuses the write half-way, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(
            CheckpointError, match=f"the checkpoint {folder} cannot be written: File too large"
        ):
            save_checkpoint(folder, build_model("naimishnet", input_size=32), replace(CONFIG, passes=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / "model.safetensors").read_bytes() == before
    assert load_config(folder) == CONFIG
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_write_json_leaves_nothing_beside(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


# --- the hub, on 127.0.0.1 -----------------------------------------------------------------


def test_hub_names_are_downloaded_with_their_onnx_files(tmp_path, hub):  # noqa: F811
    save_checkpoint(hub, a_network(), CONFIG)
    for name in ("model.onnx", "notes.txt"):
        (hub / name).write_bytes(b"content")
    model, config = load_checkpoint("someone/faces")
    assert config == CONFIG
    assert not model.training
    assert sorted(p.name for p in (tmp_path / "cache").glob("*/snapshots/*/*")) == [
        "config.json", "model.onnx", "model.safetensors",
    ]  # fmt: skip
    with pytest.raises(CheckpointError, match=r"the hub has no such model \(404\)"):
        find_checkpoint("someone/nothing")


def test_a_hub_checkpoint_is_run_by_every_runtime(hub, sample_photo):  # noqa: F811
    pytest.importorskip("onnxruntime")
    shutil.copytree(checkpoint.SAVED_MODELS / "heatmapnet-small", hub, ignore=lambda *_: ["records"])
    faces = {}
    for runtime in checkpoint.RUNTIMES:
        detector = KeypointDetector.from_pretrained("someone/faces", runtime=runtime)
        assert f"someone/faces, {runtime}" in repr(detector)
        (faces[runtime],) = detector(sample_photo)
    np.testing.assert_allclose(faces["onnx"].keypoints, faces["torch"].keypoints, atol=0.1)
    assert repr(KeypointDetector.from_pretrained("someone/faces")).startswith(
        "KeypointDetector(someone/faces, onnx,"
    )


def test_without_the_client_of_the_hub_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="the hub needs: pip install huggingface-hub requests"):
        find_checkpoint("someone/faces")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "one", a_network(), CONFIG)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_checkpoint("~/one") == tmp_path / "one"
    with pytest.raises(CheckpointError, match=f"the folder {tmp_path} has nothing of that name"):
        find_checkpoint("~/two")


def test_a_hub_that_stays_silent_is_given_up_with_advice(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:  # the system accepts, nobody answers
        port = server.getsockname()[1]
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with pytest.raises(
            CheckpointError, match=r"within 0.2 s, twice\. There is no local folder.*HTTPS_PROXY"
        ):
            find_checkpoint("someone/silent", hub_seconds=0.2)
