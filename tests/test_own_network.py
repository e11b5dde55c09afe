"""Networks of the user's own: the page's template, model files, classes of a notebook."""

import hashlib
import json
import re
import shlex
from pathlib import Path

import pytest
import torch

import evaluate as evaluate_py
import models
import train as train_py
from checkpoint import CheckpointError, load_checkpoint
from models import KeypointNetwork, build_model, list_models, model_class, register
from training import losses
from training.own_network import check_runs, load_model_file, model_file_of

PAGE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Add a network")[2].partition("\n## ")[0]


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """The registry, restored after each test."""
    monkeypatch.setattr(models, "_REGISTRY", dict(models._REGISTRY))


def block(language: str, section: str = SECTION) -> str:
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL).group(1)


def test_the_loss_of_the_page_runs_as_printed(sample_folder, tmp_path, monkeypatch, capsys):
    section = PAGE.partition("## Add a loss")[2].partition("\n## ")[0]
    monkeypatch.setitem(losses.LOSSES, "power", None)  # removed again after the test
    monkeypatch.setenv("KEYPOINTS_DATA", str(sample_folder))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_loss.py").write_text(block("python", section), encoding="utf-8")
    (line,) = block("bash", section).splitlines()
    assert train_py.main(shlex.split(line)[2:]) == 0, capsys.readouterr().err
    source = (tmp_path / "my_loss.py").read_text()
    assert json.loads(Path("runs/my_loss/model_file.json").read_text())["losses"] == ["power"]
    assert Path("runs/my_loss/checkpoint/my_loss.py").read_text() == source
    (tmp_path / "my_loss.py").write_text(source + "# changed\n")
    assert train_py.main([*shlex.split(line)[2:], "--resume"]) == 1
    assert "model_file was" in capsys.readouterr().err
    assert losses.build_loss("power", power=0.5)(
        torch.zeros(1, 68, 2), torch.ones(1, 68, 2)
    ) == pytest.approx(2**0.25, abs=1e-5)


@pytest.fixture
def my_net(tmp_path) -> Path:
    path = tmp_path / "my_net.py"
    path.write_text(block("python"), encoding="utf-8")
    return path


def test_the_template_of_the_page_runs_as_printed(sample_folder, my_net, monkeypatch, capsys):
    monkeypatch.setenv("KEYPOINTS_DATA", str(sample_folder))
    source = my_net.read_bytes()
    monkeypatch.chdir(my_net.parent)
    train_line, evaluate_line = (shlex.split(line)[2:] for line in block("bash").splitlines())
    assert train_py.main(train_line) == 0, capsys.readouterr().err
    run = my_net.parent / "runs" / "my_net"
    note = json.loads((run / "model_file.json").read_text())
    assert note == {
        "path": "my_net.py", "sha256": hashlib.sha256(source).hexdigest(), "networks": ["my_net"],
        "losses": [],
    }  # fmt: skip
    assert (run / "checkpoint" / "my_net.py").read_bytes() == source
    assert evaluate_py.main(evaluate_line) == 0, capsys.readouterr().err
    assert "runs/my_net/checkpoint on identity x whole [SYNTHETIC SAMPLE" in capsys.readouterr().out

    # the class changes: the run is not continued with another network
    my_net.write_bytes(source.replace(b"width: int = 32", b"width: int = 16"))
    assert train_py.main([*train_line, "--resume"]) == 1
    error = capsys.readouterr().err
    assert "model_file was" in error
    assert "has a copy of the file that was trained" in error
    # nor measured with one
    assert evaluate_py.main(evaluate_line) == 1
    assert "is not the file that" in capsys.readouterr().err
    copy = ["--model-file", str(run / "checkpoint" / "my_net.py")]
    assert evaluate_py.main([*evaluate_line[:1], *copy, *evaluate_line[3:]]) == 0, capsys.readouterr().err


def test_a_checkpoint_without_its_class_names_the_file_and_does_not_run_it(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    trap = folder / "my_net.py"
    trap.write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')")
    (folder / "config.json").write_text(json.dumps({"format": 2, "model": "my_net", "input_size": 96}))
    with pytest.raises(CheckpointError, match=rf"no network named 'my_net'.*{trap}.*--model-file"):
        load_checkpoint(folder)
    assert not (tmp_path / "was_run").exists()


def test_a_model_file_that_is_loaded_again_replaces_its_class(my_net):
    first = load_model_file(my_net)
    assert first.networks == ("my_net",)
    old = model_class("my_net")
    my_net.write_text(my_net.read_text().replace("width: int = 32", "width: int = 8"))
    second = load_model_file(my_net)
    assert model_class("my_net") is not old
    assert build_model("my_net").head.in_features == 16 * 8
    assert model_file_of("my_net") == second != first
    assert model_file_of("naimishnet") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "registers nothing; write @register"),
        ("x = 1\nx = = 2", "my_net.py, line 2: SyntaxError"),
        ("x = 1\nx.y", "my_net.py, line 2: AttributeError"),
        (
            "from models import *\n@register('naimishnet')\nclass A(KeypointNetwork): pass",
            "line 2: ValueError: a network named 'naimishnet' is registered already, in models",
        ),
    ],
)
def test_a_model_file_that_cannot_be_used_is_named(my_net, text, message):
    my_net.write_text(text)
    before = list_models()
    with pytest.raises(ValueError, match=message):
        load_model_file(my_net)
    assert list_models() == before


def test_a_model_file_must_be_a_python_file_that_exists(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model file at"):
        load_model_file(tmp_path / "my_net.py")
    (tmp_path / "weights.pt").touch()
    with pytest.raises(ValueError, match="must be a Python file"):
        load_model_file(tmp_path / "weights.pt")


def defined_in(module: str) -> type:
    return type("Mine", (KeypointNetwork,), {"__module__": module})


def test_a_class_of_a_notebook_is_replaced_and_one_of_a_module_is_not():
    for module in ("__main__", "__main__", "model_file", "__main__", "my_module"):
        kind = defined_in(module)
        if module != "my_module":
            register("mine")(kind)
            assert model_class("mine") is kind
    with pytest.raises(ValueError, match="named 'mine' is registered already, in __main__"):
        register("mine")(kind)
    register("theirs")(kind)
    register("theirs")(defined_in("my_module"))  # the module was loaded again
    with pytest.raises(ValueError, match="registered already, in my_module"):
        register("theirs")(defined_in("another_module"))
    with pytest.raises(ValueError, match="registered already, in models"):
        register("naimishnet")(defined_in("__main__"))


class TooFew(KeypointNetwork):
    """Half of the numbers, so that 4 images would pass as the keypoints of 2."""

    def __init__(self, input_size=None):
        super().__init__(input_size)
        self.dense = torch.nn.Linear(self.input_size**2, 68)

    def _features(self, x):
        return self.dense(x.flatten(1))


class NeedsForty(KeypointNetwork):
    """Works from 40 pixels on, and reads a value, which 'meta' tensors do not have."""

    def __init__(self, input_size=None):
        super().__init__(input_size)
        self.conv = torch.nn.Conv2d(1, 136, 40)

    def _features(self, x):
        assert x.sum().item() == 0
        return self.conv(x).mean(dim=(2, 3))


class AtSixtyFour(KeypointNetwork):
    """Works at one size alone."""

    default_size = 64

    def __init__(self, input_size=None):
        super().__init__(input_size)
        self.dense = torch.nn.Linear(64 * 64, 136)

    def _features(self, x):
        return self.dense(x.flatten(1))


def test_the_default_size_is_named_where_it_would_work():
    register("at_sixty_four")(AtSixtyFour)
    with pytest.raises(
        ValueError, match="at input_size 96: .* It works at its default size: set input_size=64"
    ):
        check_runs("at_sixty_four", 96)


def test_a_network_is_run_before_training():
    register("too_few")(TooFew)
    with pytest.raises(ValueError, match="'too_few' does not work at input_size 32: .*204"):
        check_runs("too_few", 32)
    register("needs_forty")(NeedsForty)
    check_runs("needs_forty", 64)
    with pytest.raises(ValueError, match="at input_size 32: .*smallest larger .* is 40: set input_size=40"):
        check_runs("needs_forty", 32)
    with pytest.raises(ValueError, match="at least 8, got 4"):
        build_model("needs_forty", input_size=4)
