"""How fast `detect.py` goes through a folder, how much memory that takes, and when the first answer comes:

    python -m benchmarks.detecting.page [--images 100 400] [--checkpoint NAME]

Whole commands on links to two sample photos: the local engine without and with processes that
search for faces, Ray where it is installed, every runtime whose file the checkpoint has. Memory and
processor time are of the command and of all processes below it. Writes benchmarks/detecting/README.md.
"""

import argparse
import importlib.util
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

ROOT = Path(__file__).parents[2]
from checkpoint import find_checkpoint
from data_load import sample_photos
from detector.folder import available_cores
from detector.formats import read_results
from detector.predictor import DEFAULT_CHECKPOINT, RUNTIMES
from files import atomic_path, cv2

PAGE = Path(__file__).with_name("README.md")
SIDE = 640  # larger side of the photos, pixels
LOOK_EVERY_S = 0.1
STARTS = 3
LOCAL = {f"local, `--workers {count}`": ("--workers", str(count)) for count in (0, 1, 2)}
DETECT = (sys.executable, str(ROOT / "detect.py"))
RAY = {"ray, `--workers 2`": ("--engine", "ray", "--workers", "2")}


class Usage(NamedTuple):
    """Of a command and all processes below it; peak_bytes is the resident memory at one time."""

    wall_s: float
    processor_s: float
    peak_bytes: int


# --- measuring ------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """Ours, in which Python may keep what it has compiled, as it does by default."""
    ours = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, "PYTHONPATH": str(ROOT)}


def measure(line: list[str]) -> Usage:
    """Run a command to its end; RuntimeError with what it said if it failed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(line, env=environment(), stdout=said, stderr=said)
        peak_bytes, processor_s = 0, {}
        while process.poll() is None:
            seen = dict(_processes(process.pid))
            peak_bytes = max(peak_bytes, sum(memory for memory, _ in seen.values()))
            processor_s.update({key: seconds for key, (_, seconds) in seen.items()})
            time.sleep(LOOK_EVERY_S)
        wall_s = time.perf_counter() - start
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(line)} left with {process.returncode}: {said.read()}")
    return Usage(wall_s, sum(processor_s.values()), peak_bytes)


def _processes(pid: int) -> Iterator[tuple[tuple, tuple[int, float]]]:
    """Of a process and all below it: (pid, start), (resident bytes, processor seconds so far)."""
    try:
        top = psutil.Process(pid)
        family = [top, *top.children(recursive=True)]
    except psutil.Error:
        return
    for process in family:
        try:
            with process.oneshot():
                times = process.cpu_times()
                key = process.pid, process.create_time()
                yield key, (process.memory_info().rss, times.user + times.system)
        except psutil.Error:
            continue  # it has just ended


def fill(folder: Path, count: int) -> Path:
    """A folder of `count` images: the two sample photos under many names."""
    folder.mkdir()
    originals = []
    for name, photo in sample_photos().items():
        scale = SIDE / max(photo.shape[:2])
        small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        originals.append(folder.with_name(f"{folder.name}-{name}.jpg"))
        cv2.imwrite(str(originals[-1]), cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    for number in range(count):
        original, target = originals[number % 2], folder / f"{number:06}.jpg"
        try:
            os.link(original, target)
        except OSError:  # a file system without hard links
            shutil.copy(original, target)
    return folder


def detect(folder: Path, count: int, options: tuple[str, ...]) -> Usage:
    """Let detect.py go through `count` photos, and see that it found a face in each."""
    photos, output = fill(folder / "in", count), folder / "out"
    try:
        usage = measure([*DETECT, str(photos), "--output", str(output), *options])
        found = read_results(output / "faces.json")
        assert len(found) == count
        assert all(image.faces for image in found)
    finally:
        shutil.rmtree(photos)
        shutil.rmtree(output, ignore_errors=True)
    return usage


def median_start(line: list[str]) -> Usage:
    """Medians of STARTS runs, after one that fills the disk's cache."""
    runs = [measure(line) for _ in range(STARTS + 1)][1:]
    return Usage(*map(statistics.median, zip(*runs, strict=True)))


# --- the page -------------------------------------------------------------------------------


def start_table(checkpoint: str, runtimes: list[str], photo: Path) -> list[str]:
    """Importing, and the first answer on one photo, as whole commands."""
    lines = {f"`import {name}`": [sys.executable, "-c", f"import {name}"] for name in ("torch", "detector")}
    for runtime in runtimes:
        options = ["--runtime", runtime, "--checkpoint", checkpoint]
        lines[f"`detect.py photo.jpg`, {runtime}"] = [*DETECT, str(photo), *options]
    table = ["| command | seconds | processor seconds | peak memory, MB |", "|---|---|---|---|"]
    for title, line in lines.items():
        usage = median_start(line)
        table.append(f"| {title} | {usage.wall_s:.1f} | {usage.processor_s:.1f} | {_mb(usage)} |")
        print(table[-1], flush=True)
    return table


def measure_folders(checkpoint: str, runtimes, counts, engines: dict, folder: Path) -> dict:
    """Usage by (runtime, count, engine), the engines in turn; large folders with the first runtime only."""
    usages = {}
    for runtime in runtimes:
        for count in counts if runtime == runtimes[0] else counts[:1]:
            for engine, options in engines.items():
                usage = detect(folder, count, ("--runtime", runtime, "--checkpoint", checkpoint, *options))
                usages[runtime, count, engine] = usage
                print(runtime, count, engine, usage, flush=True)
    return usages


def folder_table(usages: dict) -> list[str]:
    """One line a run; the ratio is to the first engine of the same runtime and folder."""
    table = [
        "| runtime | images | engine | images a second | ratio | processor ms an image | peak memory, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for (runtime, count, engine), usage in usages.items():
        ratio = usages[runtime, count, next(iter(LOCAL))].wall_s / usage.wall_s
        speeds = f"{count / usage.wall_s:.2f} | {ratio:.2f} | {1000 * usage.processor_s / count:.0f}"
        table.append(f"| {runtime} | {count} | {engine} | {speeds} | {_mb(usage)} |")
    return table


def growth(usages: dict, counts: list[int]) -> str:
    """By how much memory grew from the smallest to the largest folder, as a sentence."""
    few, many = min(counts), max(counts)
    grown = [
        f"{(usage.peak_bytes - usages[runtime, few, engine].peak_bytes) / 1e6:+.0f} MB ({engine})"
        for (runtime, count, engine), usage in usages.items()
        if count == many > few
    ]
    return f"From {few} to {many} images the peak of memory changed by {', '.join(grown)}." if grown else ""


def _mb(usage: Usage) -> str:
    return f"{usage.peak_bytes / 1e6:.0f}"


def machine() -> str:
    """What it was measured on, in words."""
    cores = available_cores()
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return (
        f"Measured on {'one core' if cores == 1 else f'{cores} cores'} (OMP_NUM_THREADS {threads}) of "
        f"{platform.system()} ({platform.machine()}), Python {platform.python_version()}, PyTorch "
        f"{torch.__version__.partition('+')[0]}, OpenCV {cv2.__version__}"
    )


def page(starts: list[str], folders: list[str], growing: str, with_ray: bool) -> str:
    """The page, as Markdown."""
    ray = (
        "On one machine Ray's own processes only cost time and memory; it is for several."
        if with_ray
        else "Ray is not installed here (`requirements-ray.txt`), so there are no rows for it."
    )
    return f"""# From a folder to keypoints

Whole commands, from starting Python to the written `faces.json`, on links to two photos with {SIDE} px
on the larger side, each with one face. Memory is the resident memory of the command and of all processes
below it, added up at one time (pages that they share count in each); processor time is theirs together.
{machine()}. Other work
may have run on the same cores: seconds then say too much, processor time hardly.

## The first answer

Medians of {STARTS}, after one run that is not counted.

{chr(10).join(starts)}

## Folders

One run each, the engines in turn; the ratio is to the first engine of the same runtime and folder, starting
included. {growing}
{ray}

{chr(10).join(folders)}
"""


def main() -> None:
    """Measure everything, then write the page."""
    parser = argparse.ArgumentParser(description="Measure detect.py; writes benchmarks/detecting/README.md.")
    add = parser.add_argument
    add("--images", type=int, nargs="+", default=[100, 400], metavar="N", help="sizes of the folders")
    add("--checkpoint", default=DEFAULT_CHECKPOINT, metavar="NAME")
    args = parser.parse_args()
    home = find_checkpoint(args.checkpoint).absolute()
    runtimes = [name for name, file in RUNTIMES.items() if (home / file).is_file()]
    with_ray = importlib.util.find_spec("ray") is not None
    engines = LOCAL | RAY if with_ray else LOCAL
    with tempfile.TemporaryDirectory() as folder:
        photo = fill(Path(folder) / "one", 1) / "000000.jpg"
        starts = start_table(str(home), runtimes, photo)
        usages = measure_folders(str(home), runtimes, args.images, engines, Path(folder))
    text = page(starts, folder_table(usages), growth(usages, args.images), with_ray)
    with atomic_path(PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
