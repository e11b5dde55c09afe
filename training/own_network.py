"""A network of your own: a Python file that registers a class, loaded for one run.

The file may also hold losses and recipes, or nothing but these.

    load_model_file("my_net.py")                        # train.py --model-file my_net.py
    model, config = load_checkpoint("runs/my_net/checkpoint")

CONTRIBUTING.md has a template. The file is run when you name it, and at no other time: a checkpoint holds a
copy of it, and loading the checkpoint does not run that copy.
"""

import hashlib
import sys
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType

import torch

from files import atomic_path, write_json
from landmarks import NUM_KEYPOINTS
from models import MODEL_FILE_MODULE, build_model, list_models, model_class
from training.losses import LOSSES

MODEL_FILE_NOTE = "model_file.json"


@dataclass(frozen=True)
class ModelFile:
    """A file that registered networks, losses or recipes.

    path: as it was given. sha256: 64 hex digits. networks, losses: their names. source: the file's content.
    """

    path: str
    sha256: str
    networks: tuple[str, ...]
    losses: tuple[str, ...]
    source: bytes = field(repr=False)


_LOADED: dict[type, ModelFile] = {}  # by the class that it holds


def load_model_file(path, *checkpoints) -> ModelFile:
    """Run a Python file that registers networks, losses or recipes, also if it was run before.

    checkpoints: folders. If one has a copy of a file of this name, that is what was trained.
    Raises FileNotFoundError if there is no such file, ValueError, with the line, if it cannot be run, if it
    registers nothing, and if a checkpoint's copy is another.
    """
    from training.recipes import RECIPES  # which imports this module

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no model file at {path}; give a Python file with a network, a loss or a recipe"
        )
    if path.suffix != ".py":
        raise ValueError(f"a model file must be a Python file (.py); got {path}")
    source = path.read_bytes()
    for checkpoint in checkpoints:
        copy = Path(checkpoint) / path.name
        if copy.is_file() and copy.read_bytes() != source:
            raise ValueError(
                f"{path} is not the file that {checkpoint} was trained with; give its copy: "
                f"--model-file {copy}"
            )
    module = ModuleType(MODEL_FILE_MODULE, None)
    module.__file__ = str(path)
    before = {name: model_class(name) for name in list_models()}
    others = dict(LOSSES), dict(RECIPES)
    sys.modules[MODEL_FILE_MODULE] = module
    try:
        exec(compile(source, str(path), "exec"), vars(module))
    except Exception as error:  # whatever code of the user's raises
        raise ValueError(f"{path}{_line_in(path, error)}: {type(error).__name__}: {error}") from error
    networks = tuple(name for name in list_models() if model_class(name) is not before.get(name))
    if not networks and others == (LOSSES, RECIPES):
        raise ValueError(
            f'{path} registers nothing; write @register("NAME") above the class of a network, or '
            'LOSSES["NAME"] = MyLoss'
        )
    losses = tuple(name for name, kind in LOSSES.items() if kind is not others[0].get(name))
    file = ModelFile(str(path), hashlib.sha256(source).hexdigest(), networks, losses, source)
    _LOADED.update(dict.fromkeys([model_class(name) for name in networks], file))
    _LOADED.update(dict.fromkeys([LOSSES[name] for name in losses], file))
    return file


def _line_in(path: Path, error: Exception) -> str:
    """', line N' for an error that a line of the file raised."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def model_file_of(network: str, loss: str = "") -> ModelFile | None:
    """The file that registered a network or else a loss, by name; None if both are others'."""
    return _LOADED.get(model_class(network)) or _LOADED.get(LOSSES.get(loss))


def note_model_file(file: ModelFile | None, run_folder) -> None:
    """Write path and SHA-256 of a model file, if there is one, into the run folder."""
    if file:
        note = {name: value for name, value in asdict(file).items() if name != "source"}
        write_json(Path(run_folder) / MODEL_FILE_NOTE, note)


def copy_model_file(file: ModelFile | None, checkpoint) -> None:
    """Put a copy of a model file, if there is one, beside the weights of a checkpoint.

    The copy is what was run, also where the file has been edited since.
    """
    if file:
        with atomic_path(Path(checkpoint) / Path(file.path).name) as temporary:
            temporary.write_bytes(file.source)


def check_runs(name: str, input_size: int | None, **arguments) -> None:
    """Check that a network turns (3, 1, S, S) into (3, 68, 2), S being input_size.

    Raises ValueError, which says what the network did instead and, where another input size helps, which one:
    the next larger one up to the default size of its class, or that default size.
    """
    problem = _problem(name, input_size, **arguments)
    if not problem:
        return
    kind, advice = model_class(name), ""
    size = kind.default_size if input_size is None else input_size
    larger = range(size + 1, kind.default_size + 1) or [kind.default_size]
    fits = next((s for s in larger if not _problem(name, s, **arguments)), 0)
    if fits > size:
        advice = f". The smallest larger input that it can take is {fits}: set input_size={fits}"
    elif fits:
        advice = f". It works at its default size: set input_size={fits}"
    raise ValueError(f"the network {name!r} does not work at input_size {size}: {problem}{advice}")


def _problem(name: str, input_size: int | None, **arguments) -> str:
    """What is wrong with a network's output at this size, on one line; '' for nothing.

    It is run without memory for weights first ('meta'), which takes milliseconds. What fails there is run in
    earnest: not every layer can do without values.
    """
    problem = ""
    for device in ("meta", "cpu"):
        try:
            with torch.device(device), torch.no_grad():
                model = build_model(name, input_size=input_size, **arguments).eval()
                shape = tuple(model(torch.zeros(3, 1, model.input_size, model.input_size)).shape)
            expected = (3, NUM_KEYPOINTS, 2)
            problem = "" if shape == expected else f"3 images give {shape} instead of {expected}"
        except Exception as error:  # whatever code of the user's raises
            problem = str(error).partition("\n")[0] or type(error).__name__
        if not problem:
            break
    return problem
