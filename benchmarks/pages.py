"""Tables, pages and figures of the benchmarks: the parts that every page needs.

Each folder benchmarks/NAME/ has a page.py with two functions:

    write_page()    records/ to README.md and the figure; no weights, no images, no network
    measure(...)    weights and images to records/ (pages that are measured)

`python -m benchmarks.NAME.page` calls write_page(), with --measure it calls measure() first.
`make tables` calls write_page() of every folder.
"""

from collections.abc import Sequence
from pathlib import Path

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
