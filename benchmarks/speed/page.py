"""Time from a photo to its keypoints, and of filters: README.md from the records of chain.py and filters.py.

python -m benchmarks.speed.page
"""

import json
from pathlib import Path

from benchmarks import pages
from benchmarks.speed import chain, filters
from training.records import is_current

PAGE = Path(__file__).with_name("README.md")

TEXT = """# From a photo to its keypoints

Two photos of 640 x 480 pixels with one face each, by `python -m benchmarks.speed.chain`. Median processor
time, one thread, without reading the file. All methods take turns on one CPU.
*MediaPipe* is its face detector and face mesh; *dlib*, where it is in the table, its HOG face detector on
the doubled image and its 68 points. *cascades* are OpenCV's Haar cascades, which
were used before there was a face finder. Memory is the most that the process needed beyond Python and NumPy,
with its libraries.

Then the parts of a chain, in ms per photo. *Search*: from the photo to boxes. *Network*: all passes of the
keypoint network. *Rest*: crops, and everything between.

{chains}

## Filters

Processor time in ms to paint one face of {side} pixels (the larger side of the box around its keypoints) into
an image, by `python -m benchmarks.speed.filters`. Median of {filter_calls} calls on one CPU of
{filter_machine}, while the load of the machine was {load}. The aim is {aim_ms} ms;
{slower}. [What they do](../filter_gallery/README.md).

{filters}
"""
CHAIN = """## {machine}

{int8} In 8 bits the chain of `heatmapnet` takes
{ratio:.2f} times as long as in 32 bits. {calls} calls; {peers}.

{rows}

{stages}"""
#: What `records.machine()["int8"]` says of the processor.
INT8 = {
    "none": "This processor has no instructions for dot products of 8-bit numbers.",
    "unknown": "Whether this processor has instructions for dot products of 8-bit numbers was not recorded.",
}
WITH_INT8 = "This processor has instructions for dot products of 8-bit numbers (`{}`)."
#: Processor time of a filter that leaves room for detection at 25 frames per second.
AIM_MS = 5.0


def rows_table(rows: dict[str, dict]) -> str:
    """Markdown: a line per method."""
    base = rows["MediaPipe"]["cpu_ms"]
    cells = [
        [title, f"{row['cpu_ms']:.1f}", f"{row['cpu_ms'] / base:.2f}", f"{row['memory_mb']:.0f}"]
        for title, row in rows.items()
    ]
    return pages.markdown_table(["method", "CPU ms", "x MediaPipe", "memory, MB"], cells)


def stages_table(stages: dict[str, dict]) -> str:
    """Markdown: a line per chain."""
    parts = ("search", "network", "rest")
    cells = [
        [title, *(f"{row[part]:.1f}" for part in parts), f"{sum(row.values()):.1f}"]
        for title, row in stages.items()
    ]
    return pages.markdown_table(["chain", *parts, "sum"], cells)


def filters_table(cpu_ms: dict[str, float]) -> str:
    """Markdown: a line per filter, the slowest first."""
    ranked = sorted(cpu_ms.items(), key=lambda item: -item[1])
    return pages.markdown_table(["filter", "CPU ms"], [[f"`{name}`", f"{ms:.1f}"] for name, ms in ranked])


def slower_than(cpu_ms: dict[str, float], aim_ms: float) -> str:
    """Half a sentence on the filters that take longer."""
    names = sorted(f"`{name}`" for name, ms in cpu_ms.items() if round(ms, 1) > aim_ms)
    if not names:
        return f"all {len(cpu_ms)} filters keep to it"
    return f"{len(names)} of {len(cpu_ms)} filters miss it ({', '.join(names)})"


def machine_of(about: dict) -> str:
    """System and processor of a provenance."""
    machine = about["machine"]
    return f"{machine['system']} ({machine['architecture']}, {machine['processor']})"


def chain_text(record: dict) -> str:
    """The section of one machine. Raises ValueError where the networks had another size then."""
    if record["macs"] != chain.macs():
        raise ValueError(f"the chains were timed with networks of another size; renew: {chain.RENEW}")
    about, rows = record["provenance"], record["rows"]
    int8 = about["machine"].get("int8", "unknown")
    return CHAIN.format(
        machine=machine_of(about),
        int8=INT8.get(int8, WITH_INT8.format(int8)),
        ratio=rows["heatmapnet, onnx-int8"]["cpu_ms"] / rows["heatmapnet, onnx"]["cpu_ms"],
        calls=record["calls"],
        peers=about["peers"],
        rows=rows_table(rows),
        stages=stages_table(record["stages"]),
    )


def write_page() -> None:
    """Write README.md from the records."""
    records = sorted(chain.RECORDS.glob("chain-*.json"))
    chains = [json.loads(path.read_text(encoding="utf-8")) for path in records]
    painting = json.loads(filters.RECORD.read_text(encoding="utf-8"))
    text = TEXT.format(
        chains="\n\n".join(map(chain_text, chains)),
        side=painting["side"],
        filter_calls=painting["calls"],
        filter_machine=machine_of(painting["provenance"]),
        load=painting["load"],
        aim_ms=f"{AIM_MS:.0f}",
        slower=slower_than(painting["cpu_ms"], AIM_MS),
        filters=filters_table(painting["cpu_ms"]),
    )
    pages.write_if_changed(PAGE, text)


def measure(data) -> None:
    """Time the filters, where their record is not current. The chains need MediaPipe: see chain.py."""
    if not is_current(filters.RECORD):
        filters.measure()


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure)
