"""Checkpoints: round trips, and what a damaged or foreign one says."""

import hashlib
import json
import pickle
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

import checkpoint
from checkpoint import CheckpointError, ModelConfig, load_checkpoint, load_config, save_checkpoint
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
        ('{"model": "naimishnet"}', "lacks .'input_size'."),
        ('{"model": "naimishnet", "input_size": 96, "magic": 1}', "unknown .'magic'."),
        ('{"model": "naimishnet", "input_size": 96, "format": 99}', "format 99 is not 1"),
    ],
)
def test_bad_configs_are_named(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_config(tmp_path)


def test_unknown_name_says_what_there_is():
    with pytest.raises(CheckpointError, match="no checkpoint named 'nobody'.*saved_models"):
        load_checkpoint("nobody")


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path):
    # RLIMIT_FSIZE makes the operating system refuse the write half-way, as a full disk does
    save_checkpoint(tmp_path / "c", a_network(), CONFIG)
    before = (tmp_path / "c" / "model.safetensors").read_bytes()
    script = """
        import resource, signal, sys, torch
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        from models import build_model
        from training.checkpoint import ModelConfig, save_checkpoint
        model = build_model("naimishnet", input_size=32)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            save_checkpoint(sys.argv[1], model, ModelConfig(model="naimishnet", input_size=32))
        except Exception as error:
            print("refused", type(error).__name__)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "c")],
        capture_output=True, text=True, cwd=checkpoint.SAVED_MODELS.parent, check=False,
    )  # fmt: skip
    assert "refused" in done.stdout, done.stderr
    assert (tmp_path / "c" / "model.safetensors").read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["config.json", "model.safetensors"]


def test_write_json_leaves_nothing_beside(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


# --- the hub, on 127.0.0.1 -----------------------------------------------------------------


class Hub(SimpleHTTPRequestHandler):
    """As much of the hub's protocol as a download needs: the list of files, then each file."""

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body: bool):
        sha = "a" * 40
        files = {p.name: p.read_bytes() for p in self.folder.iterdir()}
        if self.path.startswith("/api/models/someone/faces"):
            listing = {"id": "someone/faces", "sha": sha, "siblings": [{"rfilename": n} for n in files]}
            content = json.dumps(listing).encode()
            if "/tree/" in self.path:
                rows = [{"type": "file", "path": n, "size": len(b), "oid": sha} for n, b in files.items()]
                content = json.dumps(rows).encode()
        else:
            name = self.path.rpartition("/")[2]
            if name not in files or "someone/faces" not in self.path:
                self.send_error(404)
                return
            content = files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", '"' + hashlib.sha1(content).hexdigest() + '"')
        self.send_header("X-Repo-Commit", sha)
        self.end_headers()
        if body:
            self.wfile.write(content)


def fetch_from_hub(tmp_path, port, name):
    script = "import sys\nfrom training.checkpoint import *\n"
    script += "try:\n print(load_checkpoint(sys.argv[1])[1].passes)"
    script += "\nexcept CheckpointError as e:\n print('CheckpointError', e)"
    environment = {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "PATH": "", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, name], capture_output=True, text=True, env=environment,
        cwd=checkpoint.SAVED_MODELS.parent, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_hub_names_are_downloaded(tmp_path):
    save_checkpoint(tmp_path / "served", a_network(), CONFIG)
    Hub.folder = tmp_path / "served"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert fetch_from_hub(tmp_path, server.server_port, "someone/faces").split()[0] == "3"
        assert "could not be fetched" in fetch_from_hub(tmp_path, server.server_port, "someone/nothing")
    finally:
        server.shutdown()
        server.server_close()
