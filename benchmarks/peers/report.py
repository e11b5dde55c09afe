"""Table and plot of peers.py from stored records: needs neither the peers, nor images, nor weights."""

import json
from pathlib import Path

import numpy as np

import plots
from benchmarks.peers.fit import BoxFit, Fitted, add_offset
from files import atomic_path
from training.metrics import ced, nme_per_face
from training.records import load_record

HERE = Path(__file__).parent
RECORDS = HERE / "records"
FITTED, SPEED = RECORDS / "fitted.npz", RECORDS / "speed.json"
REQUIREMENTS = HERE / "requirements.txt"
SPLITS = ("identity", "official")
#: record -> (what it is called, where it starts); checkpoints come after these
PEERS = {
    "dlib-detector": ("dlib", "its own face detector"),
    "dlib-box": ("dlib", "box from labels"),
    "mediapipe-whole": ("MediaPipe", "whole image"),
    "mediapipe-crop": ("MediaPipe", "crop from labels"),
    "mediapipe-ridge": ("MediaPipe + ridge map", "crop from labels"),
}
TIMED = {
    "dlib:box": "dlib's 68-point predictor, one call (box given)",
    "dlib:detector": "dlib's face detector (image enlarged once) and predictor",
    "mediapipe:tracked": "MediaPipe, crop and mesh (as in a video, no face detector)",
    "mediapipe:static": "MediaPipe, crop, face detector and mesh",
    "ridge": "the same, and the ridge map",
}
RUNTIMES = {"torch": "PyTorch", "onnx": "ONNX Runtime", "onnx-int8": "ONNX Runtime, 8 bit"}
COLUMNS = ("nme", "inner_51", "nme_median", "auc_8", "fr_10")


def records(split: str) -> dict[str, tuple[dict, dict]]:
    """method -> (row, arrays) of all stored records of a split, peers first."""
    stored = {}
    for path in RECORDS.glob(f"{split}-*.npz"):
        row, arrays = load_record(path.with_suffix(""))
        stored[row["method"]] = (row, arrays)
    return {name: stored[name] for name in [*PEERS, *sorted(set(stored) - set(PEERS))] if name in stored}


def label(row: dict) -> tuple[str, str]:
    """(name, start) of a row."""
    if row["method"] in PEERS:
        return PEERS[row["method"]]
    note = "" if row["runtime"] == "torch" else f" ({RUNTIMES[row['runtime']]})"
    return f"{row['checkpoint']}{note}", "whole image"


def error_table(split: str) -> str:
    """Markdown: each method as it answers, and without its mean offset per point."""
    shown = ["NME, %", "inner 51", "median", "AUC@8", "FR@10"]
    head = ["method", "starts from", "found, %", *shown, *(f"{name} °" for name in shown)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row, _ in records(split).values():
        name, start = label(row)
        cells = [name + (" (leaks)" if row["leak"] else ""), start, f"{100 * row['as_given']['found']:.1f}"]
        for kind in ("as_given", "without_offset"):
            cells += [figure(row[kind], column) for column in COLUMNS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(figures: dict, column: str) -> str:
    """One cell: percent, the NME with its interval over people."""
    text = f"{100 * figures[column]:.{1 if column in ('auc_8', 'fr_10') else 2}f}"
    if column != "nme":
        return text
    low, high = figures["nme_interval"]
    return f"{text} ({100 * low:.2f} to {100 * high:.2f})"


def speed_table(speed: dict) -> str:
    """Markdown: time by the CPU and by the clock, ratio to one call of dlib's predictor, memory, size."""
    rows = whole_times(speed["rows"])
    base = rows["dlib:box"]["cpu_ms"]
    head = ["one face", "CPU ms", "clock ms", "x dlib's call", "memory, MB (of it libraries)", "files, MB"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, row in rows.items():
        memory = f"{row['libraries'] + row['work']:.0f} ({row['libraries']:.0f})"
        times = [f"{value:.2f}" for value in (row["cpu_ms"], row["wall_ms"], row["cpu_ms"] / base)]
        cells = [timed_label(name), *times, memory, f"{sum(row['files'].values()) / 1e6:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def whole_times(rows: dict) -> dict[str, dict]:
    """Rows of the table in order: MediaPipe's with its crop, and with the ridge map on top."""
    times = ("wall_ms", "cpu_ms")
    rows = {name: dict(row) for name, row in rows.items()}
    crop, ridge = rows.pop("crop"), rows.pop("ridge")
    for name in ("mediapipe:tracked", "mediapipe:static"):
        rows[name] |= {key: rows[name][key] + crop[key] for key in times}
    static = rows["mediapipe:static"]
    files = static["files"] | {FITTED.name: FITTED.stat().st_size}
    rows["ridge"] = static | {key: static[key] + ridge[key] for key in times} | {"files": files}
    return {name: rows[name] for name in [*TIMED, *(n for n in rows if n not in TIMED)]}


def timed_label(name: str) -> str:
    """What a timed row is called."""
    if name in TIMED:
        return TIMED[name]
    checkpoint, runtime = name.split(":")
    return f"{checkpoint}, {RUNTIMES[runtime]} (box given; all crops and looks)"


def versions() -> str:
    """The pinned versions of the peers."""
    lines = REQUIREMENTS.read_text().splitlines()
    pins = [line.partition("#")[0].strip() for line in lines]
    return ", ".join(pin.replace("==", " ") for pin in pins if pin.startswith(("mediapipe", "dlib", "numpy")))


def draw() -> None:
    """CED of every method: rows are splits, left as it answers, right without its offset."""
    limits = np.linspace(0, 0.12, 241)
    found = {split: records(split) for split in SPLITS}
    figure, axes = plots.new_figure(2, 2, width=5.4, height=4.2)
    for row_of_axes, (split, stored) in zip(axes.reshape(2, 2), found.items(), strict=True):
        for axis, without in zip(row_of_axes, (False, True), strict=True):
            series = {}
            for row, arrays in stored.values():
                if row.get("runtime", "torch") != "torch":
                    continue  # its curve would lie on PyTorch's
                predicted = arrays["predicted"]
                if without:
                    predicted = add_offset(predicted, np.array(row["offset"]))
                errors = nme_per_face(predicted, arrays["true"])
                series[", ".join(label(row))] = (limits, ced(errors, limits))
            note = "mean offset per point removed" if without else "as each method answers"
            leak = " (leaks)" if split == "official" else ""
            plots.draw_ced(axis, series, f"{split}{leak}, {note}")
            axis.set_xlim(1, 100 * limits[-1])
            axis.legend(fontsize=7, loc="lower right")
    replace_file(HERE / "peers.png", plots.figure_png(figure, dpi=90))


def replace_file(path: Path, data: bytes) -> None:
    """Write beside, then rename."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


TEXT = """# Ours beside dlib and MediaPipe

**The peers were not trained on these labels, ours were.** dlib's predictor learnt from hand-made labels
of other photos; MediaPipe's mesh has other points altogether. So read the columns with a °: there, each
method's mean offset per point is removed. It was fitted on the training images of the 278 people of
`identity` (for ours on every third of them), in the face's own frame: its centre, its eye line, its size. It
cannot remove what these labels do differently from face to face. `MediaPipe + ridge map` was fitted to these
labels, as ours were: a linear map from the 468 mesh points to the 68, from the same images.

Each starts where it is at its best. dlib: from its own face detector (the largest box; a face that it
does not find counts as infinitely wrong in median, AUC and FR), and from a square around the labels
such as its detector gives on average on training images ({box}). MediaPipe, which has a detector
inside: on the whole image, and on the square of 1.9 x the label box; its 68 points are the mesh points
that lie nearest to the labels on training images. Ours: on the whole image, and without any label.
Versions: {versions}; dlib's predictor is the one in `face_recognition_models`, MediaPipe runs with the
attention mesh and a detection threshold of 0.2.

Brackets: 95 % interval over people. NME is the mean over faces that were found.

## `identity`: nobody here was trained on

{identity}

## `official`: ours and the ridge map leak

{official}

![Cumulative error distributions](peers.png)

{speed}"""

SPEED_TEXT = """## Time, memory, size

{faces} faces of `identity`, {rounds} rounds, all methods in turn, each in a process of its own, all bound to
one and the same CPU of {machine}; medians of the third call on a face. *CPU* is the processor
time that the process used; *clock* is what passed meanwhile, other work on the machine included.
Not timed: reading the image, and turning MediaPipe's answer into an array. Memory is what the process
needed at most beyond Python and NumPy, with the libraries that it imports.

{table}
"""


def box_in_words(box: BoxFit) -> str:
    """The square that dlib gets, for people."""
    sideways, down = 100 * box.shift_x / box.scale, 100 * box.shift_y / box.scale
    side = f"{box.scale:.2f} x the mean distance of the points\nto their centre"
    ways = f"{abs(sideways):.0f} % {'right' if sideways > 0 else 'left'} of it"
    return f"{side}, {ways} and {abs(down):.0f} % {'below' if down > 0 else 'above'}"


def write() -> None:
    """Write peers.md and peers.png anew."""
    speed = json.loads(SPEED.read_text()) if SPEED.is_file() else None
    text = TEXT.format(
        box=box_in_words(Fitted.load(FITTED).box),
        versions=versions(),
        speed=SPEED_TEXT.format(table=speed_table(speed), **speed) if speed else "",
        **{split: error_table(split) for split in SPLITS},
    )
    replace_file(HERE / "README.md", text.encode())
    draw()
