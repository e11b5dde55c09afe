"""Faces tracked through videos: jitter, lag, frames per second, and the persons' ids.

    python -m benchmarks.tracking.page                                   # writes README.md and the figure
    python -m benchmarks.tracking.page --measure                         # measures first; ten minutes
    python -m benchmarks.tracking.page --measure --only speed --threads 2

Sample photos are moved through 640 x 480 frames by known motions (scenes.py), so the true keypoints are
known without labels.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tqdm import tqdm

import plots
from benchmarks import pages
from benchmarks.tracking import ids
from benchmarks.tracking.scenes import FPS, MOTIONS
from benchmarks.tracking.speed import measure_speed
from benchmarks.tracking.steadiness import measure_jitter, measure_lag
from checkpoint import FINDER, RUNTIMES, find_checkpoint
from detector import DEFAULT_CHECKPOINT, KeypointDetector
from detector.folder import available_cores
from files import write_json
from training.records import is_current, provenance

HERE = Path(__file__).parent
RECORD = HERE / "records" / "tracking.json"
CHECKPOINT = DEFAULT_CHECKPOINT
STEPS = ("jitter", "lag", "speed", "ids")
METHODS = {"alone": "each frame alone", "raw": "tracked, raw", "smoothed": "tracked, smoothed"}
OUTPUTS = {"plain": ("1", "nothing"), "drawn": ("1", "annotated video"), "four": ("4", "nothing")}
TARGET_FPS = 250


def measure(steps: Sequence[str] | None = None, threads: int | None = None) -> None:
    """Measure these steps and put them into the record.

    steps: None for all, unless the record is current. threads: for speed; None for the cores there are.
    """
    if steps is None and is_current(RECORD):
        return
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    measures = {
        "jitter": measure_jitter, "lag": measure_lag, "ids": measure_ids,
        "speed": lambda _: measure_speed(CHECKPOINT, threads or available_cores()),
    }  # fmt: skip
    for step in steps or STEPS:
        record[step] = measures[step](KeypointDetector.from_pretrained(CHECKPOINT, runtime="torch"))
        renew = "python -m benchmarks.tracking.page --measure"
        places = find_checkpoint(CHECKPOINT), find_checkpoint(FINDER)
        files = [place / file for place in places for file in RUNTIMES.values()]
        about = provenance(renew, checkpoint=places[0], seed=0, files=files)
        write_json(RECORD, record | {"checkpoint": CHECKPOINT, "provenance": about})


def measure_ids(detector: KeypointDetector) -> dict:
    """Scene -> the counts of each of its runs."""
    sways = [name for name in MOTIONS if "sway" in name]
    scenes = {
        f"two cross, {speed} pixels per frame each": partial(ids.crossings, detector, speed)
        for speed in (2, 4, 8, 16)
    }
    for away_s in (1, 2, 4):
        title = f"one leaves and is back after {away_s} s"
        scenes[title] = partial(ids.returns, detector, away_s, (4, 12))
    for missing in (1, 3, 10):
        title = f"{missing} damaged frame{'s' if missing > 1 else ''} per second, moving"
        scenes[title] = partial(ids.damaged, detector, missing, sways)
    bar = tqdm(scenes.items(), desc="ids")
    return {title: [asdict(outcome) for outcome in measure()] for title, measure in bar}


# --- page ------------------------------------------------------------------------------------------


def jitter_table(record: dict) -> str:
    """Markdown: jitter of the keypoints of a face at rest."""
    cells = []
    for noise, methods in record["rows"].items():
        for method, title in METHODS.items():
            row = methods[method]
            cells.append([
                noise, title, f"{row['step']:.2f}", f"{100 * row['step_share']:.2f}",
                f"{row['spread']:.2f}", f"{100 * row['spread_share']:.2f}",
            ])  # fmt: skip
    head = ["noise", "keypoints", "frame to frame, px", "%", "around the mean, px", "%"]
    return pages.markdown_table(head, cells)


def lag_table(record: dict) -> str:
    """Markdown: lag and error of the keypoints of a face that moves."""
    cells = []
    for motion, methods in record["rows"].items():
        for method, row in methods.items():
            rest = f"{1000 * row['rest']:.0f}" if "rest" in row else ""
            cells.append([
                motion, method, f"{1000 * row['lag']:.0f}", f"{row['lag'] * FPS:.1f}", f"{row['error']:.2f}",
                f"{100 * row['error_share']:.2f}", rest, f"{row['lost']:g}",
            ])  # fmt: skip
    head = ["motion", "keypoints", "lag, ms", "lag, frames", "RMS error, px", "%"]
    return pages.markdown_table([*head, "at rest after, ms", "frames without the face"], cells)


def speed_table(record: dict) -> str:
    """Markdown: frames per second, and the time of each part of a frame."""
    cells = []
    for runtime, outputs in record["rows"].items():
        for output, row in outputs.items():
            other = row["cpu"] - record["reading"] - row["search"] - row["network"]
            parts = (row["cpu"], record["reading"], row["search"], row["network"], other)
            speeds = [f"{1000 / row['cpu']:.0f}", f"{1000 / row['clock']:.0f}"]
            cells.append([runtime, *OUTPUTS[output], *speeds, *(f"{value:.1f}" for value in parts)])
    head = ["runtime", "faces", "written", "frames per second, CPU time"]
    head += ["frames per second, wall-clock time"]
    head += ["ms per frame, CPU time", "reading", "search", "network", "other"]
    return pages.markdown_table(head, cells)


def ids_table(record: dict) -> str:
    """Markdown: sums over the runs of each scene."""
    counts = ("swapped", "renewed", "lost", "strays")
    cells = [
        [title, str(len(outcomes)), *(str(sum(run[count] for run in outcomes)) for count in counts)]
        for title, outcomes in record.items()
    ]
    return pages.markdown_table(["scene", "runs", "swapped", "new id", "lost", "stray frames"], cells)


def draw(record: dict):
    """The figure: a point of a face at rest, the same with sudden stops, and frames per second."""
    figure, axes = plots.new_figure(1, 3, width=4.2, height=3.2)
    for axis, step, titles, title in (
        (axes[0], "jitter", METHODS, "a face at rest, strong noise"),
        (axes[1], "lag", {"truth": "truth", "raw": "raw", "smoothed": "smoothed"}, "sudden stops"),
    ):
        curves = record[step]["curves"]
        start = min(values[0] for values in curves.values())
        series = {title: [value - start for value in curves[name]] for name, title in titles.items()}
        count = len(next(iter(series.values())))
        seconds = [n / FPS for n in range(count)]
        plots.draw_over_time(axis, seconds, series, ylabel="tip of the nose, px to the right", title=title)
    ends = {"plain": "", "drawn": ", drawn", "four": ", 4 faces"}
    speeds = {
        runtime + ends[output]: 1000 / row["clock"]
        for runtime, outputs in record["speed"]["rows"].items()
        for output, row in outputs.items()
    }
    threads = record["speed"]["machine"]["threads"]
    title = f"frames per second, {threads} thread{'s' if threads > 1 else ''}"
    plots.draw_bars(axes[2], speeds, fmt="%.0f", title=title)
    axes[2].axvline(TARGET_FPS, color=plots.LINE_COLOUR, linewidth=0.8, linestyle="--")
    return figure


TEXT = """# Faces tracked through videos

`{checkpoint}` on two sample photos, moved through 640 x 480 frames at {fps} frames per second by
known motions, with fresh pixel noise in each frame, by `python -m benchmarks.tracking.page`. The
outer eye corners are about 100 pixels apart. *Raw* is `TrackedFace.measured`, *smoothed* is
`TrackedFace.face`. Errors and movements are RMS over points and frames; % is of the inter-ocular
distance. Means of the two photos.

![A point at rest, a point that stops, and frames per second](tracking.png)

## Jitter: a face at rest

Noise: standard deviation in gray levels of 255.

{jitter}

## Lag: a face that moves

Noise of 4 gray levels. The lag is the delay at which the keypoints agree best with the true ones; a
negative lag is ahead of them. *At rest after*: the time from a sudden stop until the face stays
within 2 % of the inter-ocular distance.

{lag}

## Frames per second

`track_video` on MPEG-4 files of 640 x 480 with one face of 200 pixels, or four of 100, reading included,
with the default settings of the tracker: a search for new faces every 5 frames, its time divided by all
frames here. {cpu}; **{threads} thread{plural} on {cores} core{plural_cores}**. *CPU time* is the sum
over all threads, which is the time that one core would need. *Wall-clock time* includes the effect
of whatever else ran on the machine. Medians of 3 rounds. The target for `onnx-int8` was {target} frames per
second of wall-clock time with one face (dashed in the figure), and 100 with four.

{speed}

## Ids

The two faces, cut out, over a photo without faces. *Two cross*: heads level, and one a quarter of a
head lower; each face in front once. *One leaves*: over the edge at 4 and at 12 pixels per frame,
each face once. Counted at the end of a run: persons with the id of the other one (*swapped*), with a
*new id*, and without one (*lost*). *Stray frames* show a face where nobody is.

{ids}
"""


def write_page() -> None:
    """Write README.md and tracking.png from the record."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    missing = [step for step in STEPS if step not in record]
    if missing:
        raise SystemExit(
            f"not measured yet: {', '.join(missing)}; run with --measure --only {' '.join(missing)}"
        )
    machine = record["speed"]["machine"]
    text = TEXT.format(
        checkpoint=record["checkpoint"],
        fps=FPS,
        plural="s" if machine["threads"] > 1 else "",
        plural_cores="s" if machine["cores"] > 1 else "",
        target=TARGET_FPS,
        jitter=jitter_table(record["jitter"]),
        lag=lag_table(record["lag"]),
        speed=speed_table(record["speed"]),
        ids=ids_table(record["ids"]),
        **machine,
    )
    pages.write_if_changed(HERE / "README.md", text)
    plots.write_figure(draw(record), HERE / "tracking.png")


def main(arguments=None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="first measure")
    parser.add_argument("--only", nargs="+", choices=STEPS, help="measure these again")
    parser.add_argument("--threads", type=int, help="for speed (default: the cores there are)")
    args = parser.parse_args(arguments)
    if args.measure:
        measure(args.only, args.threads)
    write_page()


if __name__ == "__main__":
    main()
