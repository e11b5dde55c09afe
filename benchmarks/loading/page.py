"""How fast samples are loaded and augmented:

    python -m benchmarks.loading.page

Samples a second through the training transform at 96 px, in one process with one
thread: from memory, and decoding each file anew. Writes benchmarks/loading/README.md.
"""

import platform
import time
from pathlib import Path

from data_fetch import find_data
from data_load import load_split
from files import cv2
from training.recipes import get_recipe

ROUNDS = 5
IMAGES = 600


def samples_per_second(dataset) -> float:
    """One pass over the first images."""
    start = time.perf_counter()
    for index in range(IMAGES):
        dataset[index]
    return IMAGES / (time.perf_counter() - start)


def main() -> None:
    """Measure both in turn and write the table."""
    cv2.setNumThreads(1)
    folder = find_data().folder
    transform = get_recipe("naimishnet").transform()
    datasets = {
        "images in memory (the default)": load_split(folder, "official", "train", transform, seed=0),
        "every file decoded again": load_split(folder, "official", "train", transform, seed=0, cache_bytes=0),
    }
    for dataset in datasets.values():
        samples_per_second(dataset)  # fills the memory, and the disk's cache
    speeds = {name: [] for name in datasets}
    for _ in range(ROUNDS):
        for name, dataset in datasets.items():
            speeds[name].append(samples_per_second(dataset))
    medians = {name: sorted(values)[ROUNDS // 2] for name, values in speeds.items()}
    slowest = min(medians.values())
    lines = [
        "# Loading and augmenting",
        "",
        f"Samples a second at 96 px through the `naimishnet` training transform ({IMAGES} training images, "
        f"median of {ROUNDS} interleaved rounds), **one process, one thread**, on {platform.system()} "
        f"({platform.machine()}), Python {platform.python_version()}, OpenCV {cv2.__version__}.",
        "",
        "| source | samples a second | ratio |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {speed:.0f} | {speed / slowest:.1f} |" for name, speed in medians.items()]
    Path(__file__).with_name("README.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
