"""The check of committed notebooks finds a planted fault of each kind, and nothing else."""

import base64

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from notebook_files import display, kept, picture, printed, write

import plots
from tools import check_notebooks
from tools.check_notebooks import ROOT, problems


def problems_of(tmp_path, *cells):
    return problems(write(tmp_path / "some.ipynb", new_markdown_cell("# A title"), *cells))


@pytest.mark.parametrize("origin", ["drawing", "sample photo", "synthetic sample"])
def test_marked_pictures_and_numbers_may_be_committed(tmp_path, origin):
    text = "NME 4.11 %, https://example.org/home/x, and/or/usr/bin"
    outputs = [
        display("image/png", picture(origin), origin),
        # the synthetic sample must be named in the metadata; for others the mark in a PNG is enough
        display("image/png", picture(origin), origin if origin == "synthetic sample" else None),
        display("image/jpeg", picture(image_format="jpeg"), origin),  # these hold no mark of their own
        display("image/webp", picture(image_format="webp"), origin),
        display("text/html", f"<img src='data:image/png;base64,{picture(origin)}'>", origin),
        display("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>", origin),
        new_output("execute_result", data={"text/plain": text}),
        printed("found 97.1 % in 0.4 s"),
    ]
    assert problems_of(tmp_path, new_code_cell("x = 1"), kept(*outputs)) == []


DATA_SET, PNG, JPEG = picture("data set"), picture(), picture(image_format="jpeg")
BELOW_MIME = {"image/png": {plots.ORIGIN_KEY: "data set"}}
TEMPORARY = f"Path('/{'tmp'}/a.json')"

#: Words of the message -> what is wrong -> a cell in which nothing else is wrong.
PLANTED = {
    "no tag keep_output": {
        "a picture": new_code_cell("x", outputs=[display("image/png", picture("drawing"), "drawing")]),
        "text": new_code_cell("x", outputs=[printed("1")]),
        "a drawn face": new_code_cell(
            "x", outputs=[display("image/png", picture("synthetic sample"), "synthetic sample")]
        ),
        "another tag": new_code_cell("x", outputs=[printed("1")], metadata={"tags": ["keep_it"]}),
    },
    "execution count": {
        "of a cell": new_code_cell("x", execution_count=3),
        "of a kept cell": kept(printed("1"), execution_count=3),
        "of an output": kept(new_output("execute_result", data={"text/plain": "1"}, execution_count=3)),
    },
    "shows an error (ValueError: no)": {
        "in a kept cell": kept(new_output("error", ename="ValueError", evalue="no", traceback=[])),
    },
    "pixels of the data set": {
        "said in the PNG": kept(display("image/png", DATA_SET)),
        "said in the PNG, but 'drawing' beside it": kept(display("image/png", DATA_SET, "drawing")),
        "said beside a JPEG": kept(display("image/jpeg", JPEG, "data set")),
        "said beside a WebP": kept(display("image/webp", picture(image_format="webp"), "data set")),
        "said below the mime type": kept(
            new_output("display_data", data={"image/png": PNG}, metadata=BELOW_MIME)
        ),
        "in HTML": kept(display("text/html", f'<img alt="" src="data:image/png;base64,{DATA_SET}">')),
        "in an SVG": kept(
            display(
                "image/svg+xml", f"<svg><image href='data:image/png;base64,{DATA_SET}'/></svg>", "drawing"
            )
        ),
        "in an attachment": new_markdown_cell("x", attachments={"a.png": {"image/png": DATA_SET}}),
        "in markdown": new_markdown_cell(f"![face](data:image/png;base64,{DATA_SET})"),
        "in code": new_code_cell(f"show('data:image/png;base64,{DATA_SET}')"),
    },
    "a run on the synthetic sample": {
        "a chart": kept(display("image/png", picture("sample run"), "sample run")),
        "a chart, 'drawing' beside it": kept(display("image/png", picture("sample run"), "drawing")),
    },
    "its metadata does not say so": {
        "a drawn face": kept(display("image/png", picture("synthetic sample"))),
        "a drawn face, 'drawing' beside it": kept(
            display("image/png", picture("synthetic sample"), "drawing")
        ),
        "a drawn face in markdown": new_markdown_cell(
            f"![face](data:image/png;base64,{picture('synthetic sample')})"
        ),
    },
    "injected by a run": {
        "a cell": new_code_cell("EPOCHS = 1", metadata={"tags": ["injected-parameters"]}),
    },
    "does not say its origin": {
        "PNG": kept(display("image/png", PNG)),
        "JPEG": kept(display("image/jpeg", JPEG)),
        "WebP": kept(display("image/webp", picture(image_format="webp"))),
        "SVG": kept(display("image/svg+xml", "<svg/>")),
        "PNG in HTML": kept(display("text/html", f"<img src=data:image/png;base64,{PNG}>")),
        "SVG in HTML": kept(display("text/html", "<p><svg></svg></p>")),
        "SVG in HTML, as an address": kept(
            display("text/html", "<img src='data:image/svg+xml;utf8,%3Csvg/%3E'>")
        ),
        "video in HTML": kept(display("text/html", "<img src='data:video/mp4;base64,AAAA'>")),
    },
    "unknown origin 'the net'": {"PNG": kept(display("image/png", picture("the net")))},
    "cannot be read": {"PNG": kept(display("image/png", "AAAA", "drawing"))},
    "says 'synthetic sample'": {
        "numbers": kept(printed(f"[{plots.BANNER}] NME 3 %")),
        "a table": kept(display("text/html", "<table><caption>Synthetic sample: x</caption></table>")),
    },
    "path of one machine": {
        "a home": kept(printed("wrote /home/ann/keypoints/a.json")),
        "a home on Windows": kept(printed("'C:\\\\Users\\\\ann\\\\a.json'")),
        "a temporary file": kept(new_output("execute_result", data={"text/plain": TEMPORARY})),
        "this checkout": kept(printed(f"data in {ROOT}, found")),
    },
    "the limit is 1.5": {"a large picture": kept(display("image/png", picture("drawing", noise=True)))},
}
CASES = [(words, what) for words, cells in PLANTED.items() for what in cells]


@pytest.mark.parametrize(("words", "what"), CASES, ids=[f"{words}: {what}" for words, what in CASES])
def test_each_planted_fault_is_found_alone(tmp_path, words, what):
    found = problems_of(tmp_path, PLANTED[words][what])
    assert len(found) == 1, found
    assert words in found[0]


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
    cells = new_markdown_cell("a"), new_code_cell("x"), new_code_cell("y", execution_count=1)
    bad = write(tmp_path / "bad.ipynb", *cells)
    assert check_notebooks.main([str(good)]) == 0
    assert check_notebooks.main([str(good), str(bad)]) == 1
    assert f"{bad}: code cell 2: has an execution count\n" in capsys.readouterr().out


def test_what_plots_shows_carries_its_origin(tmp_path):
    """`problems` finds the mark that plots writes."""
    for origin, expected in [("drawing", 0), ("sample photo", 0), ("data set", 1)]:
        figure, axis = plots.new_figure()
        plots.draw_image(axis, np.zeros((4, 4, 3), np.uint8), origin=origin)
        png = base64.b64encode(plots.figure_png(figure)).decode()
        plots.plt.close(figure)
        assert len(problems_of(tmp_path, kept(display("image/png", png)))) == expected, origin
