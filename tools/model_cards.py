"""The model cards in saved_models/, from configs and stored records:

python -m tools.model_cards
"""

from pathlib import Path

from benchmarks import pages
from checkpoint import CONFIG_FILE, SAVED_MODELS, FinderConfig, ModelConfig, load_config
from landmarks import REGIONS
from models import model_class
from training.finder import FINDER_RECIPES
from training.metrics import METRICS, YAW_BINS, headings, percent
from training.recipes import STARTS_FROM
from training.records import load_record

TRAINED_ON = {
    "official": """all 3462 training images. **Its figures on the official test images leak**: every
person and every video of them is in training. The checkpoint `{name}-identity`, trained in the same way on
fewer people, shows the error on people who were not seen.""",
    "identity": "the 2781 training images of 278 people. The other 69 people were not seen.",
}

UNCERTAINTY = """, a confidence from 0 to 1 that this is a face, and for each point a radius (pixels)
that holds the true point in 90 % of cases: [measured](../../benchmarks/uncertainty/README.md) with
`heatmapnet-identity` on people who were not seen in training"""

VISIBILITY = """. For each point also a visibility from 0 to 1, that nothing covers it and it lies in
the image: [measured](../../benchmarks/visibility/README.md)"""

OFFSET = """
The labels of this data set lie {:.2f} % of the inter-ocular distance too far right
([label_offset](../../benchmarks/label_offset/README.md)). The network was trained without this offset. The
figures below compare with labels, so it is added for them. Training labels were averaged with pseudo-labels
(`benchmarks/pseudo_labels/make.py`): points of MediaPipe's face mesh, mapped to this scheme.
"""

EYELIDS = """Half-open eyes and open mouths are flattened: [how far openings are
followed](../../benchmarks/photos/README.md)."""

IBUG = """
The points lie where people put them, not where the labels of this data set do. The network was trained on
labels that were moved there (`benchmarks/ibug_labels/make.py`, `data_load.LabelMap`), with lids and lips of
MediaPipe's face mesh, and on images whose eyes and mouths were closed or opened by a warp. How close they
are on photos of another origin: [photos](../../benchmarks/photos/README.md). The figures below compare with
the labels of the data set, so the points are moved back for them.
"""

THEN = """ Then
`python -m training.uncertainty`, `python -m training.visibility` and `export_onnx.py`."""

NO_CONFIDENCE = """The network answers for every crop, also for one without a face. It gives no confidence."""

TILT = """Training images were rotated by 10 to 15 degrees (one sigma): turn a tilted photo upright first."""

ALIGNED = """The face finder was trained on faces with a tilt of 12 degrees (one sigma), some up to 60. What
it misses beyond that was not measured, so turn a tilted photo upright first, or give boxes.
With boxes, a tilt of up to 60 degrees costs next to nothing
([robustness](../../benchmarks/robustness/README.md)). Blur of more than 4 % of the face's size costs
much, and so does covering more than a third of the face."""

CARD = """# {name}

{summary}

```
{commands}
```

Release {version}. Seed {seed}, {epochs} epochs{precision}; weights stored as float16.{then}

```python
from detector import KeypointDetector

detector = KeypointDetector.from_pretrained("{name}")
faces = detector("photo.jpg")
```

**Trained on** {data}

**Input** one face, {size} x {size} gray, cut as `config.json` says; {passes} passes{flip_tta}.
**Output** 68 keypoints in pixels of the image{uncertainty}.
**Files** {files}.
{offset}
## Measured

{measured}

{poses}

{regions}

Figures are in percent. The NME is the mean distance between predicted and labelled points over the distance
between the outer eye corners. *frontal*, *half* and *turned* are bins of the yaw ratio
(`training.metrics.yaw_ratio`: below 0.2, below 0.5, above). One training run. The protocols are in
[benchmarks/README.md](../../benchmarks/README.md), the predictions of each face in `records/`.

## Intended use

Filters, alignment, measuring and learning. Not for identifying people, and not for judging people by their
faces. Turned heads have larger errors, as the table shows; in profile the far half of a face is a guess.
{tilt}
{crops}

## Data and licence

Trained on frames of the YouTube Faces set (Wolf, Hassner, Maoz, CVPR 2011), collected for research from
videos whose rights lie with their owners, with machine-made labels (whole pixels, some wrong). The code
is MIT. For the weights, consider the origin of the data. 347 public figures do not represent everybody:
[errors by group of people](../../benchmarks/groups/README.md).
"""


FINDER_CARD = """# {name}

A small fully convolutional network that proposes where faces are (`models.FaceFinder`).

```
python train.py --recipe {recipe} --split {trained_on}
```

Seed {seed}, {epochs} epochs of {steps} steps; weights stored as float16. Then `export_onnx.py`.

```python
from detector import KeypointDetector, NetworkFaceFinder

boxes = NetworkFaceFinder.from_pretrained("{name}")(image)    # (N, 4) left, top, right, bottom
detector = KeypointDetector.from_pretrained()                 # uses a face finder already
```

**Trained on** drawn scenes (`training/composites.py`): faces are cut out and pasted onto photos without
people, textures and text. The faces are those of {data}

**Input** a gray image of any size, reduced to {long_side} px on the larger side. **Output** a score and a
square box per cell of 8 x 8 px; boxes with a score of at least {min_score} are proposed. The box is 1.2 times
as large as the larger side of the box around the keypoints.
**Files** {files}.

## Measured

[Finding faces](../../benchmarks/finding/README.md): faces found and false positives.
[Speed](../../benchmarks/speed/README.md): time from a photo to its keypoints.

## Intended use

Proposals for a keypoint network, whose confidence then filters them. Alone, it reports more boxes than there
are faces. Faces below 9 px in the reduced copy are not found. Not for identifying or counting people.

## Data and licence

Trained on frames of the YouTube Faces set (Wolf, Hassner, Maoz, CVPR 2011), collected for research from
videos whose rights lie with their owners. The code is MIT. For the weights, consider the origin of the data.
347 public figures do not represent everybody: [faces found by group of
people](../../benchmarks/groups/README.md).
"""


def card(folder: Path, config: ModelConfig, stems: list[Path]) -> str:
    """The text of a checkpoint's README.md. stems: paths of its records without their endings."""
    rows = [load_record(stem)[0] for stem in stems]
    uncertain = config.has_uncertainty
    first_step = "the first step " if config.recipe in STARTS_FROM else ""
    return CARD.format(
        name=folder.name,
        summary=model_class(config.model).__doc__.partition("\n")[0],
        commands=_commands_of(config),
        version=config.version or "0.1.0",
        seed=config.seed,
        epochs=config.epochs,
        precision=f", {first_step}trained with `--mixed-precision bf16`",
        data=TRAINED_ON[config.trained_on].format(name=folder.name),
        size=config.input_size,
        passes=config.passes,
        flip_tta=", the last one averaged with the flipped crop" if config.flip_tta else "",
        uncertainty=(UNCERTAINTY if uncertain else "") + (VISIBILITY if config.has_visibility else ""),
        files=files_of(folder),
        then=THEN if uncertain else "",
        offset=_where_points_lie(config),
        tilt=ALIGNED if config.align_roll else TILT,
        crops=EYELIDS if uncertain else NO_CONFIDENCE,
        measured=measured_table(rows),
        poses=nested_table(rows, YAW_BINS, lambda row, name: row["poses"][name]["nme"]),
        regions=nested_table(rows, REGIONS, lambda row, name: row["regions"][name]),
    )


def _commands_of(config: ModelConfig) -> str:
    """The commands that train a network: two for a recipe that goes on from the weights of another one."""
    line = f"python train.py --recipe {config.recipe} --split {config.trained_on}"
    if config.recipe not in STARTS_FROM:
        return line
    first = STARTS_FROM[config.recipe]
    before = f"python train.py --recipe {first} --split {config.trained_on}"
    return f"{before}\n{line} --start-from runs/{first}-{config.trained_on}-{config.seed}/checkpoint"


def _where_points_lie(config: ModelConfig) -> str:
    """The paragraph on where the network puts its points; empty for one trained on the labels as they are."""
    if config.scheme == "ibug":
        return IBUG
    return OFFSET.format(100 * config.label_offset[0]) if any(config.label_offset) else ""


def finder_card(folder: Path, config: FinderConfig) -> str:
    """The text of a face finder's README.md."""
    return FINDER_CARD.format(
        name=folder.name,
        recipe=config.recipe,
        trained_on=config.trained_on,
        seed=config.seed,
        epochs=config.epochs,
        steps=FINDER_RECIPES[config.recipe].steps_per_epoch,
        data=TRAINED_ON[config.trained_on].format(name=folder.name),
        files=files_of(folder),
        long_side=config.long_side,
        min_score=config.min_score,
    )


def measured_table(rows: list[dict]) -> str:
    """A line for each record with all metrics, as Markdown."""
    lines = [[pages.place(row), str(row["n"]), *(percent(row, name) for name in METRICS)] for row in rows]
    return pages.markdown_table(["split x faces", "n", *headings()], lines)


def nested_table(rows: list[dict], names, nme_of) -> str:
    """A line for each record with the NME of parts of the faces, as Markdown.

    names: of the parts. nme_of: called with a record and a name.
    """
    lines = [[pages.place(row), *(f"{100 * nme_of(row, name):.2f}" for name in names)] for row in rows]
    return pages.markdown_table(["NME", *names], lines)


def files_of(folder: Path) -> str:
    """The files with weights and their sizes, as a phrase."""
    formats = {
        "model.safetensors": "PyTorch, float16",
        "model.onnx": "ONNX",
        "model-int8.onnx": "ONNX, convolutions in 8 bits",
    }
    sizes = {name: (folder / name).stat().st_size / 1e6 for name in formats if (folder / name).is_file()}
    text = ", ".join(f"`{name}` ({sizes[name]:.1f} MB; {formats[name]})" for name in sizes)
    compared = "; compared in [runtimes](../../benchmarks/runtimes/README.md)"
    return text + (compared if len(sizes) > 1 else "")


def record_stems(folder: Path) -> list[Path]:
    """The records of a checkpoint, without their endings."""
    return sorted(record.with_suffix("") for record in (folder / "records").glob("*.json"))


def write_cards() -> None:
    """Write the card of every checkpoint in saved_models/."""
    for path in sorted(SAVED_MODELS.glob(f"*/{CONFIG_FILE}")):
        folder, config = path.parent, load_config(path.parent)
        if isinstance(config, FinderConfig):
            text = finder_card(folder, config)
        else:
            text = card(folder, config, record_stems(folder))
        pages.write_if_changed(folder / "README.md", text)


if __name__ == "__main__":
    write_cards()
