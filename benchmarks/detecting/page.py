"""Speed, memory and time to the first result of `detect.py` on folders of photos:

    python -m benchmarks.detecting.page                             # writes README.md from the record
    python -m benchmarks.detecting.page --measure                   # measures first; ten minutes
    python -m benchmarks.detecting.page --measure --images 100 400  # other sizes of the folders

Whole commands on links to two sample photos: the local engine without and with processes that search for
faces, Ray where it is installed, every runtime whose file the checkpoint has. Memory and processor time
are those of the command and all its child processes.
"""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks import pages
from checkpoint import FINDER, find_checkpoint
from data_load import sample_photos
from detector.folder import available_cores
from detector.formats import read_results
from detector.predictor import DEFAULT_CHECKPOINT, RUNTIMES
from files import cv2, write_json
from training.records import is_current, provenance

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
RECORD = HERE / "records" / "detecting.json"
SIDE = 640  # larger side of the photos, pixels
SAMPLING_S = 0.1  # between two readings of memory and processor time
STARTS = 3
FOLDERS = (60, 200)
LOCAL = {f"local, `--workers {count}`": ("--workers", str(count)) for count in (0, 1, 2)}
RAY = {"ray, `--workers 2`": ("--engine", "ray", "--workers", "2")}
DETECT = (sys.executable, str(ROOT / "detect.py"))


class Usage(NamedTuple):
    """Use of a command and all its child processes; peak_bytes: largest resident memory at one time."""

    wall_s: float
    processor_s: float
    peak_bytes: int


# --- measuring ------------------------------------------------------------------------------


def measure(checkpoint: str = DEFAULT_CHECKPOINT, counts: Sequence[int] = FOLDERS) -> None:
    """Write the record. checkpoint: a folder or a name; counts: sizes of the folders in images.

    A record that is there and current stays; remove it to measure again.
    """
    if is_current(RECORD):
        return
    home = find_checkpoint(checkpoint).absolute()
    runtimes = [name for name, file in RUNTIMES.items() if (home / file).is_file()]
    with_ray = importlib.util.find_spec("ray") is not None
    engines = LOCAL | RAY if with_ray else LOCAL
    with tempfile.TemporaryDirectory() as folder:
        photo = fill(Path(folder) / "one", 1) / "000000.jpg"
        starts = measure_starts(str(home), runtimes, photo)
        folders = measure_folders(str(home), runtimes, counts, engines, Path(folder))
    files = [find_checkpoint(FINDER) / file for file in RUNTIMES.values()]
    about = provenance("python -m benchmarks.detecting.page --measure", checkpoint=home, files=files)
    about["versions"]["python"] = platform.python_version()
    machine = {"cores": available_cores(), "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "not set")}
    rows = {"starts": starts, "folders": folders, "ray": with_ray}
    write_json(RECORD, {**rows, **machine, "provenance": about})


def environment() -> dict[str, str]:
    """This process's variables; Python may store compiled files, as it does by default."""
    ours = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, "PYTHONPATH": str(ROOT)}


def run(line: list[str]) -> Usage:
    """Run a command to its end. Raises RuntimeError with its output if it fails."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(line, env=environment(), stdout=output, stderr=output)
        peak_bytes, processor_s = 0, {}
        while process.poll() is None:
            now = dict(_processes(process.pid))
            peak_bytes = max(peak_bytes, sum(memory for memory, _ in now.values()))
            processor_s.update({key: seconds for key, (_, seconds) in now.items()})
            time.sleep(SAMPLING_S)
        wall_s = time.perf_counter() - start
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(line)} ended with {process.returncode}: {output.read()}")
    return Usage(wall_s, sum(processor_s.values()), peak_bytes)


def _processes(pid: int) -> Iterator[tuple[tuple, tuple[int, float]]]:
    """(pid, start), (resident bytes, processor seconds so far) of a process and all its children."""
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
            continue  # the process has just ended


def fill(folder: Path, count: int) -> Path:
    """Make a folder of `count` images: the two sample photos under many names."""
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
    """Run detect.py on `count` photos, and check that it found a face in each."""
    photos, output = fill(folder / "in", count), folder / "out"
    try:
        usage = run([*DETECT, str(photos), "--output", str(output), *options])
        found = read_results(output / "faces.json")
        assert len(found) == count
        assert all(image.faces for image in found)
    finally:
        shutil.rmtree(photos)
        shutil.rmtree(output, ignore_errors=True)
    return usage


def median_start(line: list[str]) -> Usage:
    """Medians of STARTS runs, after one that fills the cache of the disk."""
    runs = [run(line) for _ in range(STARTS + 1)][1:]
    return Usage(*map(statistics.median, zip(*runs, strict=True)))


def measure_starts(checkpoint: str, runtimes: list[str], photo: Path) -> list[dict]:
    """A row each for importing and for the first result on one photo, as whole commands."""
    lines = {f"`import {name}`": [sys.executable, "-c", f"import {name}"] for name in ("torch", "detector")}
    for runtime in runtimes:
        options = ["--runtime", runtime, "--checkpoint", checkpoint]
        lines[f"`detect.py photo.jpg`, {runtime}"] = [*DETECT, str(photo), *options]
    rows = []
    for command, line in lines.items():
        usage = median_start(line)
        peak_mb = usage.peak_bytes / 1e6
        row = {"seconds": usage.wall_s, "processor_seconds": usage.processor_s, "peak_mb": peak_mb}
        rows.append({"command": command, **row})
        print(rows[-1], flush=True)
    return rows


def measure_folders(checkpoint: str, runtimes, counts, engines: dict, folder: Path) -> list[dict]:
    """A row per runtime, folder and engine; the larger folders with the first and the last runtime."""
    rows = []
    for runtime in runtimes:
        for count in counts if runtime in (runtimes[0], runtimes[-1]) else counts[:1]:
            for engine, options in engines.items():
                usage = detect(folder, count, ("--runtime", runtime, "--checkpoint", checkpoint, *options))
                rows.append({
                    "runtime": runtime, "images": count, "engine": engine,
                    "images_per_second": count / usage.wall_s,
                    "processor_ms_per_image": 1000 * usage.processor_s / count,
                    "peak_mb": usage.peak_bytes / 1e6,
                })  # fmt: skip
                print(rows[-1], flush=True)
    return rows


# --- the page -------------------------------------------------------------------------------


def start_table(rows: list[dict]) -> str:
    """Markdown: a line per command."""
    cells = [
        [row["command"], f"{row['seconds']:.1f}", f"{row['processor_seconds']:.1f}", f"{row['peak_mb']:.0f}"]
        for row in rows
    ]
    return pages.markdown_table(["command", "seconds", "processor seconds", "peak memory, MB"], cells)


def folder_table(rows: list[dict]) -> str:
    """Markdown: a line per run; the ratio is to the first engine of the same runtime and folder."""
    first: dict = {}
    cells = []
    for row in rows:
        speed = row["images_per_second"]
        ratio = speed / first.setdefault((row["runtime"], row["images"]), speed)
        speeds = [f"{speed:.2f}", f"{ratio:.2f}", f"{row['processor_ms_per_image']:.0f}"]
        cells.append([row["runtime"], str(row["images"]), row["engine"], *speeds, f"{row['peak_mb']:.0f}"])
    head = ["runtime", "images", "engine", "images per second", "ratio", "processor ms per image"]
    return pages.markdown_table([*head, "peak memory, MB"], cells)


def growth(rows: list[dict]) -> str:
    """A sentence: the change of the peak memory from the smallest to the largest folder."""
    few, many = (pick(row["images"] for row in rows) for pick in (min, max))
    peaks = {
        (row["images"], row["engine"]): row["peak_mb"] for row in rows if row["runtime"] == rows[0]["runtime"]
    }
    grown = [
        f"{peak - peaks[few, engine]:+.0f} MB ({engine})"
        for (count, engine), peak in peaks.items()
        if count == many > few
    ]
    return f"From {few} to {many} images the peak memory changed by {', '.join(grown)}." if grown else ""


def runtime_speeds(rows: list[dict]) -> str:
    """A sentence: images per second of each runtime in the smallest folder with the first engine."""
    few, engine = min(row["images"] for row in rows), rows[0]["engine"]
    speeds = [
        f"{row['runtime']} {row['images_per_second']:.2f}"
        for row in rows
        if (row["images"], row["engine"]) == (few, engine)
    ]
    return f"({engine}, {few} images: {', '.join(speeds)} images per second)"


TEXT = """# From a folder to keypoints

Whole commands, from the start of Python to the written `faces.json`, on links to two photos with
{side} px on the larger side and one face each. By `python -m benchmarks.detecting.page`. Memory is
the resident memory of the command and its child processes, added up at one time; pages that they
share count in each. Processor time is theirs together. Measured on {cores} core{plural}
(OMP_NUM_THREADS {omp}) of {system} ({architecture}), Python {python}, PyTorch {torch}, OpenCV
{opencv}. Other programs may have run on the same cores: they make the seconds longer, and hardly
change the processor time.

[benchmarks/speed](../speed/README.md) has the time of a photo by its parts.

## The first result

Medians of {starts}, after one run that is not counted.

{start_table}

## Folders

One run each, the engines in turn. The ratio is to the first engine of the same runtime and folder.
The time to start is included. {growth} {ray}

{folder_table}

Runtimes compared {runtime_speeds}. The target for {many} photos was 80 a second.
"""
WITH_RAY = "On one machine the processes of Ray only cost time and memory. Ray is meant for several machines."
WITHOUT_RAY = "Ray (`requirements-ray.txt`) was not installed, so it has no rows."


def write_page() -> None:
    """Write README.md from the record."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    about, rows = record["provenance"], record["folders"]
    versions = about["versions"]
    text = TEXT.format(
        side=SIDE, starts=STARTS, cores=record["cores"], plural="s" if record["cores"] > 1 else "",
        omp=record["omp_num_threads"], system=about["machine"]["system"],
        architecture=about["machine"]["architecture"], python=versions["python"],
        torch=versions["torch"].partition("+")[0], opencv=versions["opencv-python"],
        start_table=start_table(record["starts"]), growth=growth(rows),
        ray=WITH_RAY if record["ray"] else WITHOUT_RAY, folder_table=folder_table(rows),
        runtime_speeds=runtime_speeds(rows), many=max(row["images"] for row in rows),
    )  # fmt: skip
    pages.write_if_changed(HERE / "README.md", text)


def main(arguments=None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--measure", action="store_true", help="first measure")
    add("--images", type=int, nargs="+", default=list(FOLDERS), metavar="N", help="sizes of the folders")
    add("--checkpoint", default=DEFAULT_CHECKPOINT, metavar="NAME")
    args = parser.parse_args(arguments)
    if args.measure:
        measure(args.checkpoint, args.images)
    write_page()


if __name__ == "__main__":
    main()
