"""Attempts to make `heatmapnet` better, one change per row, on the people of `validation`:

    python -m benchmarks.search.page                            # writes the page from stored records
    python -m benchmarks.search.page --train                    # first trains and measures what has no record
    python -m benchmarks.search.page --train --only deep 128px  # these rows

The base is recipe `heatmapnet_fast` with 15 epochs instead of 30, so that a row takes minutes. Rows are
trained on the 222 people of `validation` and measured on its 56 other people. An interrupted run goes on
where it stopped. Each row leaves ROW.json in benchmarks/search/records/.
"""

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from benchmarks import pages
from data_fetch import data_checksum
from files import write_json
from landmarks import NUM_KEYPOINTS
from models import HeatmapNet, count_macs, count_parameters, register
from training.augment import Augmentation
from training.evaluation import CheckpointPredictor, evaluate
from training.loop import train
from training.losses import LOSSES
from training.recipes import Recipe, get_recipe
from training.records import provenance

ROOT = Path(__file__).parents[2]
RECORDS = Path(__file__).parent / "records"
PAGE = Path(__file__).with_name("README.md")
SPLIT = "validation"
BASE = replace(get_recipe("heatmapnet_fast"), epochs=15, align_roll=False)
SETTINGS = ((1, False), (2, False), (2, True), (3, True))  # passes, flip_tta
SHIPPED = (2, True)
NOT_FLIPPED = ("raw_no_flip",)


@register("axes_net")
class AxesNet(HeatmapNet):
    """HeatmapNet with another head: each coordinate is a class, two classes per pixel.

    A linear layer, shared by all points, turns a heatmap into one row of scores for x and one for y. A
    coordinate is the mean of their softmax. After Li et al., "SimCC", ECCV 2022, but trained through
    that mean, like the heatmaps, and not through the classes.
    """

    def __init__(self, input_size: int | None = None, **settings):
        super().__init__(input_size, **settings)
        self.bins = 2 * self.input_size
        self.to_axes = nn.Linear((self.input_size // self.stride) ** 2, 2 * self.bins)

    def _scores(self, heatmaps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (B, 68, 2, bins) of each coordinate, and the normalised positions (bins,) of the classes."""
        scores = self.to_axes(heatmaps.flatten(2)).float().unflatten(-1, (2, self.bins))
        return scores, torch.linspace(-2, 2, self.bins, device=scores.device)  # from edge to edge

    def _to_keypoints(self, heatmaps: torch.Tensor) -> torch.Tensor:
        return self._mean(*self._scores(heatmaps))

    @staticmethod
    def _mean(scores: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        return (scores.softmax(dim=-1) * position).sum(dim=-1).view(-1, NUM_KEYPOINTS, 2)


class AxisOutput(NamedTuple):
    """The output of AxisClassesNet in training: keypoints (B, 68, 2), and what AxisClassLoss needs.

    scores: (B, 68, 2, bins). position: (bins,). The training loop calls `float` for the loss and
    `detach` for the NME.
    """

    keypoints: torch.Tensor
    scores: torch.Tensor
    position: torch.Tensor

    def float(self) -> "AxisOutput":
        """All parts as float32."""
        return AxisOutput(*(part.float() for part in self))

    def detach(self) -> torch.Tensor:
        """The keypoints, without gradient."""
        return self.keypoints.detach()


@register("axis_classes_net")
class AxisClassesNet(AxesNet):
    """AxesNet for AxisClassLoss: in training mode it returns an AxisOutput, else keypoints."""

    def forward(self, x: torch.Tensor) -> torch.Tensor | AxisOutput:
        if not self.training:
            return super().forward(x)
        scores, position = self._scores(self.heatmaps(x))
        return AxisOutput(self._mean(scores, position), scores, position)


class AxisClassLoss(nn.Module):
    """Cross-entropy between the classes of each coordinate and a bell curve around the true one.

    After Li et al., "SimCC", ECCV 2022. The standard deviation of the bell is 1 px of a crop of 96
    (2 classes).
    """

    def __init__(self, deviation: float = 4 / 96):
        super().__init__()
        self.deviation = deviation

    def forward(self, predicted: AxisOutput, true: torch.Tensor) -> torch.Tensor:
        position = predicted.position
        # a point outside the crop counts as lying on its edge
        away = position - true.clamp(position[0], position[-1]).unsqueeze(-1)
        bell = (-0.5 * (away / self.deviation).square()).softmax(dim=-1)
        return -(bell * predicted.scores.log_softmax(dim=-1)).sum(dim=-1).mean()


def _augmentation(strength: float) -> Augmentation:
    """The base's augmentation with its strengths multiplied; flips and the share of wide crops stay."""
    base = BASE.augmentation
    names = ("rotation_deg", "scale", "shift", "contrast", "brightness", "blur_prob", "occlusion_prob")
    return replace(base, **{name: min(strength * getattr(base, name), 1.0) for name in names})


@dataclass(frozen=True)
class Row:
    """One change to the base: fields of `Recipe`, or another seed."""

    change: str
    fields: dict = field(default_factory=dict)
    seed: int = 0

    @property
    def recipe(self) -> Recipe:
        """The base with the change made."""
        return replace(BASE, **self.fields)


ROWS = {
    "base": Row("none: recipe `heatmapnet_fast`, 15 epochs"),
    "another_seed": Row("none but the seed (1)", seed=1),
    "raw": Row("labels `raw`, not `blended`", {"labels": "raw"}),
    "raw_no_flip": Row(
        "labels `raw`, no flipped images in training",
        {"labels": "raw", "augmentation": replace(BASE.augmentation, flip_prob=0.0)},
    ),
    "debiased": Row("labels `debiased`: without their offset, no pseudo-labels", {"labels": "debiased"}),
    "blended_0.8": Row("share of the pseudo-labels 0.8, not 0.5", {"pseudo_label_share": 0.8}),
    "coarse": Row("heatmaps at 1/8 of the input, not 1/4", {"model_args": {"stride": 8}}),
    "narrow": Row("width 16, not 32 (as `heatmapnet-small`)", {"model_args": {"width": 16}}),
    "wide": Row("width 44", {"model_args": {"width": 44}}),
    "deep": Row("two residual blocks per level, not one", {"model_args": {"blocks": (2, 2, 2, 2)}}),
    "128px": Row("input of 128 px, not 96", {"input_size": 128, "keypoint_mean": 63.5, "keypoint_std": 32.0}),
    "smooth_l1": Row("SmoothL1, not Wing loss", {"loss": "smooth_l1"}),
    "adaptive_wing": Row("adaptive wing, not Wing loss", {"loss": "adaptive_wing"}),
    "axes": Row("coordinates as classes, not a soft-argmax", {"model": "axes_net"}),
    "axis_classes": Row(
        "the same, trained by cross-entropy", {"model": "axis_classes_net", "loss": "axis_classes"}
    ),
    "weak_augmentation": Row("augmentation of half the strength", {"augmentation": _augmentation(0.5)}),
    "strong_augmentation": Row("augmentation 1.5 times as strong", {"augmentation": _augmentation(1.5)}),
    "no_average": Row("the last weights, not their moving average", {"ema_decay": 0.0}),
    "30_epochs": Row("30 epochs (recipe `heatmapnet_fast`)", {"epochs": 30}),
    "60_epochs": Row("60 epochs (recipe `heatmapnet`)", {"epochs": 60}),
}


def load(name: str) -> dict | None:
    """The stored record of a row, or None."""
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def train_row(name: str, data, mixed_precision: str) -> None:
    """Train, or go on training, a row; measure it with several numbers of passes; store its record."""
    row = ROWS[name]
    LOSSES["axis_classes"] = AxisClassLoss  # here, since it fits this network only
    run = train(
        row.recipe,
        data.folder,
        split=SPLIT,
        run_folder=ROOT / "runs" / f"search-{name}",
        seed=row.seed,
        resume=True,
        data_checksum=data_checksum(data.folder),
        mixed_precision=mixed_precision,
    )
    figures = {}
    for passes, flip_tta in SETTINGS:
        predictor = CheckpointPredictor(run.model, replace(run.config, passes=passes, flip_tta=flip_tta))
        figures[_setting(passes, flip_tta)] = evaluate(predictor, data.folder, SPLIT, "whole").figures
    about = {"row": name, "change": row.change, "seed": row.seed, "mixed_precision": mixed_precision}
    about |= {"params": count_parameters(run.model), "macs": count_macs(run.model)}
    about |= {"training_nme": run.history[-1]["nme"], "epochs": len(run.history)}
    renew = f"python -m benchmarks.search.page --train --only {name}"
    checkpoint = run.folder / "checkpoint"
    note = provenance(renew, checkpoint=checkpoint, data=data_checksum(data.folder), seed=row.seed)
    RECORDS.mkdir(parents=True, exist_ok=True)
    write_json(RECORDS / f"{name}.json", {**about, "figures": figures, "provenance": note})


def _setting(passes: int, flip_tta: bool) -> str:
    return f"{passes} pass{'es' if passes > 1 else ''}" + (", flip_tta" if flip_tta else "")


def table() -> str:
    """A row for each change, measured as the base, as Markdown."""
    columns = [
        "row",
        "what is changed",
        "parameters",
        "MACs per pass",
        "NME, %",
        "less the base",
        "median, %",
    ]
    columns += ["FR@10, %", "training NME, %"]
    base, lines = load("base"), []
    for name, row in ROWS.items():
        stored = load(name)
        if stored is None:
            lines.append([name, row.change, "*not trained yet*", *["-"] * 6])
            continue
        figures = _figures(stored)
        less = "-" if base is None else f"{100 * (figures['nme'] - _figures(base)['nme']):+.2f}"
        sizes = [f"{stored['params'] / 1e6:.1f} M", f"{stored['macs'] / 1e6:.0f} M"]
        percent = [f"{100 * figures[key]:.2f}" for key in ("nme_median", "fr_10")]
        nme = f"{100 * figures['nme']:.2f}"
        lines.append([name, row.change, *sizes, nme, less, *percent, f"{100 * stored['training_nme']:.2f}"])
    return pages.markdown_table(columns, lines)


def _figures(stored: dict) -> dict:
    passes, flip_tta = SHIPPED
    return stored["figures"][_setting(passes, flip_tta and stored["row"] not in NOT_FLIPPED)]


def passes_table() -> str:
    """NME and FR@10 by the number of passes, of the base and of what ships, as Markdown."""
    names = [name for name in ("base", "60_epochs", "narrow") if load(name)]
    lines = []
    for setting in (_setting(*setting) for setting in SETTINGS):
        cells = [load(name)["figures"][setting] for name in names]
        lines.append([setting, *(f"{100 * f['nme']:.2f}, {100 * f['fr_10']:.1f}" for f in cells)])
    return pages.markdown_table(["passes", *(f"{name}: NME, FR@10" for name in names)], lines)


PAGE_TEXT = """# What was tried

One change per row. The base is `heatmapnet`, recipe `heatmapnet_fast` with 15 epochs, trained on the 222
people of `validation` and measured on its 56 other people (686 images, whole image, two passes, `flip_tta`
on). The second crop is not rotated upright here; in what ships it is (`align_roll`). One run per row, seed 0.
Row `another_seed` shows how much two runs differ by chance. NME in percent of the distance between the outer
eye corners.

```
python -m benchmarks.search.page --train     # trains what is missing, then writes this page
```

{table}

*Training NME* is over augmented crops in the last epoch, one pass. A network trained without flipped images
cannot be used with `flip_tta`: row `raw_no_flip` is measured without it.

## Passes

{passes}
"""


def write_page() -> None:
    """Write the page from stored records."""
    pages.write_if_changed(PAGE, PAGE_TEXT.format(table=table(), passes=passes_table()))


def main() -> None:
    """Train where asked; write the page after each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--again", action="store_true", help="with --train: also rows that have a record")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--mixed-precision", choices=("no", "fp16", "bf16"), default="no")
    args = parser.parse_args()
    if args.train:
        data = pages.real_data()
        for name in args.only:
            if args.again or load(name) is None:
                print(f"== {name}", flush=True)
                train_row(name, data, args.mixed_precision)
                write_page()
    write_page()


if __name__ == "__main__":
    main()
