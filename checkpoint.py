"""Checkpoints: a folder with config.json and model.safetensors, and nothing that runs code.

    model, config = load_checkpoint("naimishnet")    # a folder, a name in saved_models/, or OWNER/NAME

The config carries every number that stands between an image and keypoints, so that
a checkpoint measured here gives the same keypoints everywhere.
"""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from files import write_json
from models import KeypointNetwork, build_model

SAVED_MODELS = Path(__file__).parent / "saved_models"
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
FORMAT = 2


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or not one of ours."""


@dataclass(frozen=True)
class ModelConfig:
    """What belongs to a set of weights.

    model, model_args: what `build_model` is called with; input_size in pixels.
    gray_range: what black and white become before the network.
    keypoint_mean, keypoint_std: output * std + mean is pixels of the crop.
    whole_view: how a whole image becomes a square: 'letterbox', 'stretch' or 'crop'.
    crop_scale: side of a face crop over the larger side of the box around its keypoints.
    box_scale: side of a first crop over the larger side of a face detector's box.
    passes: how often the network runs on a face; each pass crops around the answer of the pass before.
    flip_tta: whether the last pass also gets the flipped crop, and both answers are averaged.
    align_roll: whether crops after the first pass are rotated so that the face is upright in them.
    label_offset: what was taken out of the training labels (data_load.py); to be added, times the
        inter-ocular distance, where answers are compared with such labels, and nowhere else.
    stopped_early: whether training stopped at a time limit, after `epochs` of more epochs.
    trained_on: 'official', 'identity', 'validation', 'sample' or 'own'.
    """

    model: str
    input_size: int
    model_args: dict = field(default_factory=dict)
    gray_range: tuple[float, float] = (0.0, 1.0)
    keypoint_mean: float = 100.0
    keypoint_std: float = 50.0
    whole_view: str = "letterbox"
    crop_scale: float = 1.35
    box_scale: float = 1.0
    passes: int = 1
    flip_tta: bool = False
    align_roll: bool = False
    label_offset: tuple[float, float] = (0.0, 0.0)
    trained_on: str = "own"
    recipe: str = ""
    epochs: int = 0
    stopped_early: bool = False
    seed: int = 0
    data_checksum: str = ""
    measured: dict = field(default_factory=dict)
    format: int = FORMAT

    @property
    def has_uncertainty(self) -> bool:
        """True if the network estimates confidence and radius."""
        return bool(self.model_args.get("uncertainty"))

    def to_dict(self) -> dict:
        """Plain values, as config.json holds them."""
        return {**asdict(self), "gray_range": list(self.gray_range), "label_offset": list(self.label_offset)}

    @classmethod
    def from_dict(cls, values: dict) -> "ModelConfig":
        """The inverse of to_dict; also reads format 1. Raises CheckpointError for unknown or missing fields."""
        values = _from_format_1(values) if values.get("format", 1) == 1 else values
        if values["format"] != FORMAT:
            raise CheckpointError(
                f"config format {values['format']} is not {FORMAT}; use the release it came from"
            )
        unknown = set(values) - {f.name for f in fields(cls)}
        missing = {"model", "input_size"} - set(values)
        if unknown or missing:
            raise CheckpointError(f"config has unknown {sorted(unknown)} and lacks {sorted(missing)} fields")
        pairs = {name: tuple(values[name]) for name in ("gray_range", "label_offset") if name in values}
        return cls(**{**values, **pairs})


#: What the fields of format 1 are called now.
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
        arguments = {("uncertainty" if name == "trust" else name): value for name, value in arguments.items()}
        renamed["model_args"] = arguments
    if renamed.get("whole_view") == "squash":
        renamed["whole_view"] = "stretch"
    return {**renamed, "format": FORMAT}


def _renamed_weight(name: str) -> str:
    """The head for confidence and radius was called `trust` in weights of format 1."""
    return name.replace("trust.", "uncertainty.", 1) if name.startswith("trust.") else name


def save_checkpoint(folder, model: KeypointNetwork, config: ModelConfig, *, half: bool = False) -> Path:
    """Write config.json and model.safetensors; other files in the folder stay.

    half: store floating-point weights as float16; they are loaded as float32.
    """
    folder = Path(folder)
    weights = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        weights[name] = tensor.half() if half and tensor.is_floating_point() else tensor
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder))
    try:
        save_file(weights, staging / WEIGHTS_FILE)
        # Weights first: with an old config beside them a reader fails loudly, on shapes or names.
        os.replace(staging / WEIGHTS_FILE, folder / WEIGHTS_FILE)
        write_json(folder / CONFIG_FILE, config.to_dict())
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def load_checkpoint(name, device: str | torch.device = "cpu") -> tuple[KeypointNetwork, ModelConfig]:
    """Network in eval mode and its config, from a folder, a name in saved_models/, or OWNER/NAME on the hub.

    Raises CheckpointError if there is none, or it is damaged.
    """
    folder = find_checkpoint(name)
    config = load_config(folder)
    model = build_model(config.model, input_size=config.input_size, **config.model_args)
    try:
        weights = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE} cannot be read ({error}); fetch the checkpoint again"
        ) from error
    weights = {_renamed_weight(key): t.float() if t.is_floating_point() else t for key, t in weights.items()}
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {folder} do not fit its config: {error}") from error
    # The layout of training: naimishnet answers in 0.65 to 0.74 of the time, heatmapnet in 0.93 (LOG.md)
    return model.to(device, memory_format=torch.channels_last).eval(), config


def load_config(folder) -> ModelConfig:
    """The config of a checkpoint folder."""
    path = Path(folder) / CONFIG_FILE
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise CheckpointError(f"no checkpoint in {folder}: {path.name} cannot be read ({error})") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}); fetch the checkpoint again") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold an object, it holds a {type(values).__name__}")
    return ModelConfig.from_dict(values)


def find_checkpoint(name) -> Path:
    """The local folder of a checkpoint; downloads config and weights for a hub name OWNER/NAME."""
    for folder in (Path(name), SAVED_MODELS / str(name)):
        if (folder / CONFIG_FILE).is_file():
            return folder
    text = str(name)
    if text.count("/") == 1 and not text.startswith((".", "/")) and not Path(text).exists():
        return _download(text)
    known = sorted(path.parent.name for path in SAVED_MODELS.glob(f"*/{CONFIG_FILE}"))
    raise CheckpointError(
        f"no checkpoint named {text!r}: it is neither a folder with a {CONFIG_FILE}, nor OWNER/NAME "
        f"on the hub, nor one of saved_models/ ({', '.join(known) or 'which is empty'})"
    )


def _download(hub_name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(hub_name, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE])
    except Exception as error:  # the hub client raises a family of unrelated types
        raise CheckpointError(f"{hub_name!r} could not be fetched from the hub: {error}") from error
    if not (Path(folder) / CONFIG_FILE).is_file():
        raise CheckpointError(f"{hub_name!r} on the hub holds no {CONFIG_FILE}: not one of our checkpoints")
    return Path(folder)
