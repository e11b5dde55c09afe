"""Speed of loading and augmenting training samples:

    python -m benchmarks.loading.page              # writes README.md from the record
    python -m benchmarks.loading.page --measure    # measures first; needs the data, a minute

Samples per second through a training transform at 96 px, in one process with one thread: with the
images in memory, and with each file decoded again.
"""

import json
import platform
import time
from pathlib import Path
from statistics import median

from benchmarks import pages
from data_fetch import data_checksum
from data_load import load_split
from files import cv2, write_json
from training.recipes import get_recipe
from training.records import is_current, provenance

HERE = Path(__file__).parent
RECORD = HERE / "records" / "loading.json"
RECIPE = "naimishnet"
ROUNDS, IMAGES = 5, 600


def measure(data) -> None:
    """Write the record: samples per second of both sources, the medians of interleaved rounds.

    A record that is there and current stays; remove it to measure the speed again.
    """
    if is_current(RECORD):
        return
    cv2.setNumThreads(1)
    transform = get_recipe(RECIPE).transform()
    datasets = {
        name: load_split(data.folder, "official", "train", transform, seed=0, **options)
        for name, options in {
            "images in memory (the default)": {},
            "every file decoded again": {"cache_bytes": 0},
        }.items()
    }
    for dataset in datasets.values():
        samples_per_second(dataset)  # not counted: it fills the memory and the cache of the disk
    speeds: dict = {name: [] for name in datasets}
    for _ in range(ROUNDS):
        for name, dataset in datasets.items():
            speeds[name].append(samples_per_second(dataset))
    about = provenance("python -m benchmarks.loading.page --measure", data=data_checksum(data.folder), seed=0)
    about["versions"]["python"] = platform.python_version()
    rows = {name: median(values) for name, values in speeds.items()}
    write_json(RECORD, {"samples_per_second": rows, "provenance": about})


def samples_per_second(dataset) -> float:
    """The speed of one pass over the first IMAGES samples."""
    start = time.perf_counter()
    for index in range(IMAGES):
        dataset[index]
    return IMAGES / (time.perf_counter() - start)


# --- page -----------------------------------------------------------------------------------------

TEXT = """# Loading and augmenting

Samples per second at 96 px through the training transform of `{recipe}`: {images} training images,
medians of {rounds} interleaved rounds, **one process, one thread**. {system} ({architecture}),
Python {python}, OpenCV {opencv}. By `python -m benchmarks.loading.page`.

{table}
"""


def write_page() -> None:
    """Write README.md from the record."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    speeds, about = record["samples_per_second"], record["provenance"]
    slowest = min(speeds.values())
    cells = [[name, f"{speed:.0f}", f"{speed / slowest:.1f}"] for name, speed in speeds.items()]
    text = TEXT.format(
        recipe=RECIPE, images=IMAGES, rounds=ROUNDS,
        system=about["machine"]["system"], architecture=about["machine"]["architecture"],
        python=about["versions"]["python"], opencv=about["versions"]["opencv-python"],
        table=pages.markdown_table(["source", "samples per second", "ratio"], cells),
    )  # fmt: skip
    pages.write_if_changed(HERE / "README.md", text)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
