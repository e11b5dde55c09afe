"""Check the outputs of the committed notebooks:

    python -m tools.check_notebooks                    # all of notebooks/
    python -m tools.check_notebooks some.ipynb ...

An output may be committed only in a cell tagged `keep_output`, and only from a run on the
real data. It must not hold pixels of the data set, which may be looked at but not published.
Every committed picture therefore carries the origin of its pixels (`plots.ORIGIN_KEY`): in the
metadata of the output, or for a PNG in the file. `plots.show` writes both. A picture of the
synthetic sample, such as the twin that `plots.show_pair` draws, needs it in the metadata.
A notebook has at most 1.5 MB.
"""

import argparse
import base64
import binascii
import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from urllib.parse import unquote

import nbformat
from PIL import Image, UnidentifiedImageError

from plots import BANNER, ORIGIN_KEY, ORIGINS

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
KEEP_TAG = "keep_output"
INJECTED_TAG = "injected-parameters"  # papermill's name
MAX_BYTES = 1_500_000
SYNTHETIC_ORIGIN, SAMPLE_RUN_ORIGIN, REFUSED_ORIGIN = ORIGINS[-3:]
SAMPLE_WORDS = BANNER.partition("(")[0].strip()  # 'synthetic sample'

# Folders of homes and temporary files on Linux and macOS; and on Windows.
MACHINE_PATH = re.compile(
    r"(?<![\w.~-])/(?:home|root|Users|work|tmp|private|mnt|opt|srv|usr|var)/[^\s'\"<]*"
    r"|\b[A-Za-z]:[\\/]+Users\b[^\s'\"<]*"
)
DATA_URI = re.compile(r"data:((?:image|video)/[\w.+-]+)([^,\"'\s>]*),([A-Za-z0-9+/=%\s]*)", re.IGNORECASE)
INLINE_PICTURE = re.compile(r"<(?:svg|canvas|video)\b", re.IGNORECASE)


def problems(path) -> list[str]:
    """The reasons why the notebook at `path` must not be committed, one sentence each; [] if it may."""
    return problems_in(Path(path).read_bytes())


def problems_in(content: bytes) -> list[str]:
    """As `problems`, of the content of a notebook file."""
    found = []
    if len(content) > MAX_BYTES:
        found.append(f"it has {len(content) / 1e6:.1f} MB, the limit is {MAX_BYTES / 1e6:.1f}: keep less")
    try:
        notebook = json.loads(content)
        nbformat.validate(deepcopy(notebook))
    except (ValueError, nbformat.ValidationError) as error:
        return [*found, f"it is no valid notebook ({str(error).strip().splitlines()[0]})"]
    found += _notebook_problems(notebook)
    for label, cell in labelled_cells(notebook):
        found += [f"{label}: {problem}" for problem in _cell_problems(cell)]
    return found


def labelled_cells(notebook: dict) -> Iterator[tuple[str, dict]]:
    """(label, cell) of each cell; the label counts code cells from 1, without injected parameters."""
    code_cells = 0
    for place, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] != "code":
            yield f"{cell['cell_type']} cell at place {place}", cell
        elif INJECTED_TAG in cell["metadata"].get("tags", []):
            yield "the cell of injected parameters", cell
        else:
            code_cells += 1
            yield f"code cell {code_cells}", cell


def text_of(value) -> str:
    """The text of a notebook's field, which holds a string or a list of lines."""
    if isinstance(value, str):
        return value
    return "".join(value) if isinstance(value, list) else json.dumps(value)


# --- notebooks and cells -----------------------------------------------------------------


def _notebook_problems(notebook: dict) -> list[str]:
    found = []
    metadata = notebook["metadata"]
    if "widgets" in metadata:
        found.append("it holds the state of widgets, which cannot be checked: remove metadata.widgets")
    kernel = metadata.get("kernelspec", {}).get("name", "python3")
    if kernel != "python3":
        found.append(f"its kernel is {kernel!r}, which others do not have: make it python3")
    identifiers = [cell.get("id") for cell in notebook["cells"]]
    if None in identifiers or len(set(identifiers)) < len(identifiers):
        found.append("cells have no id or share one; tools would give them a new one each time")
    return found


def _cell_problems(cell: dict) -> Iterator[str]:
    outputs = cell.get("outputs", [])
    if outputs and KEEP_TAG not in cell["metadata"].get("tags", []):
        yield f"has an output but no tag {KEEP_TAG}"
    if any(item.get("execution_count") is not None for item in [cell, *outputs]):
        yield "has an execution count"
    if INJECTED_TAG in cell["metadata"].get("tags", []):
        yield "was injected by a run with -p"
    for mime, picture in _pictures_in_cell(cell):
        yield from _picture_problems(mime, picture, set())
    for output in outputs:
        yield from _output_problems(output)


def _output_problems(output: dict) -> Iterator[str]:
    if output["output_type"] == "error":
        yield f"shows an error ({output.get('ename')}: {output.get('evalue')})"
    marks = set(_marks_in(output.get("metadata", {})))
    data = output.get("data", {})
    for mime, picture in _pictures_in_bundle(data):
        yield from _picture_problems(mime, picture, marks)
    texts = [text_of(value) for mime, value in data.items() if not _is_picture(mime) or mime.endswith("xml")]
    texts += [text_of(output.get(name, "")) for name in ("text", "traceback")]
    yield from _text_problems("\n".join(texts))


def _text_problems(text: str) -> Iterator[str]:
    text = DATA_URI.sub("", text)
    if SAMPLE_WORDS in text.lower():
        yield f"says {SAMPLE_WORDS!r}: committed outputs must come from the real data"
    paths = {match.group() for match in MACHINE_PATH.finditer(text)}
    # This checkout and this home, whatever their names ('/' would match every path).
    paths |= {str(path) for path in (ROOT, Path.home()) if len(path.parts) > 2 and str(path) in text}
    if paths:
        yield f"shows a path of one machine: {', '.join(sorted(paths)[:3])}"


# --- pictures ----------------------------------------------------------------------------


def is_of_data_set(output: dict) -> bool:
    """True if the output of a cell says, beside a picture or in it, that its pixels are the data set's."""
    marks = set(_marks_in(output.get("metadata", {})))
    for _, picture in _pictures_in_bundle(output.get("data", {})):
        with suppress(*UNREADABLE):
            marks |= _mark_inside(picture) if picture else set()
    return REFUSED_ORIGIN in marks


def _is_picture(mime: str) -> bool:
    return mime.startswith(("image/", "video/")) or mime == "application/pdf"


def _pictures_in_bundle(data: dict) -> Iterator[tuple[str, bytes | None]]:
    """(mime type, bytes) of all pictures in an output's data; None for a picture that is not in bytes."""
    for mime, value in data.items():
        text = text_of(value)
        if mime == "image/svg+xml" or not _is_picture(mime):
            if mime == "image/svg+xml" or INLINE_PICTURE.search(text):
                yield mime, None
            yield from _pictures_in_text(text)
        else:
            yield mime, _decode(text)


def _pictures_in_cell(cell: dict) -> Iterator[tuple[str, bytes | None]]:
    """Pictures in the cell itself: attachments, and data: addresses in its source."""
    yield from _pictures_in_text(text_of(cell["source"]))
    for bundle in cell.get("attachments", {}).values():
        yield from _pictures_in_bundle(bundle)


def _pictures_in_text(text: str) -> Iterator[tuple[str, bytes | None]]:
    for mime, options, payload in DATA_URI.findall(text):
        yield mime, _decode(unquote(payload)) if options.lower().endswith(";base64") else None


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()))
    except binascii.Error:
        return b""


def _marks_in(metadata) -> Iterator[str]:
    """Every value of ORIGIN_KEY, at any depth: `display` may put it below the mime type."""
    if isinstance(metadata, dict):
        for key, value in metadata.items():
            if key == ORIGIN_KEY:
                yield str(value)
            else:
                yield from _marks_in(value)


UNREADABLE = (UnidentifiedImageError, OSError, ValueError, SyntaxError)  # raised for damaged pictures


def _mark_inside(picture: bytes) -> set[str]:
    """The origin written into a picture file, if any. Raises one of UNREADABLE if it is damaged."""
    with Image.open(io.BytesIO(picture)) as image:
        image.load()  # a text chunk may follow the pixels
        texts = {**image.info, **getattr(image, "text", {})}
    return {str(texts[ORIGIN_KEY])} if ORIGIN_KEY in texts else set()


def _picture_problems(mime: str, picture: bytes | None, beside: set[str]) -> Iterator[str]:
    """beside: the origins in the metadata of the output that holds the picture."""
    marks = set(beside)
    if picture is not None and mime.lower().startswith("image/") and "svg" not in mime.lower():
        try:
            marks |= _mark_inside(picture)
        except UNREADABLE as error:
            yield f"has a picture ({mime}) that cannot be read: {error}"
            return
    if REFUSED_ORIGIN in marks:
        yield f"shows pixels of the data set ({mime}), which must not be published"
    elif SAMPLE_RUN_ORIGIN in marks:
        yield f"has a picture ({mime}) from a run on the synthetic sample; run it on the real data"
    elif not marks:
        yield f"has a picture ({mime}) that does not say its origin: show it with plots.show"
    elif not marks <= set(ORIGINS):
        yield f"has a picture ({mime}) of unknown origin {', '.join(sorted(marks - set(ORIGINS)))!r}"
    elif SYNTHETIC_ORIGIN in marks - beside:
        yield f"has a picture ({mime}) of the synthetic sample, and its metadata does not say so"


# --- command line ------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Check the notebooks, print the problems, return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of notebooks/")
    paths = parser.parse_args(arguments).notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    if not paths:
        print(f"check_notebooks: there is no notebook in {NOTEBOOKS}", file=sys.stderr)
        return 1
    found = [f"{path}: {problem}" for path in paths for problem in problems(path)]
    print("\n".join(found) if found else f"{len(paths)} notebooks may be committed.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
