"""What committed notebooks may hold, how notebooks are run, and the four notebooks themselves."""

import base64
import io
import os
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import check_notebooks
import plots
import run_notebooks
from check_notebooks import NOTEBOOKS, ROOT, problems
from sample_faces import write_sample

NAMES = ("1_load_and_visualize", "2_define_and_train", "3_faces_and_keypoints", "4_filters_and_uses")
MARK = plots.ORIGIN_KEY


# --- what may be committed ---------------------------------------------------------------


def picture(origin=None, image_format="png", noise=False) -> str:
    """A small picture, base64, with its origin written into a PNG."""
    pixels = np.random.default_rng(0).integers(0, 256, (900, 900, 3) if noise else (4, 4, 3), dtype=np.uint8)
    info, buffer = PngInfo(), io.BytesIO()
    if origin:
        info.add_text(MARK, origin)
    Image.fromarray(pixels).save(buffer, image_format, **({"pnginfo": info} if image_format == "png" else {}))
    return base64.b64encode(buffer.getvalue()).decode()


def display(mime, value, origin=None):
    metadata = {MARK: origin} if origin else {}
    return new_output("display_data", data={mime: value}, metadata=metadata)


def printed(text):
    return new_output("stream", name="stdout", text=text)


def write(path: Path, *cells) -> Path:
    notebook = new_notebook(cells=list(cells), metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    nbformat.write(notebook, path)
    return path


def kept(*outputs, **fields):
    return new_code_cell("show()", metadata={"tags": ["keep_output"]}, outputs=list(outputs), **fields)


def problems_of(tmp_path, *cells):
    return problems(write(tmp_path / "some.ipynb", new_markdown_cell("# A title"), *cells))


@pytest.mark.parametrize("origin", ["drawing", "free photo", "sample"])
def test_marked_pictures_and_numbers_may_be_committed(tmp_path, origin):
    outputs = [
        display("image/png", picture(origin), origin),
        display("image/png", picture(origin)),  # the mark in the bytes is enough
        display("image/jpeg", picture(image_format="jpeg"), origin),  # as is the one beside them
        display("text/html", f"<img src='data:image/png;base64,{picture(origin)}'>"),
        display("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>", origin),
        new_output("execute_result", data={"text/plain": "NME 4.11 %, https://example.org/home/x, and/or/usr/bin"}),
        printed("found 97.1 % in 0.4 s"),
    ]
    assert problems_of(tmp_path, new_code_cell("x = 1"), kept(*outputs)) == []


DATA_SET_PNG = picture("data set")
SVG_AROUND = f"<svg xmlns='http://www.w3.org/2000/svg'><image href='data:image/png;base64,{DATA_SET_PNG}'/></svg>"
PLANTED = {
    # what is wrong: (the cell, words of the message)
    "picture without a tag": (
        new_code_cell("show()", outputs=[display("image/png", picture("drawing"), "drawing")]),
        ["no tag keep_output"],
    ),
    "text without a tag": (new_code_cell("show()", outputs=[printed("1")]), ["no tag keep_output"]),
    "another tag": (
        new_code_cell("show()", outputs=[printed("1")], metadata={"tags": ["keep_it"]}),
        ["no tag keep_output"],
    ),
    "execution count of a cell": (new_code_cell("x", execution_count=3), ["execution count"]),
    "execution count of a kept cell": (kept(printed("1"), execution_count=3), ["execution count"]),
    "execution count of an output": (
        kept(new_output("execute_result", data={"text/plain": "1"}, execution_count=3)),
        ["execution count"],
    ),
    "an error": (kept(new_output("error", ename="ValueError", evalue="no", traceback=[])), ["an error", "ValueError"]),
    "data set, said in the PNG": (kept(display("image/png", DATA_SET_PNG)), ["pixels of the data set"]),
    "data set in the PNG, drawing beside it": (
        kept(display("image/png", DATA_SET_PNG, "drawing")),
        ["pixels of the data set"],
    ),
    "data set, said beside a JPEG": (
        kept(display("image/jpeg", picture(image_format="jpeg"), "data set")),
        ["pixels of the data set"],
    ),
    "data set, said below the mime type": (
        kept(new_output("display_data", data={"image/png": picture()}, metadata={"image/png": {MARK: "data set"}})),
        ["pixels of the data set"],
    ),
    "data set in HTML": (
        kept(display("text/html", f'<img alt="" src="data:image/png;base64,{DATA_SET_PNG}">')),
        ["pixels of the data set"],
    ),
    "data set in an SVG": (kept(display("image/svg+xml", SVG_AROUND, "drawing")), ["pixels of the data set"]),
    "data set in an attachment": (
        new_markdown_cell("![face](attachment:a.png)", attachments={"a.png": {"image/png": DATA_SET_PNG}}),
        ["pixels of the data set"],
    ),
    "data set in markdown": (
        new_markdown_cell(f"![face](data:image/png;base64,{DATA_SET_PNG})"),
        ["pixels of the data set"],
    ),
    "PNG without a mark": (kept(display("image/png", picture())), ["does not say where it is from"]),
    "JPEG without a mark": (
        kept(display("image/jpeg", picture(image_format="jpeg"))),
        ["does not say where it is from"],
    ),
    "SVG without a mark": (kept(display("image/svg+xml", "<svg/>")), ["does not say where it is from"]),
    "HTML with an unmarked picture": (
        kept(display("text/html", f"<img src=data:image/png;base64,{picture()}>")),
        ["does not say where it is from"],
    ),
    "HTML with an unmarked SVG": (kept(display("text/html", "<p><svg></svg></p>")), ["does not say where it is from"]),
    "picture that is not base64": (
        kept(display("text/html", "<img src='data:image/svg+xml;utf8,%3Csvg/%3E'>")),
        ["does not say where it is from"],
    ),
    "an origin nobody knows": (kept(display("image/png", picture("the net"))), ["unknown origin 'the net'"]),
    "bytes that are no picture": (kept(display("image/png", "AAAA", "drawing")), ["cannot be read"]),
    "numbers of the sample": (kept(printed(f"[{plots.BANNER}] NME 3 %")), ["embedded sample"]),
    "a table of the sample": (
        kept(display("text/html", "<table><caption>Embedded sample: x</caption></table>")),
        ["embedded sample"],
    ),
    "a home": (kept(printed("wrote /home/ann/keypoints/a.json")), ["path of one machine", "/home/ann"]),
    "a home on Windows": (kept(printed("'C:\\\\Users\\\\ann\\\\a.json'")), ["path of one machine"]),
    "a temporary file": (
        kept(new_output("execute_result", data={"text/plain": f"Path('/{'tmp'}/a.json')"})),
        ["path of one machine"],
    ),
    "this checkout": (kept(printed(f"data in {ROOT}, found")), ["path of one machine", str(ROOT)]),
    "more than 1.5 MB": (kept(display("image/png", picture("drawing", noise=True))), ["the limit is 1.5"]),
}


@pytest.mark.parametrize("what", PLANTED)
def test_each_planted_fault_is_found_alone(tmp_path, what):
    cell, words = PLANTED[what]
    found = problems_of(tmp_path, cell)
    assert len(found) == 1, found
    assert all(word in found[0] for word in words), found[0]


def test_faults_of_the_whole_file_are_found(tmp_path):
    path = write(tmp_path / "some.ipynb", new_code_cell("x"), new_code_cell("y"))
    text = path.read_text()
    notebook = nbformat.from_dict(nbformat.reads(text, as_version=4))

    path.write_text(text.replace('"python3"', '"my-kernel"'))
    assert ["its kernel is 'my-kernel'" in problem for problem in problems(path)] == [True]

    path.write_text(text.replace(notebook.cells[1].id, notebook.cells[0].id))
    assert any("share one" in problem for problem in problems(path))

    notebook.metadata.widgets = {}
    nbformat.write(notebook, path)
    assert ["state of widgets" in problem for problem in problems(path)] == [True]

    path.write_text(text[:-30])
    assert ["no valid notebook" in problem for problem in problems(path)] == [True]


def test_the_command_names_the_notebook_and_the_cell(tmp_path, capsys):
    good = write(tmp_path / "good.ipynb", new_code_cell("x"))
    bad = write(tmp_path / "bad.ipynb", new_markdown_cell("a"), new_code_cell("x"), new_code_cell("y", execution_count=1))
    assert check_notebooks.main([str(good)]) == 0
    assert check_notebooks.main([str(good), str(bad)]) == 1
    assert f"{bad}: code cell 2: has an execution count\n" in capsys.readouterr().out


def test_what_plots_shows_carries_its_origin(tmp_path):
    """The mark that `problems` looks for is the one that plots writes."""
    for origin, expected in [("drawing", 0), ("free photo", 0), ("data set", 1)]:
        figure, axis = plots.new_figure()
        plots.draw_image(axis, np.zeros((4, 4, 3), np.uint8), origin=origin)
        png = base64.b64encode(plots.figure_png(figure)).decode()
        plots.plt.close(figure)
        assert len(problems_of(tmp_path, kept(display("image/png", png)))) == expected, origin


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
        new_code_cell("print('data', os.environ['KEYPOINTS_DATA'], 'reports', os.environ['KEYPOINTS_REPORTS'])"),
        new_code_cell("print('backend', os.environ.get('MPLBACKEND'))"),
    )
    before = path.read_bytes()
    failed = tmp_path / "reports" / "notebooks" / "good.failed.html"
    failed.parent.mkdir(parents=True)
    failed.write_text("of an earlier run")
    assert run(path) == 0
    html = (tmp_path / "reports" / "notebooks" / "good.html").read_text()
    assert f"python {sys.executable}" in html
    assert f"data {sample_folder} reports {tmp_path / 'reports'}" in html
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


def test_a_kernel_called_python3_elsewhere_is_not_used(run, tmp_path, monkeypatch):
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text('{"argv": ["false"], "display_name": "Python 3", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    assert run(write(tmp_path / "good.ipynb", new_code_cell("x = 1"))) == 0


def test_no_such_notebook(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "absent.ipynb")
    assert stop.value.code == 2
    assert "absent.ipynb" in capsys.readouterr().err


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


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_on_the_embedded_sample(name, whole_sample, monkeypatch):
    sample, reports = whole_sample
    path = NOTEBOOKS / f"{name}.ipynb"
    before = path.read_bytes()
    monkeypatch.setenv("KEYPOINTS_DATA", str(sample))
    assert run_notebooks.main([str(path), "--output", str(reports)]) == 0
    html = (reports / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    assert str(sample.name) in os.environ["KEYPOINTS_DATA"]
    assert "Traceback" not in html
    assert list((reports / "figures").glob("*.png"))
    assert path.read_bytes() == before
