"""Run the notebooks from top to bottom, each in a fresh kernel:

    python -m tools.run_notebooks                                   # all of notebooks/, in order
    python -m tools.run_notebooks notebooks/1_load_and_visualize.ipynb --output elsewhere
    python -m tools.run_notebooks notebooks/2_define_and_train.ipynb -p EPOCHS 5
    python -m tools.run_notebooks --update                          # and renew the committed outputs

Each notebook with its outputs goes to reports/notebooks/NAME.html, its figures to reports/figures/.
The notebooks are not changed, except by --update, which needs the real data: when all have run, it
writes the outputs of cells tagged `keep_output` back, without pictures of the data set.
-p NAME VALUE changes a variable that a cell tagged `parameters` sets: for the run, a cell with the
new value follows that cell. VALUE is a Python literal, or else a string.
Without data and without a server the synthetic sample is used; KEYPOINTS_DATA=sample asks for it.
"""

import argparse
import ast
import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from queue import Empty

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from nbstripout import strip_output
from tqdm import tqdm
from traitlets import Type, default

from data_fetch import DataError, find_data
from files import atomic_path
from plots import reports_folder
from tools.check_notebooks import (
    INJECTED_TAG,
    KEEP_TAG,
    NOTEBOOKS,
    is_of_data_set,
    labelled_cells,
    problems_in,
)

PARAMETERS_TAG = "parameters"

KERNEL_START_SECONDS = 300  # the first start on a slow disk; a cell may take as long as it needs
POLL_SECONDS = 1  # between two looks for a reply
MAX_LINE = 100  # characters of a source line in a message


class NotebookError(Exception):
    """A notebook did not run to its end; the message names the cell and the error."""


class PollingChannel(AsyncZMQSocketChannel):
    """A channel on which no reply is overlooked.

    nbclient answers a widget while it waits for the reply to a cell. `send` bypasses asyncio, and takes
    the event of a reply that has just arrived with it: a wait without a time limit would then never end.
    """

    async def get_msg(self, timeout: float | None = None) -> dict:
        """The next message. timeout: seconds, None for no limit. Raises queue.Empty after `timeout`."""
        while timeout is None:
            with suppress(Empty):
                return await super().get_msg(timeout=POLL_SECONDS)
        return await super().get_msg(timeout=timeout)


class PollingClient(AsyncKernelClient):
    """A kernel client that waits for replies on a PollingChannel."""

    shell_channel_class = Type(PollingChannel)


class ThisInterpreter(AsyncKernelManager):
    """Starts the Python that runs this script, not a kernel that is installed as `python3` elsewhere."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """The specification of a kernel in this Python; none is looked up by name."""
        return KernelSpec(**get_kernel_dict())

    @default("client_factory")
    def _poll_for_replies(self) -> type:
        return PollingClient

    @default("transport_encryption")
    def _encrypt_where_possible(self) -> str:
        return "auto"  # else every kernel prints a warning


# --- parameters ----------------------------------------------------------------------------


def parse_value(text: str):
    """The Python literal that `text` is (a number, None, True, a tuple ...), or `text` itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def parameters_in(cell: NotebookNode) -> list[str]:
    """Names that a cell assigns, in order; [] unless it is a code cell tagged `parameters`."""
    if cell.cell_type != "code" or PARAMETERS_TAG not in cell.metadata.get("tags", []):
        return []
    names = []
    for line in ast.parse(cell.source).body:
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        for target in targets:
            names += [node.id for node in ast.walk(target) if isinstance(node, ast.Name)] if target else []
    return names


def check_parameters(paths: list[Path], parameters: dict) -> None:
    """Raises NotebookError for a parameter that no tagged cell of the given notebooks sets."""
    known = []
    for path in paths:
        for label, cell in labelled_cells(nbformat.read(path, as_version=4)):
            try:
                known += parameters_in(cell)
            except SyntaxError as error:
                message = f"{path}, {label}: a cell tagged {PARAMETERS_TAG} must be plain Python"
                raise NotebookError(message) from error
    unknown = [name for name in parameters if name not in known]
    if unknown:
        named = f"only {', '.join(dict.fromkeys(known))}" if known else "nothing"
        tagged = f"cells tagged {PARAMETERS_TAG} set {named}"
        raise NotebookError(f"no such parameter: {', '.join(unknown)}; {tagged}")


def inject_parameters(notebook: NotebookNode, parameters: dict) -> None:
    """After each cell tagged `parameters` insert one that sets those of `parameters` which it sets."""
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        changed = {name: parameters[name] for name in parameters_in(cell) if name in parameters}
        if changed:
            source = "\n".join(f"{name} = {value!r}" for name, value in changed.items())
            cells.append(new_code_cell(source, metadata={"tags": [INJECTED_TAG]}))
    notebook.cells = cells


# --- running -----------------------------------------------------------------------------


def run_notebook(
    path: Path, output: Path, environment: dict[str, str], parameters: dict | None = None
) -> NotebookNode:
    """Run one notebook, write OUTPUT/notebooks/NAME.html, and return it with its outputs.

    environment: of the kernel. parameters: new values of variables that its tagged cells set.
    After a failure the HTML file is NAME.failed.html and ends with the cell that failed.
    Raises NotebookError if a cell fails, KeyboardInterrupt; the kernel is stopped in every case.
    """
    notebook = nbformat.read(path, as_version=4)
    _clear(notebook)
    inject_parameters(notebook, parameters or {})
    page = output / "notebooks" / f"{path.stem}.html"
    failed_page = page.with_suffix(".failed.html")
    cells = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells)
    print(f"{path.stem}: {cells} cells", flush=True)
    started = time.monotonic()
    try:
        with tqdm(total=cells, desc=path.stem, unit="cell", leave=False, disable=None) as bar:
            asyncio.run(_Run(notebook, path, bar).execute(environment))
    except NotebookError as error:
        write_html(notebook, failed_page)
        raise NotebookError(f"{error}\n  the outputs until then: {failed_page}") from error
    write_html(notebook, page)
    failed_page.unlink(missing_ok=True)
    print(f"{path.stem}: done in {_duration(started)}, {page}", flush=True)
    return notebook


class _Run:
    """One run of a notebook in its kernel; fills in the outputs of `notebook`."""

    def __init__(self, notebook: NotebookNode, path: Path, bar: tqdm):
        self.notebook, self.path, self.bar = notebook, path, bar
        self.current, self.interrupted = "before the first cell", False

    async def execute(self, environment: dict[str, str]) -> None:
        client = NotebookClient(
            self.notebook,
            kernel_manager_class=ThisInterpreter,
            timeout=None,
            startup_timeout=KERNEL_START_SECONDS,
            iopub_timeout=60,  # large pictures on a busy machine; an output that comes late would be lost
            record_timing=False,
            coalesce_streams=True,  # one progress bar as it ended, not a line for every step
            resources={"metadata": {"path": str(self.path.parent)}},
            on_notebook_start=self._listen_for_interrupt,
            on_cell_execute=self._start_cell,
            on_cell_executed=lambda **_: self.bar.update(),
        )
        self.task = asyncio.current_task()
        clock = asyncio.create_task(self._tick())
        try:
            await client.async_execute(env=environment)
        except CellExecutionError as error:
            raise self._error(f"{error.ename}: {error.evalue}".strip()) from error
        except (RuntimeError, asyncio.CancelledError) as error:
            if self.interrupted:
                raise KeyboardInterrupt from error
            raise self._error(f"the kernel died ({error}); was there enough memory?") from error
        finally:
            clock.cancel()

    def _error(self, reason: str) -> NotebookError:
        return NotebookError(f"{self.path}, {self.current}\n  {reason}")

    def _start_cell(self, cell: NotebookNode, **_) -> None:
        label = next(label for label, other in labelled_cells(self.notebook) if other is cell)
        first_line = cell.source.strip().splitlines()[0][:MAX_LINE]
        self.current = f"{label}: {first_line}"
        self.bar.set_postfix_str(first_line[:40])

    def _listen_for_interrupt(self, **_) -> None:
        """Ctrl-C ends the cell that runs; nbclient's own handler would report a dead kernel."""

        def interrupt() -> None:
            self.interrupted = True
            self.task.cancel()

        with suppress(NotImplementedError, RuntimeError):  # Windows; not in the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)

    async def _tick(self) -> None:
        """Keep the elapsed time moving while a cell trains for minutes."""
        while True:
            await asyncio.sleep(1)
            self.bar.refresh()


def _clear(notebook: NotebookNode) -> None:
    """Remove committed outputs: after a failure they would stand below new ones as if they belonged."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def _duration(started: float) -> str:
    return str(timedelta(seconds=round(time.monotonic() - started)))


# --- what is written -----------------------------------------------------------------------


def write_html(notebook: NotebookNode, page: Path) -> None:
    """The notebook with its outputs as one HTML file."""
    exporter = HTMLExporter()
    exporter.log.setLevel(logging.ERROR)  # it asks for alternative texts, which outputs cannot have
    title = page.name.partition(".")[0]
    html, _ = exporter.from_notebook_node(deepcopy(notebook), resources={"metadata": {"name": title}})
    with atomic_path(page) as temporary:
        temporary.write_text(html, encoding="utf-8")


def committed_form(notebook: NotebookNode) -> NotebookNode:
    """A copy with the outputs of cells tagged `keep_output` and nothing else of the run; cell ids stay.

    Outputs that say they show pixels of the data set are removed from tagged cells, too.
    """
    kept = strip_output(
        deepcopy(notebook),
        keep_output=False,
        keep_count=False,
        keep_id=True,
        extra_keys=["metadata.widgets", "cell.metadata.execution", "cell.metadata.ExecuteTime"],
    )
    for cell in kept.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not is_of_data_set(output)]
    kept.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    kept.metadata.language_info = {"name": "python"}
    return kept


def kept_outputs(notebook: NotebookNode) -> list[NotebookNode]:
    """The outputs of cells tagged `keep_output`."""
    cells = [cell for cell in notebook.cells if KEEP_TAG in cell.metadata.get("tags", [])]
    return [output for cell in cells for output in cell.get("outputs", [])]


def update_notebooks(notebooks: dict[Path, NotebookNode]) -> None:
    """Write `committed_form` of each over its file: all of them, or none if one must not be committed."""
    new, refused = {}, []
    for path, notebook in notebooks.items():
        new[path] = (nbformat.writes(committed_form(notebook)).rstrip("\n") + "\n").encode()
        refused += [f"{path}: {problem}" for problem in problems_in(new[path])]
    if refused:
        raise NotebookError("\n  ".join(["not updated; these outputs must not be committed:", *refused]))
    for path, content in new.items():
        left_out = sum(map(is_of_data_set, kept_outputs(notebooks[path])))
        if left_out:
            print(f"{path}: {left_out} outputs of the data set are not stored")
        if content != path.read_bytes():
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
            print(f"{path}: updated")


# --- command line ------------------------------------------------------------------------


def run_all(paths: list[Path], output: Path, update: bool, parameters: dict) -> None:
    """Find the data, run every notebook, and with `update` write the outputs back."""
    check_parameters(paths, parameters)
    location = find_data(sample_ok=True)
    print(f"data: {location.folder} ({location.source})", flush=True)
    if location.is_sample:
        print("These are DRAWN FACES, the synthetic sample; the numbers are not results.", flush=True)
        if update:
            raise NotebookError(
                "--update needs the real data: set KEYPOINTS_DATA, or run python data_fetch.py"
            )
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    environment |= {"KEYPOINTS_DATA": str(location.folder), "KEYPOINTS_REPORTS": str(output)}
    notebooks = {path: run_notebook(path, output, environment, parameters) for path in paths}
    if update:
        update_notebooks(notebooks)


def main(arguments: list[str] | None = None) -> int:
    """Run the notebooks, return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of notebooks/")
    parser.add_argument("--output", type=Path, default=reports_folder(), help="default: reports/")
    parser.add_argument("--update", action="store_true", help="write outputs of tagged cells back")
    parser.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="repeatable",
    )
    args = parser.parse_args(arguments)
    parameters = {name: parse_value(value) for name, value in args.parameter}
    if args.update and parameters:
        parser.error("--update stores the outputs of the notebooks as they are: leave out -p")
    paths = [path.resolve() for path in args.notebooks] or sorted(NOTEBOOKS.glob("*.ipynb"))
    absent = [str(path) for path in paths or [NOTEBOOKS / "*.ipynb"] if not path.is_file()]
    if absent:
        parser.error(f"no such notebook: {', '.join(absent)}")
    started = time.monotonic()
    try:
        run_all(paths, args.output.resolve(), args.update, parameters)
    except (NotebookError, DataError, nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        print(f"run_notebooks: {error}\nFailed after {_duration(started)}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nrun_notebooks: interrupted; the notebooks are as they were.", file=sys.stderr)
        return 130
    print(f"{len(paths)} notebooks in {_duration(started)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
