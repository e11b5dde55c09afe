"""What was tried to make `heatmapnet` better, one change a row, on the people of `validation`:

    python -m benchmarks.search.page                              # the page again, from stored records
    python -m benchmarks.search.page --train                      # trains and measures what has no record yet
    python -m benchmarks.search.page --train --only deeper 128px  # these rows

The base is recipe `heatmapnet_fast` with 15 epochs in place of 30, so that a row takes minutes. Rows are trained on the
222 people of `validation` and measured on its 56 others. An interrupted run goes on where it stopped. Each
leaves ROW.json in benchmarks/search/records/, from which benchmarks/search/README.md is written.
"""

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).parents[2]
from benchmarks.peers.report import replace_file
from data_fetch import data_checksum, find_data
from files import write_json
from landmarks import NUM_KEYPOINTS
from models import HeatmapNet, count_macs, count_parameters, register
from training.augment import Augmentation
from training.evaluation import CheckpointPredictor, evaluate
from training.loop import train
from training.losses import LOSSES
from training.recipes import Recipe, get_recipe

RECORDS = Path(__file__).parent / "records"
PAGE = Path(__file__).with_name("README.md")
SPLIT = "validation"
BASE = replace(get_recipe("heatmapnet_fast"), epochs=15, align_roll=False)
WAYS = ((1, False), (2, False), (2, True), (3, True))  # looks, and whether the mirrored crop is averaged in
SHIPPED = (2, True)
NOT_FLIPPED = ("given_no_flip",)


@register("axes_net")
class AxesNet(HeatmapNet):
    """HeatmapNet with another head: each coordinate is a class of its own, two classes a pixel.

    A linear layer, shared by all points, makes a heatmap into one row of scores for x and one for y; their
    softmax has a mean. After Li et al., "SimCC", ECCV 2022, but trained through that mean, like the heatmaps,
    and not through the classes.
    """

    def __init__(self, input_size: int | None = None, **settings):
        super().__init__(input_size, **settings)
        self.bins = 2 * self.input_size
        self.to_axes = nn.Linear((self.input_size // self.stride) ** 2, 2 * self.bins)

    def _to_keypoints(self, heatmaps: torch.Tensor) -> torch.Tensor:
        scores = self.to_axes(heatmaps.flatten(2)).float().unflatten(-1, (2, self.bins))
        position = torch.linspace(-2, 2, self.bins, device=scores.device)  # normalised: edge to edge
        return self._mean(scores, position).view(-1, NUM_KEYPOINTS, 2)

    def _mean(self, scores: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        return (scores.softmax(dim=-1) * position).sum(dim=-1)


@register("axis_classes_net")
class AxisClassesNet(AxesNet):
    """AxesNet for AxisClassLoss: the scores ride along on the keypoints that are their mean."""

    def _mean(self, scores: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        self.scores = scores, position
        return super()._mean(scores, position)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keypoints = super().forward(x)
        keypoints.scores, self.scores = self.scores, None
        return keypoints


class AxisClassLoss(nn.Module):
    """Cross-entropy between the classes of each coordinate and a bell around the true one.

    After Li et al., "SimCC", ECCV 2022. The bell's standard deviation is 1 px of a crop of 96 (2 classes).
    """

    def __init__(self, deviation: float = 4 / 96):
        super().__init__()
        self.deviation = deviation

    def forward(self, predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        scores, position = predicted.scores
        # what lies outside the crop counts as its edge
        away = position - true.clamp(position[0], position[-1]).unsqueeze(-1)
        bell = (-0.5 * (away / self.deviation).square()).softmax(dim=-1)
        return -(bell * scores.log_softmax(dim=-1)).sum(dim=-1).mean()


def _augmentation(strength: float) -> Augmentation:
    """All that varies, varied by so much more or less; mirroring and the share of wide crops stay."""
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
    "raw": Row("labels as given", {"labels": "raw"}),
    "given_no_flip": Row(
        "labels as given, no mirrored images in training",
        {"labels": "raw", "augmentation": replace(BASE.augmentation, flip_prob=0.0)},
    ),
    "debiased": Row("labels without their shift, no second opinion", {"labels": "debiased"}),
    "refined_0.8": Row("0.8 of the way to the second opinion, not 0.5", {"pseudo_label_share": 0.8}),
    "coarse": Row("heatmaps at 1/8 of the input, not 1/4", {"model_args": {"stride": 8}}),
    "narrow": Row("width 16, not 32 (what ships as small)", {"model_args": {"width": 16}}),
    "wide_crop_prob": Row("width 44", {"model_args": {"width": 44}}),
    "deep": Row("two residual blocks a level, not one", {"model_args": {"blocks": (2, 2, 2, 2)}}),
    "128px": Row("input of 128 px, not 96", {"input_size": 128, "keypoint_mean": 63.5, "keypoint_std": 32.0}),
    "smooth_l1": Row("SmoothL1, not Wing loss", {"loss": "smooth_l1"}),
    "axes": Row("coordinates as classes, not a soft-argmax", {"model": "axes_net"}),
    "axis_classes": Row(
        "the same, trained by cross-entropy", {"model": "axis_classes_net", "loss": "axis_classes"}
    ),
    "weak_augmentation": Row("augmentation of half the strength", {"augmentation": _augmentation(0.5)}),
    "strong_augmentation": Row("augmentation 1.5 times as strong", {"augmentation": _augmentation(1.5)}),
    "no_average": Row("the last weights, not their moving average", {"ema_decay": 0.0}),
    "30_epochs": Row("30 epochs (`good`)", {"epochs": 30}),
    "60_epochs": Row("60 epochs (`best`, what ships)", {"epochs": 60}),
}


def load(name: str) -> dict | None:
    """The stored record of a row, or None."""
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def train_row(name: str, data, mixed_precision: str) -> None:
    """Train, or go on training; measure with several numbers of looks; store."""
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
    for passes, flip_tta in WAYS:
        predictor = CheckpointPredictor(run.model, replace(run.config, passes=passes, flip_tta=flip_tta))
        figures[_way(passes, flip_tta)] = evaluate(predictor, data.folder, SPLIT, "whole").figures
    about = {"row": name, "change": row.change, "seed": row.seed, "mixed_precision": mixed_precision}
    about |= {"params": count_parameters(run.model), "macs": count_macs(run.model)}
    about |= {"training_nme": run.history[-1]["nme"], "epochs": len(run.history)}
    RECORDS.mkdir(parents=True, exist_ok=True)
    write_json(RECORDS / f"{name}.json", {**about, "figures": figures})


def _way(passes: int, flip_tta: bool) -> str:
    return f"{passes} pass{'es' if passes > 1 else ''}" + (", flipped too" if flip_tta else "")


def table() -> str:
    """Markdown: a row for each change, the shipped way of looking."""
    columns = ["row", "what is changed", "parameters", "multiply-adds", "NME, %", "less the base", "median"]
    lines = [[*columns, "FR@10", "training NME"], ["---"] * 9]
    base = load("base")
    for name, row in ROWS.items():
        stored = load(name)
        if stored is None:
            lines.append([name, row.change, *["*not trained yet*"], *["-"] * 6])
            continue
        figures = _figures(stored)
        less = "-" if base is None else f"{100 * (figures['nme'] - _figures(base)['nme']):+.2f}"
        size = [f"{stored['params'] / 1e6:.1f} M", f"{stored['macs'] / 1e6:.0f} M"]
        percent = [f"{100 * figures[key]:.2f}" for key in ("nme_median", "fr_10")]
        nme = f"{100 * figures['nme']:.2f}"
        lines.append([name, row.change, *size, nme, less, *percent, f"{100 * stored['training_nme']:.2f}"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _figures(stored: dict) -> dict:
    passes, flip_tta = SHIPPED
    return stored["figures"][_way(passes, flip_tta and stored["row"] not in NOT_FLIPPED)]


def passes_table() -> str:
    """Markdown: NME and FR@10 by the number of looks, of the base and of what ships."""
    names = [name for name in ("base", "60_epochs", "narrow") if load(name)]
    lines = [["passes", *(f"{name}: NME, FR@10" for name in names)], ["---"] * (len(names) + 1)]
    for way in (_way(*way) for way in WAYS):
        cells = [load(name)["figures"][way] for name in names]
        lines.append([way, *(f"{100 * f['nme']:.2f}, {100 * f['fr_10']:.1f}" for f in cells)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


PAGE_TEXT = """# What was tried

One change a row: `heatmapnet`, recipe `heatmapnet_fast` with 15 epochs, trained on the 222 people of `validation`,
measured on its 56 others (686 images, whole image, two looks, the last one averaged with its mirrored crop).
The second look is not turned upright here, as it is in what ships. One run each, seed 0; how much chance
there is in a row, `another_seed` says. NME in percent of the distance between the outer eye corners.

```
python -m benchmarks.search.page --train     # trains what is missing, then writes this page
```

{table}

*Training NME* is over augmented crops in the last epoch, one look. A network trained without mirrored images
(`given_no_flip`) has nothing to say of a mirrored crop: its row is measured without one.

## Looks

{passes}
"""


def write_page() -> None:
    """The page, from what is stored."""
    replace_file(PAGE, PAGE_TEXT.format(table=table(), passes=passes_table()).encode())


def main() -> None:
    """Train where asked; write the page after each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--mixed-precision", choices=("no", "fp16", "bf16"), default="no")
    args = parser.parse_args()
    if args.train:
        data = find_data()
        if data.is_sample:
            parser.error("this is the synthetic sample; rows of drawn faces would mean nothing")
        for name in args.only:
            if load(name) is None:
                print(f"== {name}", flush=True)
                train_row(name, data, args.mixed_precision)
                write_page()
    write_page()


if __name__ == "__main__":
    main()
