"""The model cards in saved_models/, written anew from configs and stored records:

python -m benchmarks.model_cards.page
"""

from pathlib import Path

from checkpoint import CONFIG_FILE, SAVED_MODELS, ModelConfig, load_config
from models import model_class
from training.records import load_record

TRAINED_ON = {
    "official": """all 3462 training images. **Its figures on the official test images leak**: every
person and every video of them is in training. The `-identity` twin tells how good this training is.""",
    "identity": "the 2781 training images of 278 people; the other 69 were never seen.",
}

TRUST = """, a confidence that they are those of a face, and for each point a radius (pixels) that
holds the label nine times out of ten. How far both keep their word on people nobody trained on
was measured for `heatmapnet-identity`: [benchmarks/uncertainty/README.md](../../benchmarks/uncertainty/README.md)"""

SHIFT = """
The labels of this data set lie {:.2f} % of the inter-ocular distance to the right of what they mark
([benchmarks/label_offset/README.md](../../benchmarks/label_offset/README.md)). The network learned without that shift;
the figures below compare with labels, and have it added. Training labels were averaged with a second opinion
(`benchmarks/pseudo_labels/make.py`: a public face mesh, MediaPipe's, mapped to these points).
"""

KNOWS_NO_FACE = """Eyes that
are nearly shut come out too open: almost nobody in the training images blinks."""

TILT = """Training turned faces by 10 to 15 degrees (one sigma), so turn a tilted photo upright first."""

UPRIGHT = """The Haar cascades look for upright faces: turn a tilted photo upright first, or give boxes; then
a tilt of up to 60 degrees costs next to nothing ([benchmarks/robustness/README.md](../../benchmarks/robustness/README.md)).
What costs much: blur of more than 4 % of the face's size, and covering more than a third of it."""

CARD = """# {name}

{summary}

```
python train.py --recipe {recipe} --split {trained_on}
```

Seed {seed}, {epochs} epochs, here with `--mixed-precision bf16`; weights stored as float16.{then}

```python
from detector import KeypointDetector
detector = KeypointDetector.from_pretrained("{name}")
```

**Trained on** {data}

**Input** one face, {size} x {size} gray, cut as `config.json` says; {passes} looks{flip_tta}.
**Output** 68 keypoints in pixels of the image{uncertainty}.
**Files** {files}.
{shift}
## Measured

| split x faces | n | found, % | NME, % (95 % interval) | median | FR@10, % | frontal | half | turned |
|---|---|---|---|---|---|---|---|---|
{rows}

| split x faces | jaw | brows | nose | eyes | mouth |
|---|---|---|---|---|---|
{regions}

NME is in percent of the distance between the outer eye corners; *frontal*, *half* and *turned* are
bins of how far the head is turned (`training.metrics.yaw_ratio`: below 0.2, below 0.5, above). One seed.
Per-face predictions: `records/`.

## Meant for, and not

Filters, alignment, measuring and learning. Not for identifying people, nor for judging them by their
faces. Turned heads are harder, as the table shows; in profile the far half of a face is a guess.
{tilt} {crops}

## Data and licence

Trained on frames of the YouTube Faces set (Wolf, Hassner, Maoz, CVPR 2011), collected for research from
videos whose rights lie with their owners, with machine-made labels (whole pixels, some wrong). The code
is MIT; for the weights mind where the data come from. 347 public figures are not everybody, and nothing
here measures how the error differs between groups of people.
"""


def figures_of(stem: Path) -> tuple[str, dict]:
    """('split x faces', the stored figures)."""
    row, _ = load_record(stem)
    return f"{row['split']} x {row['faces']}" + (" (leaks)" if row["leak"] else ""), row


def measured_row(label: str, figures: dict) -> str:
    """One line of the first table."""
    low, high = (100 * edge for edge in figures["nme_interval"])
    values = [f"{100 * figures[key]:.2f}" for key in ("nme_median",)] + [f"{100 * figures['fr_10']:.1f}"]
    poses = [f"{100 * pose['nme']:.2f}" for pose in figures["poses"].values()]
    nme = f"{100 * figures['nme']:.2f} ({low:.2f} to {high:.2f})"
    cells = [label, str(figures["n"]), f"{100 * figures['found']:.1f}", nme, *values, *poses]
    return f"| {' | '.join(cells)} |"


def card(folder: Path, config: ModelConfig, stems: list[Path]) -> str:
    """The text of a checkpoint's README.md."""
    measured = [figures_of(stem) for stem in stems]
    regions = [
        f"| {label} | {' | '.join(f'{100 * value:.2f}' for value in figures['regions'].values())} |"
        for label, figures in measured
    ]
    return CARD.format(
        name=folder.name,
        summary=model_class(config.model).__doc__.partition("\n")[0],
        recipe=config.recipe,
        trained_on=config.trained_on,
        seed=config.seed,
        epochs=config.epochs,
        data=TRAINED_ON[config.trained_on],
        size=config.input_size,
        passes=config.passes,
        flip_tta=", the last one averaged with the mirrored crop" if config.flip_tta else "",
        uncertainty=TRUST if config.has_uncertainty else "",
        files=files_of(folder),
        then=" Then `uncertainty.py` and\n`export_onnx.py`." if config.has_uncertainty else "",
        shift=SHIFT.format(100 * config.label_offset[0]) if any(config.label_offset) else "",
        tilt=UPRIGHT if config.align_roll else TILT,
        crops=KNOWS_NO_FACE
        if config.has_uncertainty
        else "The network answers for every crop, also for one without a face: it gives no confidence.",
        rows="\n".join(measured_row(*item) for item in measured),
        regions="\n".join(regions),
    )


def files_of(folder: Path) -> str:
    """The files with weights and their sizes."""
    said = {
        "model.safetensors": "PyTorch, float16",
        "model.onnx": "ONNX",
        "model-int8.onnx": "ONNX, convolutions in 8 bits",
    }
    sizes = {name: (folder / name).stat().st_size / 1e6 for name in said if (folder / name).is_file()}
    text = ", ".join(f"`{name}` ({sizes[name]:.1f} MB; {said[name]})" for name in sizes)
    more = "; how they compare: [benchmarks/runtimes/README.md](../../benchmarks/runtimes/README.md)"
    return text + (more if len(sizes) > 1 else "")


def record_stems(folder: Path) -> list[Path]:
    """All stored measurements of a checkpoint."""
    return sorted(record.with_suffix("") for record in (folder / "records").glob("*.json"))


def main() -> None:
    """Write every card."""
    for path in sorted(SAVED_MODELS.glob(f"*/{CONFIG_FILE}")):
        folder = path.parent
        text = card(folder, load_config(folder), record_stems(folder))
        (folder / "README.md").write_text(text)


if __name__ == "__main__":
    main()
