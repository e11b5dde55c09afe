"""compare.py: paired differences computed by hand, on records that are written here."""

import csv

import numpy as np
import pytest
from PIL import Image

import compare
from detector import KeypointDetector
from detector.formats import write_pts
from training.records import Evaluation, save_record

PATHS = ["training/A_1_00.jpg", "training/A_1_01.jpg", "training/B_1_00.jpg", "training/C_1_00.jpg"]
PEOPLE = ["A_1", "A_1", "B_1", "C_1"]


def shapes() -> np.ndarray:
    """Four faces (4, 68, 2) whose outer eye corners lie 100 px apart."""
    rng = np.random.default_rng(0)
    points = rng.uniform(50, 150, (4, 68, 2)).round()
    points[:, 36], points[:, 45] = (50, 100), (150, 100)
    return points


def record(folder, name: str, errors_px, faces=range(4)) -> str:
    """A stored record whose every point is wrong by so many pixels to the right; NaN is a face not found."""
    faces = list(faces)
    true = shapes()[faces]
    predicted = true + np.array(errors_px, dtype=float)[:, None, None] * [1, 0]
    evaluation = Evaluation([PATHS[i] for i in faces], [PEOPLE[i] for i in faces], predicted, true)
    save_record(folder / name, {"checkpoint": name}, evaluation, {})
    return str(folder / name)


def loaded(*stems):
    return compare.aligned([compare.load_predictor(stem, "identity", "whole") for stem in stems])


def test_the_difference_is_paired_over_faces_that_both_found(tmp_path):
    first = record(tmp_path, "first", [1, 2, 3, 4])
    other = record(tmp_path, "other", [2, 1, 6, np.nan])
    found = compare.difference(*loaded(first, other))
    assert found.faces == 3
    assert found.mean == pytest.approx((0.01 - 0.01 + 0.03) / 3, abs=1e-6)
    assert found.better == pytest.approx(1 / 3)
    assert found.low <= found.mean <= found.high


def test_faces_are_matched_by_path_whatever_their_order(tmp_path):
    first = record(tmp_path, "first", [1, 2, 3, 4])
    other = record(tmp_path, "other", [7, 3], faces=[3, 1])
    one, two = loaded(first, other)
    assert one.paths == two.paths == [PATHS[1], PATHS[3]]
    np.testing.assert_allclose(two.errors - one.errors, [0.01, 0.03], atol=1e-6)


def test_the_faces_that_differ_most_come_first(tmp_path):
    stems = [record(tmp_path, "first", [1, 2, 3, np.nan]), record(tmp_path, "other", [9, 2, 5, 1])]
    assert compare.most_different(loaded(*stems), 3) == [3, 0, 2]


def test_records_of_other_faces_or_labels_are_refused(tmp_path):
    first, other = record(tmp_path, "first", [1], faces=[0]), record(tmp_path, "other", [1], faces=[2])
    with pytest.raises(ValueError, match="no face in common"):
        loaded(first, other)


def test_the_command_writes_tables_a_curve_and_a_row_per_face(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compare, "find_images", lambda predictors: None)
    stems = [record(tmp_path, "first", [1, 2, 3, 4]), record(tmp_path, "other", [2, 1, 6, np.nan])]
    assert compare.main([*stems, "--output", str(tmp_path / "out")]) == 0
    assert "| other | 3.00 | 75.0 | +1.00" in capsys.readouterr().out
    with open(tmp_path / "out" / "faces.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["other"] for row in rows] == ["2.000", "1.000", "6.000", ""]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "ced.png", "faces.csv"}


def test_photos_are_measured_and_compared(tmp_path, sample_photo, capsys):
    points = KeypointDetector.from_pretrained("heatmapnet-small")(sample_photo)[0].keypoints
    (tmp_path / "photos").mkdir()
    for number in range(2):
        Image.fromarray(sample_photo).save(tmp_path / "photos" / f"{number}.png")
        write_pts(tmp_path / "photos" / f"{number}.pts", points + number)
    names = ["naimishnet", "heatmapnet-small"]
    where = ["--photos", str(tmp_path / "photos"), "--output", str(tmp_path / "out")]
    assert compare.main([*names, *where]) == 0
    assert "2 photos of photos, each counted as one person" in capsys.readouterr().out
    with open(tmp_path / "out" / "faces.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["0.png", "1.png"]
    assert all(float(row["heatmapnet-small"]) < float(row["naimishnet"]) < 10 for row in rows)
    assert (tmp_path / "out" / "differences.png").is_file()
    with pytest.raises(SystemExit):
        compare.main([*names, *where, "--split", "identity"])
    assert "leave out --split and --faces" in capsys.readouterr().err


def test_a_missing_record_says_how_to_make_it(capsys):
    assert compare.main(["constant", "heatmapnet", "--split", "validation"]) == 1
    assert "python evaluate.py constant --split validation --faces whole --record" in capsys.readouterr().err


def test_a_network_that_knows_the_people_is_named(capsys):
    """And not the command that evaluate.py would refuse."""
    assert compare.main(["heatmapnet-identity", "heatmapnet", "--split", "identity"]) == 1
    error = capsys.readouterr().err
    assert "compare.py: heatmapnet: trained on 'official', this checkpoint knows the people" in error
    assert "--allow-leak" not in error


def test_two_runs_have_two_names():
    names = ("heatmapnet", "runs/mine-own-0/checkpoint", "runs/other/checkpoint", "checkpoint")
    assert [compare.short_name(name) for name in names] == ["heatmapnet", "mine-own-0", "other", "checkpoint"]
