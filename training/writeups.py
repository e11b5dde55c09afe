"""The public write-ups of this exercise: the settings that each one states, and ours where it states none.

    python train.py --recipe writeup_002_batch_norm --split identity --minutes 75

`training/recipes.py` makes a recipe of each; benchmarks/writeups/README.md is the table of their results. A
field is either in `states` or in `stands_in`, never in both, so it is clear which numbers are the author's.
"""

from dataclasses import dataclass

from training.augment import Augmentation


@dataclass(frozen=True)
class WriteUp:
    """A published network and its training, in fields of `Recipe`.

    source: '000' to '004' for the public write-ups, 'paper' for arXiv 1710.00977.
    states: settings that the source states in words or in its printed network.
    stands_in: settings that it does not state and that a run needs: the exercise's usual value, or ours.
    note: a remark for the table of results.
    printed_losses: (training, test) losses that the source prints; it does not name the crop.
    """

    name: str
    source: str
    states: dict
    stands_in: dict
    note: str = ""
    printed_losses: tuple[float, float] | None = None

    def settings(self) -> dict:
        """All fields of the recipe except its name.

        Raises ValueError for a field that is in more than one group.
        """
        settings: dict = {}
        for part in (self.states, self.stands_in, _CENTRE_CROP):
            doubled = settings.keys() & part.keys()
            if doubled:
                raise ValueError(f"{self.name} gives {', '.join(sorted(doubled))} twice; keep the stated one")
            settings |= part
        return settings


# The settings of the measurement are ours for all rows: the central crop of what they were trained on, one
# pass, no averaging. crop_scale and box_scale are the size of that crop over the size of the label box and
# of the cascade's box (medians over the training images of the `identity` split).
_CENTRE_CROP = {"whole_view": "crop", "crop_scale": 2.0, "box_scale": 1.77, "passes": 1, "flip_tta": False}

# The exercise as it is published: Rescale(250), RandomCrop(224), keypoints (p - 100) / 50.
_CLASSIC_FRAME = {"crop_mode": "classic"}
_CLASSIC_SIZE = {"input_size": 224}
_CLASSIC_SCALE = {"keypoint_mean": 100.0, "keypoint_std": 50.0}
_CLASSIC_TRAINING = {"loss": "smooth_l1", "optimizer": "adam", "learning_rate": 1e-3}
# The only batch size among the five write-ups is that of 002.
_BATCH = {"batch_size": 32}
# Write-up 003 says only "data augmentation".
_ROTATE_FLIP_CONTRAST = Augmentation(
    rotation_deg=10.0,
    scale=0.0,
    shift=0.0,
    flip_prob=0.5,
    contrast=0.2,
    brightness=0.08,
    blur_prob=0.0,
    occlusion_prob=0.0,
)


def _write_up_003(name: str, learning_rate: float, printed_losses: tuple[float, float]) -> WriteUp:
    return WriteUp(
        name,
        "003",
        states={"loss": "mse", "optimizer": "adam", "learning_rate": learning_rate, "epochs": 10},
        stands_in={
            "model": "batch_norm_cnn",
            **_CLASSIC_FRAME,
            **_CLASSIC_SIZE,
            **_CLASSIC_SCALE,
            **_BATCH,
            "augmentation": _ROTATE_FLIP_CONTRAST,
        },
        note="its network is not printed: 002's stands in; it names augmentation without saying which",
        printed_losses=printed_losses,
    )


#: One entry per row of benchmarks/writeups/README.md, in its order.
WRITEUPS = {
    entry.name: entry
    for entry in [
        WriteUp(
            "writeup_paper_naimishnet",
            "paper",
            states={
                "model": "naimishnet",
                "model_args": {"dropout": 1.0},
                "input_size": 96,
                "loss": "mse",
                "optimizer": "adam",
                "learning_rate": 1e-3,
                "batch_size": 128,
                "epochs": 300,
            },
            stands_in={
                **_CLASSIC_FRAME,
                "keypoint_mean": 100.0 * 96 / 224,  # the classic scale at 96 px
                "keypoint_std": 50.0 * 96 / 224,
            },
            note="the paper trains one network for each point and on face crops, 300 epochs at most, and "
            "stops when held-out images no longer gain; here one network predicts all points and runs on",
        ),
        WriteUp(
            "writeup_000_strided",
            "000",
            states={"model": "strided_cnn", **_CLASSIC_SIZE},
            stands_in={**_CLASSIC_FRAME, **_CLASSIC_SCALE, **_CLASSIC_TRAINING, **_BATCH, "epochs": 20},
            note="its dense layer of 2048 inputs fits 224 px; the order of its layers is the usual one",
        ),
        WriteUp(
            "writeup_001_two_layer",
            "001",
            states={"model": "two_layer_cnn", **_CLASSIC_FRAME},
            stands_in={**_CLASSIC_SIZE, **_CLASSIC_SCALE, **_CLASSIC_TRAINING, **_BATCH, "epochs": 30},
            note="the assignment: 2 layers, and no numbers (16 filters of 5x5 and a 4x4 pool are ours)",
        ),
        WriteUp(
            "writeup_002_batch_norm",
            "002",
            states={
                "model": "batch_norm_cnn",
                **_CLASSIC_FRAME,
                **_CLASSIC_SIZE,
                "batch_size": 32,
                "epochs": 7,
                "loss": "smooth_l1",
                "optimizer": "adam",
            },
            stands_in={**_CLASSIC_SCALE, "learning_rate": 1e-3},
            note="its dense widths are not given (1000 and 500 are ours); Adam is named 'as in the paper'",
        ),
        _write_up_003("writeup_003_lr_1e-2", 1e-2, (0.099, 0.077)),
        _write_up_003("writeup_003_lr_1e-3", 1e-3, (0.476, 0.463)),
        WriteUp(
            "writeup_004_wide_dense",
            "004",
            states={"model": "wide_dense_cnn", **_CLASSIC_FRAME, **_CLASSIC_SIZE, "gray_range": (0.0, 1.0)},
            stands_in={**_CLASSIC_SCALE, **_CLASSIC_TRAINING, **_BATCH, "epochs": 15},
            note="it names Rescale and RandomCrop without sizes; 36864 inputs of its dense layer fit 224 px",
        ),
    ]
}
