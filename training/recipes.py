"""Recipes: all settings of a training, under one name.

    python train.py --recipe naimishnet --set epochs=3 --set augmentation.rotation_deg=0

To add a recipe: put a `Recipe(...)` into RECIPES. Notebooks and the command line use the same recipes, and
change fields with `override`.
"""

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING

from torch.nn import Module

from checkpoint import ModelConfig, check_fields, rule, same_rule
from data_load import LABEL_OFFSET, LABELS, Normalize, RandomCrop, Rescale, ToTensor
from models import KeypointNetwork, build_model, check_model
from training.augment import CROP_MODES, NO_AUGMENTATION, Augmentation, RescaleIntensity, training_steps
from training.losses import build_loss
from training.own_network import check_runs
from training.writeups import WRITEUPS

if TYPE_CHECKING:
    from torchvision.transforms import Compose

OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("constant", "one_cycle")


@dataclass(frozen=True)
class Recipe:
    """A network and its training. Lengths are in pixels of the crop.

    name: letters, digits, '_', '-', '.', '+', ' '; run folders are named after it.
    model, model_args, input_size: the network, its arguments, and the side of its input.
    crop_mode: the part of the image that is trained on: 'whole' image, 'face' crop, or 'classic', which is
        Rescale(250) and RandomCrop(224) of the exercise.
    crop_scale: side of a face crop over the larger side of the label box.
    augmentation: the random changes of the training images.
    labels, pseudo_label_share: 'raw', 'debiased', 'blended' or 'ibug', and the weight of the pseudo-labels in
        the last two (data_load.training_labels).
    gray_range: the values of black and white in the network's input.
    keypoint_mean, keypoint_std: the network predicts (keypoint - mean) / std. None: the middle of the
        input and a quarter of it: (input_size - 1) / 2 and input_size / 4.
    loss, loss_args: a name in training/losses.py, and the loss's arguments.
    optimizer, weight_decay: 'adam' or 'adamw', and its weight decay.
    learning_rate, schedule: 'constant', or 'one_cycle': the rate rises to learning_rate, then falls to 0.
    batch_size, epochs: images per step, and passes over the training images.
    ema_decay: 0 saves the last weights; otherwise the exponential moving average with this decay is saved.
    whole_view, box_scale, passes, flip_tta, align_roll: how the network is used afterwards; see ModelConfig.
    """

    name: str = field(
        metadata=rule(str, pattern=r"\w[\w .+-]{0,99}", meaning="letters, digits and _ - . +, at most 100")
    )
    model: str = field(metadata=same_rule(ModelConfig, "model"))
    model_args: dict = field(default_factory=dict, metadata=same_rule(ModelConfig, "model_args"))
    input_size: int = field(default=96, metadata=same_rule(ModelConfig, "input_size"))
    crop_mode: str = field(default="whole", metadata=rule(str, choices=(*CROP_MODES, "classic")))
    crop_scale: float = field(default=1.35, metadata=same_rule(ModelConfig, "crop_scale"))
    augmentation: Augmentation = NO_AUGMENTATION
    labels: str = field(default="raw", metadata=rule(str, choices=LABELS))
    pseudo_label_share: float = field(default=0.5, metadata=rule(float, low=0, high=1))
    gray_range: tuple[float, float] = field(default=(0.0, 1.0), metadata=same_rule(ModelConfig, "gray_range"))
    keypoint_mean: float | None = field(default=None, metadata=same_rule(ModelConfig, "keypoint_mean"))
    keypoint_std: float | None = field(default=None, metadata=same_rule(ModelConfig, "keypoint_std"))
    loss: str = field(default="mse", metadata=rule(str, pattern=r"\w+", meaning="the name of a loss"))
    loss_args: dict = field(default_factory=dict, metadata=rule(dict))
    optimizer: str = field(default="adam", metadata=rule(str, choices=OPTIMIZERS))
    weight_decay: float = field(default=0.0, metadata=rule(float, low=0, high=10))
    learning_rate: float = field(default=1e-3, metadata=rule(float, low=1e-9, high=1000))
    schedule: str = field(default="constant", metadata=rule(str, choices=SCHEDULES))
    batch_size: int = field(default=64, metadata=rule(int, low=1, high=100_000))
    epochs: int = field(default=30, metadata=rule(int, low=1, high=100_000))
    ema_decay: float = field(default=0.0, metadata=rule(float, low=0, high=0.999999))
    whole_view: str = field(default="letterbox", metadata=same_rule(ModelConfig, "whole_view"))
    box_scale: float = field(default=1.0, metadata=same_rule(ModelConfig, "box_scale"))
    passes: int = field(default=1, metadata=same_rule(ModelConfig, "passes"))
    flip_tta: bool = field(default=False, metadata=same_rule(ModelConfig, "flip_tta"))
    align_roll: bool = field(default=False, metadata=same_rule(ModelConfig, "align_roll"))

    def __post_init__(self):
        """Raises ValueError for a value that its field may not have."""
        check_fields(self)

    def check(self) -> None:
        """Check the network and the loss, which are in registries that may grow after a recipe is made.

        Raises ValueError for an unknown name or argument, and for a network that cannot be built or does not
        turn its input into keypoints.
        """
        self.build_loss()
        check_model(self.model, input_size=self.input_size, **self.model_args)
        check_runs(self.model, self.input_size, **self.model_args)

    def build_model(self) -> KeypointNetwork:
        """The network with random weights, from PyTorch's random numbers."""
        return build_model(self.model, input_size=self.input_size, **self.model_args)

    def build_loss(self) -> Module:
        """The loss, with its arguments."""
        return build_loss(self.loss, **self.loss_args)

    def keypoint_scale(self) -> tuple[float, float]:
        """Mean and standard deviation by which keypoints are normalised, in pixels of the crop."""
        mean = (self.input_size - 1) / 2 if self.keypoint_mean is None else self.keypoint_mean
        return mean, self.input_size / 4 if self.keypoint_std is None else self.keypoint_std

    def transform(self) -> "Compose":
        """The transform from a sample of the data set to an input of the network and its keypoints."""
        from torchvision.transforms import Compose  # takes longer to import than all else here

        if self.crop_mode == "classic":
            steps = [Rescale(250 * self.input_size // 224), RandomCrop(self.input_size)]
            if self.augmentation != NO_AUGMENTATION:
                steps += training_steps(self.input_size, "whole", self.crop_scale, self.augmentation)
        else:
            steps = training_steps(self.input_size, self.crop_mode, self.crop_scale, self.augmentation)
        steps += [
            Normalize(*self.keypoint_scale()),
            RescaleIntensity(*self.gray_range),
            ToTensor(),
        ]
        return Compose(steps)

    def as_json(self) -> dict:
        """All fields as plain values, as they are after JSON; tuples are lists.

        Fields that are newer than some records are left out where they change nothing.
        """
        mean, std = self.keypoint_scale()
        values = {**asdict(self), "keypoint_mean": mean, "keypoint_std": std}
        if not values["loss_args"]:
            del values["loss_args"]
        for name in ("eyelid_prob", "mouth_prob"):
            if not values["augmentation"][name]:
                del values["augmentation"][name]
        return json.loads(json.dumps(values))

    def config(self, **more) -> ModelConfig:
        """The config of a checkpoint that this recipe has trained. more: its other fields."""
        mean, std = self.keypoint_scale()
        return ModelConfig(
            model=self.model,
            model_args=dict(self.model_args),
            input_size=self.input_size,
            gray_range=self.gray_range,
            keypoint_mean=mean,
            keypoint_std=std,
            whole_view=self.whole_view,
            crop_scale=self.crop_scale,
            box_scale=self.box_scale,
            passes=self.passes,
            flip_tta=self.flip_tta,
            align_roll=self.align_roll,
            scheme="ibug" if self.labels == "ibug" else "dataset",
            label_offset=(0.0, 0.0) if self.labels == "raw" else LABEL_OFFSET,
            recipe=self.name,
            epochs=self.epochs,
            **more,
        )

    def check_minutes(self, minutes: float | None) -> None:
        """Raise ValueError for a time limit that is not positive, or that would cut a schedule short."""
        if minutes is None:
            return
        if not 0 < minutes < math.inf:
            raise ValueError(f"minutes must be a positive number; got {minutes}")
        if self.schedule != "constant":
            raise ValueError(
                f"minutes cannot be used with {self.name!r}: its {self.schedule} schedule lowers the rate "
                "until the last epoch. Lower epochs, or set schedule=constant"
            )

    def override(self, changes: dict) -> "Recipe":
        """A copy with changed fields.

        changes: values by field name; 'augmentation.NAME', 'model_args.NAME' and 'loss_args.NAME' name a
            field within a field. A value may be text, as on a command line: '3', 'true', '0.5,2'. Another
            model or loss starts without the arguments of the recipe, which are for its own.
        Raises ValueError for an unknown field, or a value that a field may not have.
        """
        recipe = self
        for name, arguments in (("model", "model_args"), ("loss", "loss_args")):
            if changes.get(name, getattr(self, name)) != getattr(self, name):
                recipe = replace(recipe, **{arguments: {}})
        for name, value in changes.items():
            outer, dot, inner = name.partition(".")
            if not dot:
                recipe = with_field(recipe, name, value)
            elif outer == "augmentation":
                recipe = replace(
                    recipe, augmentation=with_field(recipe.augmentation, inner, value, "augmentation.")
                )
            elif outer in ("model_args", "loss_args"):
                new = {inner: _argument(value) if isinstance(value, str) else value}
                recipe = replace(recipe, **{outer: {**getattr(recipe, outer), **new}})
            else:
                raise ValueError(
                    f"there is no field {name!r}; only augmentation, model_args and loss_args have fields"
                )
        return recipe


def with_field(values, name: str, value, prefix: str = ""):
    """A copy of a dataclass instance with one field changed; a text is read as the field's type.

    Raises ValueError for an unknown field, or a value that the field may not have.
    """
    known = {f.name: f.metadata.get("rule") for f in fields(values)}
    if name not in known:
        raise ValueError(
            f"there is no field {prefix + name!r}; there are {', '.join(prefix + f for f in known)}"
        )
    if known[name] is None:
        if not isinstance(value, type(getattr(values, name))):
            raise ValueError(f"{name} has fields of its own: set {name}.NAME")
    elif isinstance(value, str):
        value = known[name].from_text(value)
    return replace(values, **{name: value})


def _argument(text: str):
    """The value of a network's or loss's argument from a text: JSON, or numbers with commas between them."""
    try:
        return json.loads(f"[{text}]" if "," in text and "[" not in text else text.lower())
    except ValueError:
        return text


# Weak enough for a network with dense layers. The scales cover a whole image (2.6 x the face) and a face
# box that is too large.
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

_HEATMAPNET_FAST = Recipe(
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

#: Recipes that go on from the weights of another recipe (train.py --start-from).
STARTS_FROM = {"heatmapnet_ibug": "heatmapnet", "heatmapnet_small_ibug": "heatmapnet_small"}
# Points where people put them, and lids and lips that move.
_TO_IBUG = {
    "labels": "ibug",
    "augmentation": replace(_HEATMAPNET_FAST.augmentation, eyelid_prob=0.5, mouth_prob=0.2),
    "learning_rate": 2e-3,
}
# Mouths are opened more often than for the large network, since that one flattens wide mouths.
_SMALL_TO_IBUG = {**_TO_IBUG, "augmentation": replace(_TO_IBUG["augmentation"], mouth_prob=0.4)}

#: All recipes by name.
RECIPES = {
    recipe.name: recipe
    for recipe in [
        _NAIMISHNET,
        # for notebook 2: a few minutes on two CPU cores
        replace(_NAIMISHNET, name="naimishnet_quick", epochs=10),
        # ten minutes on two CPU cores
        _HEATMAPNET_FAST,
        # twice as many epochs, and a smaller network
        replace(_HEATMAPNET_FAST, name="heatmapnet", epochs=60),
        replace(
            _HEATMAPNET_FAST, name="heatmapnet_small", model_args={"width": 16}, epochs=60, flip_tta=False
        ),
        # these go on from the two above; saved_models/ holds what they give
        replace(_HEATMAPNET_FAST, name="heatmapnet_ibug", **_TO_IBUG),
        replace(
            _HEATMAPNET_FAST,
            name="heatmapnet_small_ibug",
            **_SMALL_TO_IBUG,
            model_args={"width": 16},
            epochs=60,
            flip_tta=False,
        ),
        # the public write-ups, with the settings that each one states
        *(Recipe(entry.name, **entry.settings()) for entry in WRITEUPS.values()),
    ]
}


def get_recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises ValueError, which lists all recipes, if there is none.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe named {name!r}; there are {', '.join(sorted(RECIPES))}")
    return RECIPES[name]
