"""Running and updating notebooks, and the four notebooks themselves on the synthetic sample."""

import asyncio
import json
import sys
import time

import nbformat
import pytest
import zmq.asyncio
from jupyter_client.session import Session
from nbformat.v4 import new_code_cell, new_markdown_cell
from notebook_files import printed, write
from PIL import Image

import plots
from sample_faces import write_sample
from tools import run_notebooks
from tools.check_notebooks import NOTEBOOKS, ROOT, problems

NAMES = ("1_load_and_visualize", "2_define_and_train", "3_faces_and_keypoints", "4_filters_and_uses")


# --- running -----------------------------------------------------------------------------


@pytest.fixture
def run(sample_folder, tmp_path, monkeypatch):
    """Calls run_notebooks.main on the sample, with reports in tmp_path/reports; returns the exit code."""
    monkeypatch.setenv("KEYPOINTS_DATA", str(sample_folder))

    def call(*arguments) -> int:
        return run_notebooks.main([*map(str, arguments), "--output", str(tmp_path / "reports")])

    return call


def test_a_run_writes_html_and_leaves_the_notebook_alone(run, tmp_path, sample_folder, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    path = write(
        tmp_path / "good.ipynb",
        new_code_cell("import os, sys\nprint('python', sys.executable)\nopen('here', 'w').close()"),
        new_code_cell("print('data', os.environ['KEYPOINTS_DATA'])"),
        new_code_cell("print('reports', os.environ['KEYPOINTS_REPORTS'])"),
        new_code_cell("print('backend', os.environ.get('MPLBACKEND'))"),
    )
    before = path.read_bytes()
    failed = tmp_path / "reports" / "notebooks" / "good.failed.html"
    failed.parent.mkdir(parents=True)
    failed.write_text("of an earlier run")
    assert run(path) == 0
    html = (tmp_path / "reports" / "notebooks" / "good.html").read_text()
    assert f"python {sys.executable}" in html
    assert f"data {sample_folder}\n" in html
    assert f"reports {tmp_path / 'reports'}\n" in html
    assert "backend agg" not in html  # figures would not be shown
    assert (tmp_path / "here").is_file()  # the working folder is the notebook's
    assert path.read_bytes() == before
    assert sorted(file.name for file in failed.parent.iterdir()) == ["good.html"]


def test_a_failure_names_the_notebook_the_cell_and_the_error(run, tmp_path, capsys):
    path = write(
        tmp_path / "broken.ipynb",
        new_markdown_cell("# A title"),
        new_code_cell("print('as far as ' + 'here')", outputs=[printed("stale")]),
        new_code_cell("wanted = 3\nraise ValueError('wanted 3 faces')"),
        new_code_cell("1", outputs=[printed("stale, too")]),
    )
    later = write(tmp_path / "later.ipynb", new_code_cell("open('ran', 'w').close()"))
    before = path.read_bytes()
    assert run(path, later) == 1
    told = capsys.readouterr().err
    assert f"{path}, code cell 2: wanted = 3\n  ValueError: wanted 3 faces\n" in told
    pages = tmp_path / "reports" / "notebooks"
    assert [page.name for page in pages.iterdir()] == ["broken.failed.html"]
    html = (pages / "broken.failed.html").read_text()
    assert "as far as here" in html
    assert "wanted 3 faces" in html
    assert "stale" not in html
    assert path.read_bytes() == before
    assert not (tmp_path / "ran").exists()


def test_a_dead_kernel_is_a_failure(run, tmp_path, capsys):
    assert run(write(tmp_path / "dead.ipynb", new_code_cell("import os\nos._exit(1)"))) == 1
    assert "code cell 1: import os\n  the kernel died" in capsys.readouterr().err


def test_a_reply_is_found_that_arrived_while_a_widget_was_answered():
    """The reply is in the socket's queue, but `send` has consumed the event that announces it."""

    async def exchange() -> dict:
        session = Session(key=b"key")
        with zmq.Context() as context, zmq.asyncio.Context() as asynchronous:
            kernel, socket = context.socket(zmq.ROUTER), asynchronous.socket(zmq.DEALER)
            socket.connect(f"tcp://127.0.0.1:{kernel.bind_to_random_port('tcp://127.0.0.1')}")
            with kernel, socket:
                channel = run_notebooks.PollingChannel(socket, session)
                channel.send(session.msg("execute_request"))
                client = kernel.recv_multipart()[0]
                waiting = asyncio.create_task(channel.get_msg())
                await asyncio.sleep(0.1)
                session.send(kernel, "execute_reply", ident=client)
                time.sleep(0.2)  # the event loop stands still while the reply arrives
                channel.send(session.msg("comm_msg"))
                return await asyncio.wait_for(waiting, 30)

    assert asyncio.run(exchange())["msg_type"] == "execute_reply"


def test_notebooks_are_run_with_the_channel_that_polls():
    client = run_notebooks.ThisInterpreter().client()
    assert isinstance(client.shell_channel, run_notebooks.PollingChannel)
    client.stop_channels()


def test_a_kernel_called_python3_elsewhere_is_not_used(run, tmp_path, monkeypatch):
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["false"], "display_name": "Python 3", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    assert run(write(tmp_path / "good.ipynb", new_code_cell("x = 1"))) == 0


def test_no_such_notebook(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "absent.ipynb")
    assert stop.value.code == 2
    assert "absent.ipynb" in capsys.readouterr().err


# --- parameters --------------------------------------------------------------------------

PARAMETERS = {"tags": ["parameters"]}


def test_parameters_are_set_after_the_tagged_cell(run, tmp_path):
    path = write(
        tmp_path / "some.ipynb",
        new_code_cell("EPOCHS, NAME = 3, 'a'\nRATE: float = 0.1\nSCALE = 2", metadata=PARAMETERS),
        new_code_cell("print('values', EPOCHS, repr(NAME), RATE, SCALE)"),
    )
    without = write(tmp_path / "without.ipynb", new_code_cell("EPOCHS = 7\nprint('mine', EPOCHS)"))
    before = path.read_bytes()
    assert run(path, without, "-p", "EPOCHS", "-1", "-p", "NAME", "my photo.jpg", "-p", "RATE", "None") == 0
    pages = tmp_path / "reports" / "notebooks"
    assert "values -1 'my photo.jpg' None 2" in (pages / "some.html").read_text()
    assert "mine 7" in (pages / "without.html").read_text()
    assert path.read_bytes() == before


def test_cells_are_counted_without_the_injected_one(run, tmp_path, capsys):
    cells = new_code_cell("A = 1", metadata=PARAMETERS), new_code_cell("1 / 0")
    assert run(write(tmp_path / "some.ipynb", *cells), "-p", "A", "2") == 1
    assert "code cell 2: 1 / 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("A = 1\nB = 2", "no such parameter: EPOCHS; cells tagged parameters set only A, B"),
        ("%matplotlib inline", "code cell 1: a cell tagged parameters must be plain Python"),
    ],
)
def test_a_parameter_that_no_tagged_cell_sets_is_an_error(run, tmp_path, capsys, source, message):
    cells = new_code_cell(source, metadata=PARAMETERS), new_code_cell("EPOCHS = 1\nopen('ran', 'w').close()")
    assert run(write(tmp_path / "some.ipynb", *cells), "-p", "EPOCHS", "5") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_update_refuses_parameters(run, tmp_path):
    path = write(tmp_path / "some.ipynb", new_code_cell("A = 1", metadata=PARAMETERS))
    with pytest.raises(SystemExit):
        run(path, "--update", "-p", "A", "2")


# --- updating ----------------------------------------------------------------------------


@pytest.fixture
def run_on_real_data(run, sample_folder, monkeypatch):
    """As `run`; the sample passes for real data."""
    location = run_notebooks.find_data()
    real = type(location)(location.folder, "environment")
    monkeypatch.setattr(run_notebooks, "find_data", lambda **_: real)
    return run


def test_update_keeps_the_outputs_of_tagged_cells_only(run_on_real_data, tmp_path):
    path = write(
        tmp_path / "some.ipynb",
        new_markdown_cell("# A title"),
        new_code_cell("print('not this')"),
        new_code_cell("print('this')\n6 * 7", metadata={"tags": ["keep_output"]}),
    )
    identifiers = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert run_on_real_data(path, "--update") == 0
    assert problems(path) == []
    cells = nbformat.read(path, as_version=4).cells
    assert [cell.id for cell in cells] == identifiers
    assert cells[1].outputs == []
    assert [output.output_type for output in cells[2].outputs] == ["stream", "execute_result"]
    assert cells[2].outputs[0].text == "this\n"
    assert cells[2].outputs[1].data == {"text/plain": "42"}
    written = path.read_bytes(), path.stat().st_mtime_ns
    assert run_on_real_data(path, "--update") == 0
    assert (path.read_bytes(), path.stat().st_mtime_ns) == written  # nothing new, nothing written


def test_update_changes_nothing_when_one_notebook_fails(run_on_real_data, tmp_path):
    good = write(tmp_path / "1.ipynb", new_code_cell("print(1)", metadata={"tags": ["keep_output"]}))
    bad = write(tmp_path / "2.ipynb", new_code_cell("1 / 0"))
    before = good.read_bytes(), bad.read_bytes()
    assert run_on_real_data(good, bad, "--update") == 1
    assert (good.read_bytes(), bad.read_bytes()) == before


def test_update_refuses_outputs_that_must_not_be_committed(run_on_real_data, tmp_path, capsys):
    tagged = {"tags": ["keep_output"]}
    good = write(tmp_path / "1.ipynb", new_code_cell("print(1)", metadata=tagged))
    bad = write(tmp_path / "2.ipynb", new_code_cell("print('/home/' + 'ann')", metadata=tagged))
    before = good.read_bytes(), bad.read_bytes()
    assert run_on_real_data(good, bad, "--update") == 1
    assert f"{bad}: code cell 1: shows a path of one machine" in capsys.readouterr().err
    assert (good.read_bytes(), bad.read_bytes()) == before
    assert sorted(file.suffix for file in tmp_path.iterdir() if file.is_file()) == [".ipynb", ".ipynb"]


def test_update_stores_the_twin_of_a_pair_and_not_the_real_figure(run_on_real_data, tmp_path, capsys):
    lines = f"""import sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np, plots
def draw(image):
    figure, axis = plots.new_figure(width=1, height=1)
    plots.draw_image(axis, image)
    return figure
plots.show_pair(draw, np.zeros((4, 4, 3)), np.ones((4, 4, 3)), "pair")"""
    path = write(tmp_path / "some.ipynb", new_code_cell(lines, metadata={"tags": ["keep_output"]}))
    assert run_on_real_data(path, "--update") == 0
    assert (tmp_path / "reports" / "notebooks" / "some.html").read_text().count("<img") == 2
    (output,) = nbformat.read(path, as_version=4).cells[0].outputs
    assert output.metadata == {plots.ORIGIN_KEY: "synthetic sample"}
    assert "1 outputs of the data set are not stored" in capsys.readouterr().out
    path.write_text(path.read_text().replace(str(ROOT), "."))
    assert problems(path) == []


def test_update_refuses_the_sample(run, tmp_path, capsys):
    path = write(tmp_path / "some.ipynb", new_code_cell("open('ran', 'w').close()"))
    before = path.read_bytes()
    assert run(path, "--update") == 1
    assert "needs the real data" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert not (tmp_path / "ran").exists()


# --- the four notebooks --------------------------------------------------------------------


def test_there_are_four_notebooks():
    assert tuple(path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_committed_notebook_holds_nothing_it_should_not(name):
    assert problems(NOTEBOOKS / f"{name}.ipynb") == []


@pytest.fixture(scope="module")
def whole_sample(tmp_path_factory):
    """The sample as a user without data gets it, and one reports folder for the four notebooks."""
    folder = tmp_path_factory.mktemp("notebooks")
    return write_sample(folder / "sample"), folder / "reports"


#: Parameters of the notebooks that make a test shorter, where a notebook has them.
QUICK = {"EPOCHS": "1"}


def quick_parameters(path) -> list[str]:
    """-p NAME VALUE for each of QUICK that a cell tagged `parameters` sets."""
    cells = nbformat.read(path, as_version=4).cells
    names = {name for cell in cells for name in run_notebooks.parameters_in(cell)}
    return [word for name in QUICK if name in names for word in ("-p", name, QUICK[name])]


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_on_the_synthetic_sample(name, whole_sample, monkeypatch):
    sample, reports = whole_sample
    path = NOTEBOOKS / f"{name}.ipynb"
    before = path.read_bytes()
    monkeypatch.setenv("KEYPOINTS_DATA", str(sample))
    assert run_notebooks.main([str(path), "--output", str(reports), *quick_parameters(path)]) == 0
    assert (reports / "notebooks" / f"{name}.html").is_file()
    assert path.read_bytes() == before
    origins = {
        Image.open(figure).text.get(plots.ORIGIN_KEY) for figure in (reports / "figures").glob("*.png")
    }
    assert origins, "no figure went through plots.show"
    assert origins <= set(plots.ORIGINS) - {"data set"}
