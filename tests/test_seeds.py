"""train.py --seeds: runs in turn, mean and spread, the combined record."""

import json
import math
import re

import numpy as np
import pytest

import train as train_py
from landmarks import OUTER_EYE_CORNERS
from training.records import Evaluation, load_record
from training.seeds import combine, table


def evaluation(errors_px) -> Evaluation:
    """Faces that are each off by so many pixels, 100 px between the eye corners; two faces a person."""
    true = np.random.default_rng(0).uniform(10, 90, (len(errors_px), 68, 2)).astype(np.float32)
    right, left = OUTER_EYE_CORNERS
    true[:, right], true[:, left] = (0, 50), (100, 50)
    predicted = true + np.stack([errors_px, np.zeros(len(errors_px))], axis=1)[:, None, :]
    people = [str(number // 2) for number in range(len(errors_px))]
    return Evaluation([f"{n}.jpg" for n in range(len(errors_px))], people, predicted, true)


def test_mean_spread_and_interval_by_hand():
    measured = {3: evaluation([2.0, 4.0, 3.0, 3.0]), 5: evaluation([-5.0, -5.0, -5.0, -5.0])}
    record = combine(measured, {3: 0.01, 5: 0.03})
    assert [row["seed"] for row in record["seeds"]] == [3, 5]
    assert record["mean"]["training_nme"] == pytest.approx(0.02)
    assert record["mean"]["nme"] == pytest.approx(0.04)
    assert record["sd"]["nme"] == pytest.approx(0.02 / math.sqrt(2))
    assert record["sd"]["fr_10"] == 0
    assert record["interval"] == pytest.approx([0.04, 0.04])  # both people have 4 % on average
    # the points' mean is off by 1.5, 0.5, 1 and 1 pixels
    assert record["averaged"]["nme"] == pytest.approx(0.01)
    lines = table(record).splitlines()
    assert lines[0].startswith("| seed | training NME, % | NME, % | FR@10, % |")
    assert lines[2].startswith("| 3 | 1.00 | 3.00 | 0.00 |")
    assert lines[4].startswith("| mean | 2.00 | 4.00 | 0.00 |")
    assert lines[5].startswith("| SD | 1.41 | 1.41 | 0.00 |")
    assert "4 faces. The mean NME is 4.00 to 4.00 %" in lines[-1]


def test_without_held_out_faces_there_is_the_training_alone():
    record = combine({}, {0: 0.02, 1: 0.04})
    assert set(record) == {"seeds", "mean", "sd"}
    assert set(record["mean"]) == {"training_nme"}
    assert table(record).splitlines()[-1] == "| SD | 1.41 |"
    assert math.isnan(combine({}, {0: 0.02})["sd"]["training_nme"])


def test_train_py_trains_measures_and_combines(sample_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KEYPOINTS_DATA", str(sample_folder))
    base = tmp_path / "runs"
    line = ["--recipe", "naimishnet", "--set", "input_size=32", "--limit", "8", "--epochs", "1"]
    line += ["--split", "identity", "--run", str(base), "--seeds", "0", "1"]
    assert train_py.main(line) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert (
        len(re.findall(r"runs-[01].checkpoint: 1 epoch of a dry run on 8 images, training NME", printed))
        == 2
    )
    record = json.loads((tmp_path / "runs-seeds" / "seeds.json").read_text())
    assert (record["measured_on"], record["trained_on"], record["leak"]) == ("identity", "sample", False)
    assert (tmp_path / "runs-seeds" / "seeds.md").read_text().strip() in printed
    for row in record["seeds"]:
        stored, arrays = load_record(
            tmp_path / f"runs-{row['seed']}" / "checkpoint" / "records" / "identity-whole"
        )
        assert stored["nme"] == pytest.approx(row["nme"])
        assert len(arrays["true"]) == record["n"]
    assert record["mean"]["nme"] == pytest.approx(np.mean([row["nme"] for row in record["seeds"]]))
    assert train_py.main([*line, "--resume"]) == 0, capsys.readouterr().err  # nothing is trained again
    assert json.loads((tmp_path / "runs-seeds" / "seeds.json").read_text()) == record


@pytest.mark.parametrize("flags", [["--seeds", "1", "1"], ["--seeds", "1", "2", "--export", "out"]])
def test_seeds_that_cannot_be_trained_are_refused(tmp_path, monkeypatch, capsys, flags):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_py, "find_data", lambda **_: pytest.fail("the data were looked for"))
    assert train_py.main(["--recipe", "naimishnet", *flags]) == 1
    assert "--seeds takes different numbers, and no --export" in capsys.readouterr().err
