"""Recipes: everything that decides how a network is trained, under one name.

    python train.py --recipe naimishnet --set epochs=3 --set augmentation.rotation_deg=0

To add one: a `Recipe(...)` in RECIPES. A notebook and the command line take the
same ones and override fields with `override`.
"""

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace

from torchvision.transforms import Compose

from checkpoint import ModelConfig
from data_load import LABEL_OFFSET, Normalize, RandomCrop, Rescale, ToTensor
from models import KeypointNetwork, build_model
from training.augment import NO_AUGMENTATION, Augmentation, RescaleIntensity, training_steps
from training.writeups import WRITEUPS


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained. Sizes in pixels, rates per step unless said."""

    name: str
    model: str
    model_args: dict = field(default_factory=dict)
    input_size: int = 96
    crop_mode: str = "whole"  # 'whole' image, 'face' crop, or 'classic': Rescale(250) + RandomCrop(224)
    crop_scale: float = 1.35  # side of a face crop over the larger side of the label box
    augmentation: Augmentation = NO_AUGMENTATION
    labels: str = "raw"  # 'given', 'centred' or 'refined': see data_load.py
    pseudo_label_share: float = 0.5
    gray_range: tuple[float, float] = (0.0, 1.0)  # what black and white become
    keypoint_mean: float = 47.5  # crop pixels; (p - mean) / std is what the network predicts
    keypoint_std: float = 24.0
    loss: str = "mse"
    optimizer: str = "adam"  # 'adam' or 'adamw'
    weight_decay: float = 0.0
    learning_rate: float = 1e-3
    schedule: str = "constant"  # or 'one_cycle': warm-up, then a cosine to zero
    batch_size: int = 64
    epochs: int = 30
    ema_decay: float = 0.0  # 0: ship the last weights; else their exponential moving average
    whole_view: str = "letterbox"
    box_scale: float = 1.0
    passes: int = 1
    flip_tta: bool = False
    align_roll: bool = False  # further looks are turned so that the face stands upright

    def build_model(self) -> KeypointNetwork:
        """The network with random weights (seed PyTorch first)."""
        return build_model(self.model, input_size=self.input_size, **self.model_args)

    def transform(self) -> Compose:
        """From a data-set sample to what the network is trained on."""
        if self.crop_mode == "classic":
            steps = [Rescale(250 * self.input_size // 224), RandomCrop(self.input_size)]
            if self.augmentation != NO_AUGMENTATION:
                steps += training_steps(self.input_size, "whole", self.crop_scale, self.augmentation)
        else:
            steps = training_steps(self.input_size, self.crop_mode, self.crop_scale, self.augmentation)
        steps += [
            Normalize(self.keypoint_mean, self.keypoint_std),
            RescaleIntensity(*self.gray_range),
            ToTensor(),
        ]
        return Compose(steps)

    def as_json(self) -> dict:
        """All fields, as they read after a round trip through a file."""
        return json.loads(json.dumps(asdict(self)))

    def config(self, **more) -> ModelConfig:
        """The config of a checkpoint trained by this recipe."""
        return ModelConfig(
            model=self.model,
            model_args=dict(self.model_args),
            input_size=self.input_size,
            gray_range=self.gray_range,
            keypoint_mean=self.keypoint_mean,
            keypoint_std=self.keypoint_std,
            whole_view=self.whole_view,
            crop_scale=self.crop_scale,
            box_scale=self.box_scale,
            passes=self.passes,
            flip_tta=self.flip_tta,
            align_roll=self.align_roll,
            label_offset=(0.0, 0.0) if self.labels == "raw" else LABEL_OFFSET,
            recipe=self.name,
            epochs=self.epochs,
            **more,
        )

    def check_minutes(self, minutes: float | None) -> None:
        """ValueError for a time limit that is not positive, or that would cut a schedule short."""
        if minutes is None:
            return
        if not minutes > 0:
            raise ValueError(f"minutes must be positive, got {minutes}")
        if self.schedule != "constant":
            raise ValueError(
                f"{self.name!r} has a {self.schedule} schedule, which ends with a low learning rate; cut "
                "short, it would never get there. Lower epochs, or set schedule=constant"
            )

    def override(self, changes: dict) -> "Recipe":
        """A copy with fields changed; values may be text ('3', 'true'), names may be dotted."""
        recipe = self
        for name, value in changes.items():
            recipe = _replace_field(recipe, name.split("."), value, name)
        return recipe


def _replace_field(item, path: list[str], value, full_name: str):
    known = {f.name: getattr(item, f.name) for f in fields(item)}
    if path[0] not in known:
        raise ValueError(f"a recipe has no field {full_name!r}; at this place there are {', '.join(known)}")
    current = known[path[0]]
    if len(path) > 1:
        if isinstance(current, dict):
            return replace(item, **{path[0]: {**current, ".".join(path[1:]): _guess(value)}})
        if not is_dataclass(current):
            raise ValueError(f"{path[0]!r} has no fields of its own, so {full_name!r} names nothing")
        return replace(item, **{path[0]: _replace_field(current, path[1:], value, full_name)})
    return replace(item, **{path[0]: _as_type_of(current, value, full_name)})


def _guess(value):
    """Text as int, float or bool where it reads as one."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _as_type_of(current, value, name: str):
    """`value` in the type of the field's current value, or a ValueError."""
    if isinstance(value, str):
        value = tuple(_guess(v) for v in value.split(",")) if isinstance(current, tuple) else _guess(value)
    if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(current, int) and not isinstance(current, bool) and isinstance(value, bool):
        raise ValueError(f"{name} must be an int, got {value!r}")
    if not isinstance(value, type(current)):
        raise ValueError(f"{name} must be of type {type(current).__name__}, got {value!r}")
    return value


# Light enough for a dense output, wide enough that a whole frame (2.6 x the face) and a
# loose face box both look like what was trained on.
_FACE_IN_FRAME = Augmentation(
    rotation_deg=10.0,
    scale=0.17,
    shift=0.05,
    contrast=0.2,
    brightness=0.08,
    blur_prob=0.0,
    occlusion_prob=0.0,
)

_NAIMISHNET = Recipe(
    "naimishnet",
    model="naimishnet",
    model_args={"dropout": 0.2},
    crop_mode="face",
    crop_scale=2.2,
    box_scale=1.95,
    augmentation=_FACE_IN_FRAME,
    gray_range=(-1.0, 1.0),
    loss="wing",
    optimizer="adamw",
    schedule="one_cycle",
    ema_decay=0.999,
    epochs=100,
    passes=5,
    flip_tta=True,
)

_GOOD = Recipe(
    "heatmapnet_fast",
    model="heatmapnet",
    crop_mode="face",
    crop_scale=1.35,
    box_scale=1.6,
    augmentation=Augmentation(wide_crop_prob=0.33),
    labels="blended",
    loss="wing",
    optimizer="adamw",
    weight_decay=1e-4,
    learning_rate=3e-3,
    schedule="one_cycle",
    ema_decay=0.999,
    epochs=30,
    passes=2,
    flip_tta=True,
    align_roll=True,
)

#: All recipes by name.
RECIPES = {
    recipe.name: recipe
    for recipe in [
        _NAIMISHNET,
        # what notebook 2 trains: a few minutes on two CPU cores
        replace(_NAIMISHNET, name="naimishnet_quick", epochs=10),
        # our network: ten minutes on two CPU cores
        _GOOD,
        # what ships: the same for twice as long, and a small one
        replace(_GOOD, name="heatmapnet", epochs=60),
        replace(_GOOD, name="heatmapnet_small", model_args={"width": 16}, epochs=60, flip_tta=False),
        # the public write-ups, each as it states
        *(Recipe(entry.name, **entry.settings()) for entry in WRITEUPS.values()),
    ]
}


def get_recipe(name: str) -> Recipe:
    """The recipe called `name`, or a ValueError that lists them."""
    if name not in RECIPES:
        raise ValueError(f"no recipe named {name!r}; there are {', '.join(sorted(RECIPES))}")
    return RECIPES[name]
