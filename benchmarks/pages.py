"""Tables, pages and command lines of the benchmarks: the parts that every page needs.

Each folder benchmarks/NAME/ has a page.py with two functions:

    write_page()      records/ to README.md and the figure; no weights, no images, no network
    measure(data)     weights and images to records/, skipping what is current (pages that are measured)

`python -m benchmarks.NAME.page` calls write_page(); with --measure it calls measure() first (`run_page`).
`make tables` calls write_page() of every folder, `make measure` runs every page with --measure.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from data_fetch import DataError, find_data
from files import atomic_path


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table without a line end after it; every row has as many cells as there are columns.

    Raises ValueError for a row of another length.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a row of {len(row)} cells does not fit {len(columns)} columns: {list(row)}")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def fill(page: str, name: str, content: str) -> str:
    """The page with `content` between the marks `<!-- NAME -->` and `<!-- end of NAME -->`.

    Raises ValueError unless each mark is there once, in this order.
    """
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if page.count(start) != 1 or page.count(end) != 1 or page.index(start) > page.index(end):
        raise ValueError(f"the page must have the marks {start!r} and {end!r} once each, in this order")
    before, rest = page.split(start)
    return f"{before}{start}\n{content}\n{end}{rest.split(end)[1]}"


def write_if_changed(path, content: str | bytes) -> bool:
    """Write text (UTF-8) or bytes to a file; True if that changed it."""
    path, data = Path(path), content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return False
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return True


# --- cells that several pages have ---------------------------------------------------------------


def place(row: dict) -> str:
    """'split x faces' of a record, marked if it leaks."""
    return f"{row['split']} x {row['faces']}" + (" (leaks)" if row["leak"] else "")


def size(row: dict) -> str:
    """Parameters and MACs per pass of a record, in millions; '-' for a predictor without a network."""
    return f"{row['params'] / 1e6:.1f} M / {row['macs'] / 1e6:.0f} M" if row["params"] else "-"


# --- the command line -----------------------------------------------------------------------------


def run_page(
    description: str,
    write_page: Callable[[], None],
    measure: Callable | None = None,
    arguments: Sequence[str] | None = None,
    *,
    peers: str = "",
) -> None:
    """The command line of a page without options of its own: --measure first measures, then it is written.

    measure: called with the data (`find_data`). The synthetic sample is refused.
    peers: names of other packages that are measured too where --environment says they are; `measure` then
        gets this folder, or None, as its second argument.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if measure:
        parser.add_argument("--measure", action="store_true", help="first measure what is not current")
    if peers:
        help_text = f"folder of a virtual environment with {peers}, to measure it too"
        parser.add_argument("--environment", type=Path, metavar="FOLDER", help=help_text)
    args = parser.parse_args(arguments)
    if measure and args.measure:
        measure(real_data(), *([args.environment] if peers else []))
    write_page()


def real_data():
    """The data set (`find_data`); ends the program with a message if there is only the synthetic sample."""
    try:
        data = find_data()
    except DataError as error:
        sys.exit(str(error))
    if data.is_sample:
        sys.exit("this is the synthetic sample; figures of drawn faces are no results: set KEYPOINTS_DATA")
    return data
