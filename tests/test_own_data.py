"""The user's own images: what is read and skipped, training on them, measuring on them."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import evaluate as evaluate_py
import train as train_py
from data_load import identity_of, read_keypoints_csv
from detector.formats import write_pts
from training.loop import split_at_random
from training.own_data import images_trained_on, read_csv, read_own_data, read_pts_folder

TINY = ["--recipe", "naimishnet", "--set", "input_size=32", "--set", "epochs=1"]


@pytest.fixture
def mine(sample_folder, tmp_path) -> Path:
    """A folder with faces.csv and images/: the training images of the sample, 8 people."""
    folder = tmp_path / "mine"
    shutil.copytree(sample_folder / "training", folder / "images")
    shutil.copy(sample_folder / "training_frames_keypoints.csv", folder / "faces.csv")
    return folder


def rows_of(path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def write_rows(path, rows) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def damaged(mine) -> Path:
    """The same with a row that is too short, a wild point, a missing image and one that is no image."""
    rows = rows_of(mine / "faces.csv")
    rows[1] = rows[1][:50]
    rows[2][7] = "nan"
    (mine / "images" / rows[3][0]).unlink()
    (mine / "images" / rows[4][0]).write_text("no image")
    rows[5][3] = "90000"
    write_rows(mine / "faces.csv", rows)
    return mine


def test_what_cannot_be_used_is_left_out_and_named(damaged):
    rows = rows_of(damaged / "faces.csv")
    data = read_csv(damaged / "faces.csv", damaged / "images")
    assert len(data.dataset) == len(rows) - 1 - 5
    skipped = dict(data.skipped)
    assert "has 50 columns, expected 137" in skipped[f"{rows[1][0]} (row 2)"]
    assert "column 8: nan is no coordinate" in skipped[f"{rows[2][0]} (row 3)"]
    assert skipped[rows[3][0]] == f"there is no such image in {damaged / 'images'}"
    assert "image" in skipped[rows[4][0]]
    assert "more than a face outside the image" in skipped[rows[5][0]]
    table = data.table()
    assert re.search(r"^read +\d+ images, 8 different names", table)
    assert re.search(r"^skipped +5$", table, re.MULTILINE)
    assert all(name.split(" ")[0] in table for name in skipped)
    with pytest.raises(ValueError, match="row 2 has 50 columns"):  # without a list of what is skipped
        read_keypoints_csv(damaged / "faces.csv")


def test_a_folder_with_pts_files(mine):
    names, keypoints = read_keypoints_csv(mine / "faces.csv")
    for name, points in zip(names[:-1], keypoints, strict=False):
        write_pts(mine / "images" / Path(name).with_suffix(".pts"), points)
    (mine / "images" / "alone.pts").write_text("x")
    (mine / "images" / Path(names[0]).with_suffix(".pts")).write_text("version: 1\n{\n1 2\n}")
    data = read_pts_folder(mine / "images")
    assert [path.name for path in data.dataset.paths] == sorted(names[1:-1])
    order = np.argsort(names[1:-1])
    np.testing.assert_allclose(data.dataset.keypoints, keypoints[1:-1][order], atol=1e-3)
    assert dict(data.skipped) == {
        "alone.pts": "no image beside the .pts file",
        names[-1]: "no .pts file beside the image",
        Path(names[0]).with_suffix(".pts").name: "the file holds points of shape (1, 2), expected (68, 2)",
    }


def test_sources_that_are_no_data(tmp_path, mine):
    for options in ({}, {"csv_file": "a", "pts": "b"}, {"images": "a"}):
        with pytest.raises(ValueError, match="give a CSV file"):
            read_own_data(**options)
    with pytest.raises(FileNotFoundError, match="no folder of images"):
        read_own_data(pts=tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no folder of images"):
        read_own_data(mine / "faces.csv", tmp_path / "nowhere")


def test_names_tell_people_apart_or_do_not(mine):
    data = read_csv(mine / "faces.csv", mine / "images")
    assert data.split_by == "identity"
    data.check("identity")
    with pytest.raises(ValueError, match=r"images can be used, 0 cannot; at least 10000"):
        data.check("random", min_images=10_000)
    data.dataset.paths = [Path(f"IMG_{number}.jpg") for number in range(len(data.dataset))]
    assert data.split_by == "random"
    data.check("random")
    with pytest.raises(ValueError, match="give 1 people.*--split-by random"):
        data.check("identity")
    assert identity_of("portrait.jpg") == "portrait"  # without '_' each image is a person


def test_a_random_split_holds_images_out(mine):
    data = read_csv(mine / "faces.csv", mine / "images").dataset
    kept, held = split_at_random(data, 0.25)
    assert len(held) == round(0.25 * len(data))
    assert sorted(kept + held) == list(range(len(data)))
    assert split_at_random(data, 0.0) == (list(range(len(data))), [])


def test_training_and_measuring_from_20_images_on(mine, tmp_path, capsys):
    names, *rows = rows_of(mine / "faces.csv")
    rows = [names, *rows[:: len(rows) // 20][:20]]
    rows[20][0] = "missing.jpg"
    source = ["--data-csv", str(mine / "faces.csv"), "--images", str(mine / "images")]
    run = ["--run", str(tmp_path / "run")]
    write_rows(mine / "faces.csv", rows)
    assert train_py.main([*TINY, *source, *run]) == 1
    printed = capsys.readouterr()
    assert f"1 there is no such image in {mine / 'images'}: missing.jpg" in printed.out
    assert "19 images can be used, 1 cannot; at least 20 are needed" in printed.err

    rows[20][0] = rows[19][0]
    write_rows(mine / "faces.csv", rows)
    with pytest.warns(UserWarning, match="more than once"):
        assert train_py.main([*TINY, *source, *run]) == 0, capsys.readouterr().err
    assert re.search(r"NME \d+\.\d\d % on \d held-out images \(by identity", capsys.readouterr().out)
    parts = rows_of(tmp_path / "run" / "parts.csv")[1:]
    people = {part: {identity_of(path) for path, p in parts if p == part} for part in ("train", "held_out")}
    assert people["held_out"]
    assert not people["held_out"] & people["train"]
    config = json.loads((tmp_path / "run" / "checkpoint" / "config.json").read_text())
    assert (config["trained_on"], config["label_offset"]) == ("own", [0, 0])
    assert re.fullmatch(r"[0-9a-f]{16}", config["data_checksum"])

    measured = [str(tmp_path / "run" / "checkpoint"), "--csv", *source[1:], "--json"]
    with pytest.warns(UserWarning, match="more than once"):
        assert evaluate_py.main(measured) == 0
    out, err = capsys.readouterr()
    row = json.loads(out)
    assert row["n"] == 20
    assert row["leak"]  # most of these images were trained on
    assert row["images_trained_on"] == sum(part == "train" for _, part in parts)
    copies = shutil.copytree(mine / "images", tmp_path / "copies")
    folder = tmp_path / "run" / "checkpoint"
    assert (
        images_trained_on(folder, [copies / Path(path).name for path, _ in parts]) == row["images_trained_on"]
    )
    assert images_trained_on(folder, [copies / "other.jpg"]) == 0
    assert "read         20 images" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--pts", ".", "--split", "identity"], "--split is for the data set"),
        (["--pts", ".", "--data", "sample"], "--data is for the data set"),
        (["--split-by", "random"], "--split-by is for your own data"),
        (["--images", "."], "--images is for your own data"),
        (["--pts", ".", "--split-by", "none", "--validate", "0.2"], "leave it out with --split-by none"),
        (["--pts", "{nowhere}"], "no folder of images with .pts files at"),
        (["--recipe", "face_finder", "--pts", "."], "--pts is not for the face finder"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.setattr(train_py, "find_data", lambda **_: pytest.fail("the data were looked for"))
    flags = [flag.format(nowhere=tmp_path / "nowhere") for flag in flags]
    assert train_py.main(["--recipe", "naimishnet", "--run", str(tmp_path / "run"), *flags]) == 1
    assert message in capsys.readouterr().err
