"""The page on hostile inputs, from the record that `make attack` leaves (tools/attack.py)."""

import json
from pathlib import Path

from benchmarks.pages import markdown_table, write_if_changed

FOLDER = Path(__file__).resolve().parent
RECORD = FOLDER / "records" / "attack.json"

TEXT = """# Hostile inputs

`make attack` makes {cases} hostile inputs from seed {seed} and feeds them to the library and the commands. An
input is *accepted* (an answer of the right form) or *refused* (an error of a declared type). A *failure* is
anything else: another exception, a traceback, a hang of more than 30 s, a changed or missing user file,
more than 2 GB of memory. The test suite runs 2,000 of them.

{table}

What is promised, and what is not: [SECURITY.md](../../SECURITY.md).
"""


def write_page() -> None:
    """Write README.md from the record."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    rows = [
        [
            name,
            f"{row['cases']}",
            f"{row['accepted']}",
            f"{row['refused']}",
            f"{len(row['failures'])}",
            f"{row['peak_bytes'] / 2**20:.0f}",
            f"{row['slowest_s']:.1f}",
        ]
        for name, row in record["classes"].items()
    ]
    columns = ["class", "cases", "accepted", "refused", "failures", "peak memory, MiB", "slowest case, s"]
    cases = sum(row["cases"] for row in record["classes"].values())
    text = TEXT.format(cases=f"{cases:,}", seed=record["seed"], table=markdown_table(columns, rows))
    write_if_changed(FOLDER / "README.md", text)


if __name__ == "__main__":
    write_page()
