"""Checkpoints: a folder with config.json and model.safetensors. Loading one never runs code from it.

    model, config = load_checkpoint("naimishnet")    # a folder, a name in saved_models/, or OWNER/NAME

The config holds every number between an image and its keypoints, so a checkpoint gives the same
keypoints everywhere. ONNX files may lie beside the weights (export_onnx.py). PyTorch is imported only
to load and save weights: configs and ONNX files need neither PyTorch nor safetensors.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from files import atomic_path, one_line, remove_leftovers, write_json

if TYPE_CHECKING:
    import torch

    from models import FaceFinder, KeypointNetwork

SAVED_MODELS = Path(__file__).parent / "saved_models"
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
ONNX_FILES = ("model.onnx", "model-int8.onnx")
FORMAT = 2
#: Runtimes and the file of a checkpoint folder that each of them reads.
RUNTIMES = {"torch": WEIGHTS_FILE, "onnx": ONNX_FILES[0], "onnx-int8": ONNX_FILES[1]}
FINDER = "face_finder"  # `model` in the config of a face finder
WHOLE_VIEWS = ("letterbox", "stretch", "crop")
TRAINED_ON = ("official", "identity", "validation", "sample", "own")
MAX_CONFIG_BYTES, MAX_INPUT_SIZE, MAX_PASSES = 10**6, 1024, 20
HUB_SECONDS = 10.0  # to connect to the hub, and between two answers of it


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, not one of ours, or cannot be written."""


# --- fields and their values --------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """The values that a field may have.

    kind: int, float, bool, str or dict. A float field also takes an int; an int field takes no bool.
    low, high: the range of a number, both ends included.
    choices: if given, the only values allowed. The collection is read at each check.
    count: 0 for a single value, else the number of values in a tuple.
    order: of the values in a tuple: '' for any, '<' for ascending, '<=' for ascending or equal.
    pattern: a regular expression for the whole of a str; meaning: the same in words.
    """

    kind: type
    low: float = 0.0
    high: float = 0.0
    choices: Collection[str] = ()
    count: int = 0
    order: str = ""
    pattern: str = ""
    meaning: str = ""

    @property
    def expected(self) -> str:
        """The allowed values, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.meaning:
            return self.meaning
        if self.kind in (int, float):
            number = "a whole number" if self.kind is int else "a number"
            limits = f"from {self.low:g} to {self.high:g}"
            order = {"": "", "<": ", the smaller one first", "<=": ", in ascending order"}[self.order]
            return f"{self.count} numbers {limits}{order}" if self.count else f"{number} {limits}"
        return {bool: "true or false", str: "text", dict: "an object with named values"}[self.kind]

    def accepts(self, value) -> bool:
        """True for a value that the field may have."""
        if not self.count:
            return self._accepts_one(value)
        return (
            isinstance(value, tuple)
            and len(value) == self.count
            and all(self._accepts_one(part) for part in value)
            and (not self.order or list(value) == sorted(value))
            and (self.order != "<" or len(set(value)) == self.count)
        )

    def _accepts_one(self, value) -> bool:
        kinds = (int, float) if self.kind is float else self.kind
        is_kind = isinstance(value, kinds) and not (isinstance(value, bool) and self.kind is not bool)
        if not is_kind:
            return False
        if self.kind in (int, float):
            return self.low <= value <= self.high  # False for NaN
        if self.kind is dict:
            return all(isinstance(name, str) for name in value)
        if self.kind is str:
            return (
                value in self.choices if self.choices else bool(re.fullmatch(self.pattern or "(?s).*", value))
            )
        return True

    def from_text(self, text: str):
        """The value that a text stands for, or the text itself where it stands for none."""
        try:
            if self.count:
                return tuple(self.kind(part) for part in text.split(","))
            if self.kind is bool:
                return {"true": True, "false": False}[text.lower()]
            return json.loads(text) if self.kind is dict else self.kind(text)
        except (ValueError, KeyError):
            return text


def rule(kind: type, **limits) -> dict:
    """Metadata for a dataclass field that has a Rule. limits: the Rule's other arguments."""
    return {"rule": Rule(kind, **limits)}


def same_rule(owner: type, name: str) -> dict:
    """Metadata for a field that has the Rule of the field `name` of the dataclass `owner`."""
    return dict(next(known.metadata for known in fields(owner) if known.name == name))


def check_fields(values, prefix: str = "") -> None:
    """Check each field of a dataclass instance against its Rule.

    prefix: what stands before a field's name in a message. A field's default is always allowed.
    Raises ValueError, which names the field, the values it may have and the value it has.
    """
    for known in fields(values):
        rule, value = known.metadata.get("rule"), getattr(values, known.name)
        if rule and value is not known.default and not rule.accepts(value):
            raise ValueError(f"{prefix}{known.name} must be {rule.expected}; got {shown(value)}")


def shown(value) -> str:
    """A value for a message, on one line and not longer than 80 characters."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):  # no value of JSON; ValueError also for a number of thousands of digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


# --- the config -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelConfig:
    """The numbers that belong to a set of weights. Lengths are in pixels of the crop unless stated.

    model, model_args: name and arguments of the network, for `build_model`.
    input_size: side of the square input.
    gray_range: the values of black and white in the network's input.
    keypoint_mean, keypoint_std: output * std + mean is a keypoint.
    whole_view: how a whole image is made square: 'letterbox', 'stretch' or 'crop'.
    crop_scale: side of a face crop over the larger side of the box around its keypoints.
    box_scale: side of the first crop over the larger side of a face detector's box.
    passes: how often the network runs on a face. Each pass crops around the keypoints of the pass before.
    flip_tta: if true, the last pass averages the keypoints of the crop and of the flipped crop.
    align_roll: if true, crops after the first pass are rotated so that the face is upright.
    scheme, label_offset: where the network puts the points: 'ibug', as people do, or 'dataset', as the labels
        do, without their shift (x, y) in inter-ocular distances. Only `data_load.to_labels` needs them.
    trained_on, started_from: 'official', 'identity', 'validation', 'sample' or 'own'; what the weights that
        training started from had been trained on, '' for random ones.
    recipe, images, epochs, seed: name, numbers of training images (0: unknown) and epochs, random seed.
    stopped_early: true if a time limit ended the training before the recipe's epochs were done.
    data_checksum: 16 hex digits over the labels (`data_fetch.data_checksum`).
    measured: figures by split and faces.
    onnx: SHA-256 of each ONNX file beside the weights, by file name; {} if there is none.
    format, version: of this list of fields; the release of this repository that the weights came with.
    """

    model: str = field(metadata=rule(str, pattern=r"\w+", meaning="the name of a network"))
    input_size: int = field(metadata=rule(int, low=8, high=MAX_INPUT_SIZE))
    model_args: dict = field(default_factory=dict, metadata=rule(dict))
    gray_range: tuple[float, float] = field(
        default=(0.0, 1.0), metadata=rule(float, count=2, order="<", low=-10, high=10)
    )
    keypoint_mean: float = field(default=100.0, metadata=rule(float, low=-1e4, high=1e4))
    keypoint_std: float = field(default=50.0, metadata=rule(float, low=0.01, high=1e4))
    whole_view: str = field(default="letterbox", metadata=rule(str, choices=WHOLE_VIEWS))
    crop_scale: float = field(default=1.35, metadata=rule(float, low=0.2, high=10))
    box_scale: float = field(default=1.0, metadata=rule(float, low=0.2, high=10))
    passes: int = field(default=1, metadata=rule(int, low=1, high=MAX_PASSES))
    flip_tta: bool = field(default=False, metadata=rule(bool))
    align_roll: bool = field(default=False, metadata=rule(bool))
    scheme: str = field(default="dataset", metadata=rule(str, choices=("dataset", "ibug")))
    label_offset: tuple[float, float] = field(
        default=(0.0, 0.0), metadata=rule(float, count=2, low=-0.5, high=0.5)
    )
    trained_on: str = field(default="own", metadata=rule(str, choices=TRAINED_ON))
    started_from: str = field(default="", metadata=rule(str, choices=TRAINED_ON))
    recipe: str = field(default="", metadata=rule(str))
    images: int = field(default=0, metadata=rule(int, low=0, high=10**9))
    epochs: int = field(default=0, metadata=rule(int, low=0, high=100_000))
    stopped_early: bool = field(default=False, metadata=rule(bool))
    seed: int = field(default=0, metadata=rule(int, low=0, high=2**32 - 1))
    data_checksum: str = field(default="", metadata=rule(str))
    measured: dict = field(default_factory=dict, metadata=rule(dict))
    onnx: dict = field(default_factory=dict, metadata=rule(dict))
    version: str = field(default="", metadata=rule(str))
    format: int = field(default=FORMAT, metadata=rule(int, low=FORMAT, high=FORMAT))

    def __post_init__(self):
        """Raises ValueError for a value that its field may not have."""
        check_fields(self)

    @property
    def has_uncertainty(self) -> bool:
        """True if the network estimates confidence and radius."""
        return bool(self.model_args.get("uncertainty"))

    @property
    def has_visibility(self) -> bool:
        """True if the network estimates which points can be seen."""
        return bool(self.model_args.get("visibility"))

    def to_dict(self) -> dict:
        """Values for config.json; tuples become lists."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict) -> "ModelConfig":
        """The config that `to_dict` gave these values; also reads format 1.

        Raises CheckpointError for a field that is unknown, missing, or has a value it may not have.
        """
        version = values.get("format", 1)
        if version not in (1, FORMAT) or isinstance(version, bool):
            raise CheckpointError(f"format {shown(version)} is not {FORMAT}; use the release that wrote it")
        return _config_from(cls, _from_format_1(values) if version == 1 else values)


def _config_from(kind: type, values: dict):
    """A config of the dataclass `kind`. Raises CheckpointError for fields that do not fit it."""
    required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    if unknown := set(values) - {f.name for f in fields(kind)}:
        raise CheckpointError(f"there is no field {', '.join(map(shown, sorted(unknown)))}")
    if missing := required - set(values):
        raise CheckpointError(f"the fields {', '.join(sorted(missing))} are missing")
    pairs = {f.name for f in fields(kind) if f.metadata["rule"].count}
    try:
        return kind(**{k: tuple(v) if k in pairs and isinstance(v, list) else v for k, v in values.items()})
    except ValueError as error:
        raise CheckpointError(str(error)) from error


@dataclass(frozen=True)
class FinderConfig:
    """The numbers that belong to the weights of a face finder.

    model, model_args: 'face_finder' and the arguments of `models.FaceFinder`.
    long_side: larger side of the copy of an image that is searched, in pixels.
    min_score: cells with a lower score give no box, 0 to 1.
    The other fields are those of ModelConfig.
    """

    model: str = field(default=FINDER, metadata=rule(str, choices=(FINDER,)))
    model_args: dict = field(default_factory=dict, metadata=rule(dict))
    long_side: int = field(default=320, metadata=rule(int, low=32, high=4096))
    min_score: float = field(default=0.15, metadata=rule(float, low=0, high=1))
    trained_on: str = field(default="own", metadata=same_rule(ModelConfig, "trained_on"))
    recipe: str = field(default="", metadata=same_rule(ModelConfig, "recipe"))
    epochs: int = field(default=0, metadata=same_rule(ModelConfig, "epochs"))
    seed: int = field(default=0, metadata=same_rule(ModelConfig, "seed"))
    data_checksum: str = field(default="", metadata=same_rule(ModelConfig, "data_checksum"))
    onnx: dict = field(default_factory=dict, metadata=same_rule(ModelConfig, "onnx"))
    format: int = field(default=FORMAT, metadata=same_rule(ModelConfig, "format"))

    def __post_init__(self):
        """Raises ValueError for a value that its field may not have."""
        check_fields(self)

    def to_dict(self) -> dict:
        """Values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "FinderConfig":
        """The config that `to_dict` gave these values. Raises CheckpointError for fields that do not fit."""
        return _config_from(cls, values)


#: Names of format 1 and what they are called now.
RENAMED_FIELDS = {
    "looks": "passes",
    "mirror": "flip_tta",
    "upright": "align_roll",
    "crop_margin": "crop_scale",
    "box_margin": "box_scale",
    "capped": "stopped_early",
}


def _from_format_1(values: dict) -> dict:
    """Values of a config of format 1 under the names of format 2."""
    renamed = {RENAMED_FIELDS.get(name, name): value for name, value in values.items()}
    arguments = renamed.get("model_args", {})
    if isinstance(arguments, dict) and "trust" in arguments:
        renamed["model_args"] = {"uncertainty" if k == "trust" else k: v for k, v in arguments.items()}
    if renamed.get("whole_view") == "squash":
        renamed["whole_view"] = "stretch"
    return {**renamed, "format": FORMAT}


def _renamed_weight(name: str) -> str:
    """The present name of a weight: UncertaintyHead was called `trust` in format 1."""
    return name.replace("trust.", "uncertainty.", 1) if name.startswith("trust.") else name


def load_config(folder) -> ModelConfig | FinderConfig:
    """The config of a checkpoint folder: a FinderConfig for a face finder, else a ModelConfig.

    Raises CheckpointError if config.json is missing, damaged, or has a value that its field may not have.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path} is no regular file")
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes: no config of ours")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"no checkpoint in {folder}: {CONFIG_FILE} cannot be read ({error.strerror})"
        ) from error
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}); fetch the checkpoint again") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold an object, it holds a {type(values).__name__}")
    kind = FinderConfig if values.get("model") == FINDER else ModelConfig
    try:
        return kind.from_dict(values)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def load_model_config(folder) -> ModelConfig:
    """The config of a keypoint network. Raises CheckpointError as `load_config`, and for a face finder."""
    config = load_config(folder)
    if not isinstance(config, ModelConfig):
        raise CheckpointError(f"{folder} holds a face finder and no keypoint network")
    return config


def load_finder_config(folder) -> FinderConfig:
    """The config of a face finder. Raises CheckpointError as `load_config`, and for a keypoint network."""
    config = load_config(folder)
    if not isinstance(config, FinderConfig):
        raise CheckpointError(f"{folder} holds a keypoint network and no face finder")
    return config


# --- loading and saving -----------------------------------------------------------------------------


def load_checkpoint(name, device: "str | torch.device" = "cpu") -> "tuple[KeypointNetwork, ModelConfig]":
    """A network in eval mode and its config.

    name: as for `find_checkpoint`. device: where the network is put.
    Raises CheckpointError if there is no such checkpoint, or it is damaged.
    """
    from models import build_model, check_model

    folder = find_checkpoint(name)
    config = load_model_config(folder)
    try:
        check_model(config.model, input_size=config.input_size, **config.model_args)
        model = build_model(config.model, input_size=config.input_size, **config.model_args)
    except (ValueError, TypeError) as error:
        own = [f"; if {path} defines it, read it, then give --model-file" for path in folder.glob("*.py")]
        raise CheckpointError(f"{folder / CONFIG_FILE}: {error}{''.join(own)}") from error
    return _with_weights(model, folder).to(device), config


def load_face_finder(name, device: "str | torch.device" = "cpu") -> "tuple[FaceFinder, FinderConfig]":
    """A face finder in eval mode and its config. Arguments and errors as for `load_checkpoint`."""
    from models import FaceFinder

    folder = find_checkpoint(name)
    config = load_finder_config(folder)
    try:
        model = FaceFinder(**config.model_args)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG_FILE} describes no face finder of ours: {error}") from error
    return _with_weights(model, folder).to(device), config


def _with_weights(model, folder: Path):
    """The network in eval mode with the weights of a checkpoint folder.

    Raises CheckpointError for weights that cannot be read, or are not those of this network.
    """
    import torch

    try:
        model.load_state_dict(_read_weights(folder / WEIGHTS_FILE), strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {folder} do not fit its config: {error}") from error
    # The layout of training: naimishnet answers in 0.65 to 0.74 of the time, heatmapnet in 0.93 (LOG.md)
    return model.to(memory_format=torch.channels_last).eval()


def _read_weights(path: Path) -> "dict[str, torch.Tensor]":
    """Weights by their present names, as float32.

    Raises CheckpointError if they cannot be read or are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise CheckpointError(f"{path} {'is no regular file' if path.exists() else 'is missing'}")
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); fetch the checkpoint again") from error
    weights = {_renamed_weight(k): t.float() if t.is_floating_point() else t for k, t in stored.items()}
    _check_finite(weights, str(path))
    return weights


def _check_finite(weights: "dict[str, torch.Tensor]", where: str) -> None:
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{where}: the weights {name} are not finite numbers")


def save_checkpoint(
    folder, model: "KeypointNetwork | FaceFinder", config: ModelConfig | FinderConfig, *, half: bool = False
) -> Path:
    """Write config.json and model.safetensors into a folder, and return the folder.

    Other files in the folder stay, except ONNX files of other weights: they are removed.

    half: store floating-point weights as float16. They are loaded as float32.
    Raises CheckpointError for weights that are not finite, and if the files cannot be written; the folder is
    then as it was.
    """
    from safetensors.torch import save

    folder = Path(folder)
    weights = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        weights[name] = tensor.half() if half and tensor.is_floating_point() else tensor
    _check_finite(weights, f"{folder} is not saved")
    data = save(weights)
    try:
        remove_leftovers(folder)
        onnx = _onnx_of_same_weights(folder, data)
        # A reader between the two renames finds new weights and the old config: it fails on shapes or names.
        with (
            atomic_path(folder / CONFIG_FILE) as new_config,
            atomic_path(folder / WEIGHTS_FILE) as new_weights,
        ):
            write_json(new_config, replace(config, onnx=onnx).to_dict())
            new_weights.write_bytes(data)
            for name in set(ONNX_FILES) - set(onnx):
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"the checkpoint {folder} cannot be written: {reason}") from error
    return folder


def _onnx_of_same_weights(folder: Path, data: bytes) -> dict:
    """The `onnx` field of the checkpoint that is in a folder, or {} if its weights are not `data`."""
    try:
        same = (folder / WEIGHTS_FILE).read_bytes() == data
        return load_config(folder).onnx if same else {}
    except (OSError, CheckpointError):
        return {}


# --- ONNX files -----------------------------------------------------------------------------------


def sha256_of(path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_onnx(path) -> None:
    """Write the SHA-256 of an ONNX file into the config beside it."""
    path = Path(path)
    config = load_config(path.parent)
    onnx = {**config.onnx, path.name: sha256_of(path)}
    write_json(path.parent / CONFIG_FILE, replace(config, onnx=onnx).to_dict())


def check_onnx(path, folder) -> None:
    """Check that an ONNX file is the one that belongs to a checkpoint.

    path: the ONNX file. folder: the checkpoint folder, whose config holds the file's SHA-256.
    Raises CheckpointError if the file is missing, no regular file, damaged, or of other weights.
    """
    path = Path(path)
    renew = f"make it: python export_onnx.py {folder}"
    if not path.is_file():
        raise CheckpointError(f"{path} {'is no regular file' if path.exists() else 'is missing'}; {renew}")
    recorded = load_config(folder).onnx.get(path.name)
    if recorded is None:
        raise CheckpointError(f"{Path(folder) / CONFIG_FILE} holds no SHA-256 of {path.name}; {renew}")
    try:
        found = sha256_of(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    if found != recorded:
        raise CheckpointError(f"{path} is damaged or belongs to other weights; fetch it again, or {renew}")


def open_onnx(path, threads: int = 0, *, check: bool = True):
    """An ONNX Runtime session for a file on the CPU; needs the package onnxruntime.

    threads: number of CPU threads of one call; 0 leaves it to ONNX Runtime.
    check: the file must have the SHA-256 that the config beside it has for a file of this name.
    Raises CheckpointError for a file that is missing, damaged or no ONNX file, ImportError where ONNX Runtime
    is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "runtime='onnx' needs ONNX Runtime: pip install onnxruntime, or use runtime='torch'"
        ) from error
    path = Path(path)
    renew = f"python export_onnx.py {path.parent}"
    if check:
        check_onnx(path, path.parent)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what is wrong with a file is in the exception
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a family of unrelated types
        raise CheckpointError(
            f"{path} cannot be read as an ONNX file ({error}); make it again: {renew}"
        ) from error


# --- finding --------------------------------------------------------------------------------------


def find_checkpoint(name, *, hub_seconds: float = HUB_SECONDS) -> Path:
    """The local folder of a checkpoint; a checkpoint on the Hugging Face hub is downloaded first.

    name: a folder (`~` is the home folder), a name in saved_models/, or OWNER/NAME on the hub.
    hub_seconds: how long to wait for the hub to connect, and between two answers.
    Raises CheckpointError if there is none of that name, or the hub does not answer, ImportError where the
    hub's client is not installed.
    """
    text = str(name)
    try:
        text = os.path.expanduser(text)
        for folder in (Path(text), SAVED_MODELS / text):
            if text and (folder / CONFIG_FILE).is_file():
                return folder
        exists = bool(text) and Path(text).exists()
        parent_exists = "/" in text and Path(text).parent.is_dir()
    except (OSError, ValueError) as error:  # a name too long, or with a zero byte
        raise CheckpointError(f"{shown(text)} cannot be the name of a checkpoint ({error})") from error
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text) and not exists and not parent_exists:
        return _download(text, hub_seconds)
    known = sorted(path.parent.name for path in SAVED_MODELS.glob(f"*/{CONFIG_FILE}"))
    reason = "it is neither a folder nor OWNER/NAME on the hub"
    if exists and Path(text).is_dir():
        reason = f"it is a folder without a {CONFIG_FILE}"
    elif exists:
        reason = "it is a file, not a folder"
    elif parent_exists:
        reason = f"the folder {Path(text).parent} has nothing of that name"
    raise CheckpointError(
        f"no checkpoint named {text!r}: {reason}. saved_models/ has {', '.join(known) or 'none'}"
    )


def shipped_networks() -> list[Path]:
    """The folders in saved_models/ that hold a keypoint network, by name."""
    folders = [path.parent for path in sorted(SAVED_MODELS.glob(f"*/{CONFIG_FILE}"))]
    return [folder for folder in folders if isinstance(load_config(folder), ModelConfig)]


def _download(name: str, seconds: float) -> Path:
    """The local folder of OWNER/NAME on the hub: config, weights, and ONNX files where it has them."""
    try:
        import requests  # noqa: F401 (for _ask_hub)
        from huggingface_hub import constants, hf_hub_download
    except ImportError as error:
        raise ImportError(f"the hub needs: pip install huggingface-hub requests ({error})") from error
    listing = {} if constants.HF_HUB_OFFLINE else _ask_hub(name, seconds)
    wanted = [CONFIG_FILE, WEIGHTS_FILE]
    options: dict = {"local_files_only": True}
    if listing:
        there = {file.get("rfilename") for file in listing.get("siblings", [])}
        if CONFIG_FILE not in there:
            raise CheckpointError(f"{name!r} on the hub holds no {CONFIG_FILE}: not one of our checkpoints")
        wanted += [file for file in ONNX_FILES if file in there]
        options = {"revision": listing["sha"], "etag_timeout": seconds}
    try:
        paths = [Path(hf_hub_download(name, file, **options)) for file in wanted]
    except Exception as error:  # the hub client raises a family of unrelated types
        raise CheckpointError(_not_fetched(name, one_line(str(error)))) from error
    return paths[0].parent


def _ask_hub(name: str, seconds: float) -> dict:
    """The hub's list of files of OWNER/NAME, or {} if it does not answer and the files are here already."""
    import requests
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.utils import build_hf_headers

    url = f"{constants.ENDPOINT}/api/models/{name}"
    for attempts_left in (1, 0):
        try:
            answer = requests.get(url, headers=build_hf_headers(), timeout=(seconds, seconds))
            if answer.status_code in (401, 403, 404):
                raise CheckpointError(_not_fetched(name, f"the hub has no such model ({answer.status_code})"))
            answer.raise_for_status()
            listing = answer.json()
            break
        except requests.RequestException as error:
            if attempts_left:
                continue
            if isinstance(try_to_load_from_cache(name, WEIGHTS_FILE), str):
                return {}
            silent = isinstance(error, requests.Timeout)
            reason = f"it did not answer within {seconds:g} s, twice" if silent else one_line(str(error))
            raise CheckpointError(_not_fetched(name, reason)) from error
    if not isinstance(listing, dict) or not isinstance(listing.get("sha"), str):
        raise CheckpointError(_not_fetched(name, f"{url} answers with no list of files"))
    return listing


def _not_fetched(name: str, reason: str) -> str:
    return (
        f"{name!r} could not be fetched from the hub: {reason}. There is no local folder of this name. "
        "If you meant a folder, check its path. If you meant the hub, check the name and the connection "
        "(HF_ENDPOINT and HTTPS_PROXY are respected), or download the files elsewhere and give their folder"
    )
