"""Faces followed through videos: trembling, lag, frames a second, and who keeps the id.

    python -m benchmarks.tracking.page [CHECKPOINT]              # everything; about ten minutes on one core
    python -m benchmarks.tracking.page --only speed --threads 2  # this again, the rest from the record
    python -m benchmarks.tracking.page --only                    # the page again

Sample photos moved through 640 x 480 frames by known motions (moving/scenes.py), so that nothing
need be labelled. Writes benchmarks/tracking/README.md, .png and records/tracking.json.
"""

import argparse
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parents[2]
import plots
from benchmarks.peers.report import replace_file
from benchmarks.tracking import ids
from benchmarks.tracking.scenes import FPS, MOTIONS
from benchmarks.tracking.speed import measure_speed
from benchmarks.tracking.steadiness import measure_jitter, measure_lag
from detector import DEFAULT_CHECKPOINT, KeypointDetector
from detector.folder import available_cores
from files import write_json

HERE = Path(__file__).parent
RECORD = HERE / "records" / "tracking.json"
STEPS = ("jitter", "lag", "speed", "ids")
WAYS = {"alone": "every frame by itself", "raw": "followed, raw", "smoothed": "followed, smoothed"}
TARGET_FPS = 60


def measure_ids(detector: KeypointDetector) -> dict:
    """Outcomes of all scenes: {title: [counts of each run]}."""
    sways = [name for name in MOTIONS if "sway" in name]
    scenes = {
        f"two cross, {speed} pixels a frame each": partial(ids.crossings, detector, speed)
        for speed in (2, 4, 8, 16)
    }
    for away_s in (1, 2, 4):
        title = f"one goes out and is back after {away_s} s"
        scenes[title] = partial(ids.returns, detector, away_s, (4, 12))
    for missing in (1, 3, 10):
        title = f"{missing} damaged frame{'s' if missing > 1 else ''} a second, moving"
        scenes[title] = partial(ids.damaged, detector, missing, sways)
    bar = tqdm(scenes.items(), desc="ids")
    return {title: [asdict(outcome) for outcome in measure()] for title, measure in bar}


# --- page ------------------------------------------------------------------------------------------


def jitter_table(record: dict) -> str:
    """Markdown: how keypoints tremble on a face at rest."""
    lines = [
        "| noise | | frame to frame, px | % | around the mean, px | % |",
        "|---|---|---|---|---|---|",
    ]
    for noise, ways in record["rows"].items():
        for way, title in WAYS.items():
            row = ways[way]
            cells = [
                f"{row['step']:.2f}", f"{100 * row['step_share']:.2f}",
                f"{row['spread']:.2f}", f"{100 * row['spread_share']:.2f}",
            ]  # fmt: skip
            lines.append(f"| {noise} | {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def lag_table(record: dict) -> str:
    """Markdown: how late and how far off keypoints are on a face that moves."""
    lines = [
        "| motion | | lag, ms | lag, frames | RMS error, px | % | at rest after, ms | face not seen |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for motion, ways in record["rows"].items():
        for way, row in ways.items():
            lag = row["lag"]
            rest = f"{1000 * row['rest']:.0f}" if "rest" in row else ""
            cells = [
                f"{1000 * lag:.0f}", f"{lag * FPS:.1f}", f"{row['error']:.2f}",
                f"{100 * row['error_share']:.2f}", rest, f"{row['lost']:g}",
            ]  # fmt: skip
            lines.append(f"| {motion} | {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def speed_table(record: dict) -> str:
    """Markdown: frames a second, and where the time of a frame goes."""
    lines = [
        "| runtime | written | frames a second, CPU time | by the clock | ms a frame, CPU time "
        "| reading | search | network | rest |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for runtime, ways in record["rows"].items():
        for way, row in ways.items():
            written = {"plain": "nothing", "drawn": "annotated video"}[way]
            rest = row["cpu"] - record["reading"] - row["search"] - row["network"]
            parts = (row["cpu"], record["reading"], row["search"], row["network"], rest)
            shown = " | ".join(f"{value:.1f}" for value in parts)
            speeds = f"{1000 / row['cpu']:.0f} | {1000 / row['clock']:.0f}"
            lines.append(f"| {runtime} | {written} | {speeds} | {shown} |")
    return "\n".join(lines)


def ids_table(record: dict) -> str:
    """Markdown: sums over the runs of each scene."""
    counts = ("swapped", "renewed", "lost", "strays")
    lines = ["| scene | runs | swapped | new id | lost | stray frames |", "|" + "---|" * 6]
    for title, outcomes in record.items():
        sums = " | ".join(str(sum(outcome[count] for outcome in outcomes)) for count in counts)
        lines.append(f"| {title} | {len(outcomes)} | {sums} |")
    return "\n".join(lines)


def draw(record: dict) -> bytes:
    """A point of a face at rest, the same in sudden stops, and frames a second."""
    figure, axes = plots.new_figure(1, 3, width=4.2, height=3.2)
    for axis, step, titles, title in (
        (axes[0], "jitter", WAYS, "a face at rest, strong noise"),
        (axes[1], "lag", {"truth": "truth", "raw": "raw", "smoothed": "smoothed"}, "sudden stops"),
    ):
        curves = record[step]["curves"]
        start = min(values[0] for values in curves.values())
        series = {titles[way]: [value - start for value in curves[way]] for way in titles}
        count = len(next(iter(series.values())))
        seconds = [n / FPS for n in range(count)]
        plots.draw_over_time(axis, seconds, series, ylabel="tip of the nose, px to the right", title=title)
    speeds = {
        f"{runtime}, {way}": 1000 / row["clock"]
        for runtime, ways in record["speed"]["rows"].items()
        for way, row in ways.items()
    }
    threads = record["speed"]["machine"]["threads"]
    title = f"frames a second, {threads} thread{'s' if threads > 1 else ''}"
    plots.draw_bars(axes[2], speeds, fmt="%.0f", title=title)
    axes[2].axvline(TARGET_FPS, color="black", linewidth=0.8, linestyle="--")
    return plots.figure_png(figure, dpi=90)


TEXT = """# Faces followed through videos

`{checkpoint}` on two sample photos, moved through 640 x 480 frames at {fps} frames a second by known motions,
each frame with fresh pixel noise, by `python -m benchmarks.tracking.page`. Eyes (outer corners) are about 100
pixels apart. *raw* is `TrackedFace.measured`, *smoothed* is `TrackedFace.face`. Errors and movements are
RMS over points and frames; % is of the inter-ocular distance. Means of the two photos.

![A point at rest, a point that stops, and frames a second](tracking.png)

## Trembling: a face at rest

Noise: standard deviation in gray levels of 255.

{jitter}

## Lag: a face that moves

Noise of 4 gray levels. The lag is that at which the keypoints agree best with where the face really was; a
minus is ahead of it. *At rest after*: from a sudden stop until the face stays within 2 % of the eye distance.

{lag}

## Frames a second

`track_video` on an MPEG-4 file of 640 x 480 with one face of 200 pixels, reading included, in the tracker's
default settings: half a search for new faces every 30 frames, its time spread over all frames here. {cpu};
**{threads} thread{plural} on {cores} core{plural_cores}**. *CPU time* adds up all threads: what one core
alone would need. *By the clock* is what a user sees, less whatever other work the machine had. Medians of
3 rounds. The target was {target} by the clock (dashed in the plot).

{speed}

## Who keeps the id

The two faces, cut out, over a photo without faces. *Crossing*: heads level, and one a quarter of a head
lower; either one in front. *Going out*: over the edge at 4 and at 12 pixels a frame, either face. Counted in
persons at the end of a run: those with the other one's id, with an id that nobody had, with none.

{ids}
"""


def write(record: dict) -> None:
    """Write tracking.md and .png from the record."""
    missing = [step for step in STEPS if step not in record]
    if missing:
        raise SystemExit(f"not measured yet: {', '.join(missing)}; run with --only {' '.join(missing)}")
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
    replace_file(HERE / "README.md", text.encode())
    replace_file(HERE / "tracking.png", draw(record))


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", nargs="?", default=DEFAULT_CHECKPOINT)
    parser.add_argument("--only", nargs="*", choices=STEPS, default=list(STEPS), help="measure only these")
    parser.add_argument(
        "--threads", type=int, default=available_cores(), help="for speed (default: the cores there are)"
    )
    return parser.parse_args(arguments)


def main(arguments=None) -> None:
    """Measure what is asked for, keep it in the record, and write the page."""
    args = parse_arguments(arguments)
    record = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    measures = {
        "jitter": measure_jitter, "lag": measure_lag, "ids": measure_ids,
        "speed": lambda _: measure_speed(args.checkpoint, args.threads),
    }  # fmt: skip
    for step in args.only:
        record[step] = measures[step](KeypointDetector.from_pretrained(args.checkpoint))
        write_json(RECORD, record | {"checkpoint": Path(args.checkpoint).name})
    write(json.loads(RECORD.read_text()))


if __name__ == "__main__":
    main()
