"""Finding and checking the data, and the committed tables; for downloads see test_download.py."""

import csv
import hashlib
import os
from collections import Counter

import pytest
from small_data import NAMES, encode, put

import data_fetch
import sample_faces
from data_fetch import DataError, DataNotFoundError, check_data, data_checksum

# --- finding ------------------------------------------------------------------------------


def test_complete_data_in_the_repository_are_taken_without_a_download(find, data, small):
    put(small.files, data)
    location = find(sources=("http://127.0.0.1:9/never-asked",))
    assert (location.folder, location.source, location.is_sample) == (data, "repository", False)


def test_the_environment_goes_first_and_counts_from_the_repository(find, data, small, tmp_path, monkeypatch):
    put(small.files, data)
    mine = put(small.files, tmp_path / "mine")
    monkeypatch.setenv("KEYPOINTS_DATA", os.path.relpath(mine, data_fetch.REPOSITORY))
    monkeypatch.chdir(tmp_path)
    location = find()
    assert (location.folder, location.source) == (mine.resolve(), "environment")


@pytest.mark.parametrize("value", ["no-such-folder", "empty"])
def test_a_wrong_environment_variable_is_an_error_even_when_data_are_there(
    find, data, small, tmp_path, monkeypatch, value
):
    put(small.files, data)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("KEYPOINTS_DATA", str(tmp_path / value))
    with pytest.raises(
        DataNotFoundError, match=f"KEYPOINTS_DATA names .*{value}, but .*must be a folder with"
    ):
        find(sample_ok=True)


@pytest.mark.parametrize("how", ["environment", "argument"])
def test_the_sample_can_be_forced(find, data, small, monkeypatch, how):
    put(small.files, data)
    if how == "environment":
        monkeypatch.setenv("KEYPOINTS_DATA", "sample")
    location = find(force_sample=how == "argument")
    assert (location.folder, location.is_sample) == (data / "sample", True)
    check_data(location.folder, full=True, checksums=None)


def test_a_sample_named_as_a_folder_is_still_a_sample(find, tmp_path, monkeypatch):
    monkeypatch.setenv("KEYPOINTS_DATA", str(sample_faces.write_sample(tmp_path / "drawn")))
    assert find().is_sample


# --- checking -----------------------------------------------------------------------------


def test_the_quick_check_names_what_is_missing(small, tmp_path):
    folder = put(small.files, tmp_path / "mine")
    check_data(folder)
    for name in NAMES["training"]:
        (folder / "training" / name).unlink()
    (folder / "test" / "Bo_Ek_11.jpg").unlink()
    with pytest.raises(DataError, match=r"training/Ann_Lee_00.jpg.* and 1 more \(4 files\) cannot be found"):
        check_data(folder)


def test_the_quick_check_reads_the_csv(small, tmp_path):
    folder = put({**small.files, "test_frames_keypoints.csv": b"name,x\na.jpg,1\n"}, tmp_path / "mine")
    with pytest.raises(DataError, match="has 2 columns, expected 137"):
        check_data(folder)


def test_the_full_check_compares_pixels_and_not_containers(small, tmp_path):
    folder = put(small.files, tmp_path / "mine")
    path = "test/Ann_Lee_00.jpg"
    (folder / path).write_bytes(encode(small.images[path], ".webp"))
    csv_file = folder / "test_frames_keypoints.csv"
    csv_file.write_bytes(csv_file.read_bytes().replace(b"\n", b"\r\n"))
    check_data(folder, full=True, checksums=small.checksums)

    (folder / path).write_bytes(encode(small.images[path], ".jpg"))  # loses a little
    check_data(folder)
    with pytest.raises(DataError, match=r"original data set: test/Ann_Lee_00\.jpg"):
        check_data(folder, full=True, checksums=small.checksums)


def test_data_checksum_follows_the_labels_and_not_the_line_ends(small, tmp_path):
    folder = put(small.files, tmp_path / "mine")
    csv_file, before = folder / "training_frames_keypoints.csv", data_checksum(folder)
    csv_file.write_bytes(csv_file.read_bytes().replace(b"\n", b"\r\n"))
    assert data_checksum(folder) == before
    assert len(before) == 16
    csv_file.write_bytes(csv_file.read_bytes().replace(b"7.0", b"7.5", 1))
    assert data_checksum(folder) != before


def test_the_command_says_where_and_fails_without_a_traceback(small, tmp_path, monkeypatch, capsys):
    folder = put(small.files, tmp_path / "mine")
    monkeypatch.setenv("KEYPOINTS_DATA", str(folder))
    assert data_fetch.main([]) == 0
    assert capsys.readouterr().out == f"{folder.resolve()} (environment)\n"
    assert data_fetch.main(["--check"]) == 1  # these five images are not the public data set
    assert "more (4232 files) cannot be found" in capsys.readouterr().err
    monkeypatch.setenv("KEYPOINTS_DATA", str(tmp_path / "nowhere"))
    assert data_fetch.main([]) == 1
    assert "there is no such folder" in capsys.readouterr().err


# --- the committed tables -----------------------------------------------------------------


def rows_of(name):
    with open(data_fetch.DATA_FOLDER / name, newline="") as stream:
        return list(csv.DictReader(stream))


def test_writing_the_tables_gives_the_checksums_that_the_check_wants(small, tmp_path):
    folder = put(small.files, tmp_path / "mine")
    data_fetch.write_checksums(folder, tmp_path)
    assert data_fetch.read_checksums(tmp_path / "checksums.csv") == data_fetch.read_checksums(small.checksums)
    lines = (tmp_path / "splits.csv").read_text().splitlines()
    order = sorted(["Ann_Lee", "Bo_Ek"], key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert lines[0] == "identity,sha256,position,validation,identity_split"
    assert [line.split(",")[0] for line in lines[1:]] == order


def test_checksums_cover_every_labelled_image():
    rows = rows_of("checksums.csv")
    folders = Counter(row["path"].partition("/")[0] for row in rows)
    assert folders == {"training": 3462, "test": 770, **dict.fromkeys(data_fetch.CSV_FILES, 1)}
    assert len({row["path"] for row in rows}) == len(rows)
    assert all(len(bytes.fromhex(row["sha256"])) == 32 for row in rows)
    assert all(int(row["height"]) > 60 and int(row["width"]) > 60 for row in rows if "/" in row["path"])


def test_splits_follow_from_the_names():
    names = [row["path"].split("/") for row in rows_of("checksums.csv") if "/" in row["path"]]
    identities = {name.rsplit("_", 1)[0] for _, name in names}
    expected = []
    for position, (digest, identity) in enumerate(
        sorted((hashlib.sha256(i.encode()).hexdigest(), i) for i in identities), start=1
    ):
        validation = "" if position <= 69 else "test" if position <= 125 else "train"
        row = (identity, digest, str(position), validation, "test" if position <= 69 else "train")
        expected.append(row)
    assert [tuple(row.values()) for row in rows_of("splits.csv")] == expected


@pytest.mark.parametrize(
    ("column", "identities", "tested"),
    [
        ("validation", {"train": 222, "test": 56}, (561, 125)),
        ("identity_split", {"train": 278, "test": 69}, (681, 149)),
    ],
)
def test_splits_have_the_published_sizes(column, identities, tested):
    part_of = {row["identity"]: row[column] for row in rows_of("splits.csv")}
    counts = Counter(part_of.values())
    del counts[""]
    assert counts == identities
    names = [row["path"].split("/") for row in rows_of("checksums.csv") if "/" in row["path"]]
    held_out = Counter(folder for folder, name in names if part_of[name.rsplit("_", 1)[0]] == "test")
    assert (held_out["training"], held_out["test"]) == tested
