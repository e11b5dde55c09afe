"""Hand-computed errors and summaries, and records of them."""

import numpy as np
import pytest

from files import write_json
from training import metrics
from training.metrics import Metric
from training.records import Evaluation, load_record, renew_figures, save_record


def a_face(scale=1.0):
    """Keypoints with an inter-ocular distance of 100 x scale and a box of 200 x 100 (x scale)."""
    keypoints = np.zeros((68, 2))
    keypoints[:] = 50, 50
    keypoints[36], keypoints[45] = (10, 40), (110, 40)
    keypoints[0], keypoints[16], keypoints[8] = (-20, 30), (179, 30), (50, 129)
    return keypoints * scale


def test_nme_by_hand():
    true = np.stack([a_face(), a_face(2.0)])
    predicted = true + [3.0, 4.0]  # every point is 5 px off
    np.testing.assert_allclose(metrics.point_errors(predicted, true), 5.0)
    np.testing.assert_allclose(metrics.nme_per_face(predicted, true), [0.05, 0.025])


def test_one_point_counts_one_68th():
    true = a_face()[None]
    predicted = true.copy()
    predicted[0, 8, 1] += 68
    assert metrics.nme_per_face(predicted, true)[0] == pytest.approx(68 / 68 / 100)
    figures = metrics.summarise(predicted, true)
    assert figures["regions"]["jaw"] == pytest.approx(68 / 17 / 100)
    assert figures["regions"]["mouth"] == 0


def test_box_size_counts_pixels():
    # x from -20 to 179 covers 200 pixels, y from 30 to 129 covers 100
    assert metrics.label_box_size(a_face()[None])[0] == pytest.approx(np.sqrt(200 * 100))


def test_ced_auc_and_failures_by_hand():
    errors = np.array([0.02, 0.04, 0.08, 0.12])
    np.testing.assert_allclose(metrics.ced(errors, [0.0, 0.02, 0.05, 1.0]), [0, 0.25, 0.5, 1.0])
    # areas up to 0.08: (0.06 + 0.04 + 0 + 0) / 0.08 / 4
    assert metrics.auc(errors) == pytest.approx(0.3125)
    assert metrics.failure_rate(errors) == 0.25
    assert metrics.failure_rate(np.array([0.10])) == 0  # exactly 10 % is no failure


def test_a_face_not_found_is_infinitely_wrong():
    true = np.stack([a_face()] * 4)
    predicted = true + [3.0, 4.0]
    predicted[3] = np.nan
    figures = metrics.summarise(predicted, true)
    assert figures["found"] == 0.75
    assert figures["nme"] == pytest.approx(0.05)  # the mean over found faces
    assert figures["fr_10"] == 0.25
    assert figures["auc_8"] == pytest.approx(0.75 * 0.375)
    predicted[1:] = np.nan
    assert metrics.summarise(predicted, true)["nme_median"] == np.inf


def test_turn_has_sign_and_size():
    face = a_face()
    face[[0, 16]] = [[0, 50], [100, 50]]
    face[33], face[8] = (50, 60), (50, 110)
    assert metrics.yaw_ratio(face[None])[0] == pytest.approx(0)
    face[33], face[8] = (25, 60), (25, 110)
    assert metrics.yaw_ratio(face[None])[0] == pytest.approx(-0.5)
    angle = np.deg2rad(30)
    rotated = face @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    assert metrics.yaw_ratio(rotated[None])[0] == pytest.approx(-0.5, abs=0.15)
    assert metrics.yaw_ratio(np.zeros((1, 68, 2)))[0] == 2.0  # no axis: counted as turned away


def test_poses_partition_the_faces():
    true = np.stack([a_face()] * 3)
    figures = metrics.summarise(true, true)
    assert sum(pose["n"] for pose in figures["poses"].values()) == 3


def test_bootstrap_draws_identities_not_images():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(30), 20)
    errors = rng.normal(0.05, 0.02, 30)[people] + rng.normal(0, 0.001, 600)  # images of one person are alike
    low, high = metrics.bootstrap_interval(errors, people)
    assert low < errors.mean() < high
    # sigma of a mean over 30 people is 0.02 / sqrt(30) = 0.0037; over 600 images it would be 0.0008
    assert (high - low) / 2 / 1.96 == pytest.approx(0.0037, rel=0.4)
    assert metrics.bootstrap_interval(errors, people) == (low, high)
    assert np.isnan(metrics.bootstrap_interval(np.array([np.nan]), ["a"])).all()


def test_bad_shapes_and_empty_sets_are_named():
    with pytest.raises(ValueError, match=r"\(1, 68, 2\).*\(2, 68, 2\)"):
        metrics.point_errors(np.zeros((1, 68, 2)), np.zeros((2, 68, 2)))
    with pytest.raises(ValueError, match="no faces"):
        metrics.auc(np.array([]))


# --- records ------------------------------------------------------------------------------------


def an_evaluation() -> Evaluation:
    """Two faces, of which the second is not found; the points of the first are no whole hundredths."""
    true = np.stack([a_face(), a_face(2)]).astype(np.float32)
    predicted = true + np.random.default_rng(0).normal(0, 3, true.shape).astype(np.float32)
    predicted[1] = np.nan
    return Evaluation(["test/a_01.jpg", "test/b_01.jpg"], ["a", "b"], predicted, true)


def test_stored_points_give_the_stored_figures_exactly(tmp_path):
    evaluation = an_evaluation()
    save_record(tmp_path / "records" / "identity-whole", evaluation.figures, evaluation, {"seed": 0})
    row, arrays = load_record(tmp_path / "records" / "identity-whole")
    again = metrics.summarise(arrays["predicted"], arrays["true"], arrays["identities"])
    assert {name: row[name] for name in again if name != "poses"} == {
        name: value for name, value in again.items() if name != "poses"
    }
    assert row["found"] == 0.5
    assert row["provenance"] == {"seed": 0}
    assert arrays["paths"].tolist() == evaluation.paths
    np.testing.assert_array_equal(arrays["predicted"], evaluation.predicted)
    names = sorted(path.name for path in (tmp_path / "records").iterdir())
    assert names == ["identity-whole.json", "identity-whole.npz"]


def test_a_new_metric_gets_into_stored_records(tmp_path, monkeypatch):
    evaluation = an_evaluation()
    row = {"split": "identity", **evaluation.figures}
    save_record(tmp_path / "a", row, evaluation, {"seed": 0})
    assert not renew_figures(tmp_path / "a")
    worst = Metric("worst point", 2, lambda faces: float(np.nanmax(faces.distances)))
    monkeypatch.setitem(metrics.METRICS, "worst", worst)
    assert renew_figures(tmp_path / "a")
    again, arrays = load_record(tmp_path / "a")
    distances = np.linalg.norm(arrays["predicted"][0] - arrays["true"][0], axis=1)
    assert again["worst"] == pytest.approx(distances.max())
    assert {name: again[name] for name in ("split", "nme", "provenance")} == {
        "split": "identity", "nme": row["nme"], "provenance": {"seed": 0},
    }  # fmt: skip
    assert "worst point, %" in metrics.headings()


def test_figures_that_do_not_follow_from_the_points_are_renewed(tmp_path):
    evaluation = an_evaluation()
    save_record(tmp_path / "a", evaluation.figures, evaluation, {})
    row, _ = load_record(tmp_path / "a")
    write_json(tmp_path / "a.json", {**row, "nme": row["nme"] + 1e-4})
    assert renew_figures(tmp_path / "a")
    assert load_record(tmp_path / "a")[0]["nme"] == evaluation.figures["nme"]


def test_a_figure_is_printed_in_percent_with_its_interval():
    figures = {"nme": 0.0404, "nme_interval": [0.0386, 0.0423], "fr_10": 0.0084}
    assert metrics.percent(figures, "nme") == "4.04 (3.86 to 4.23)"
    assert metrics.percent(figures, "fr_10") == "0.8"


def test_area_under_roc_by_hand():
    values, positive = np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False])
    # pairs: 0.9 > 0.4, 0.9 > 0.1, 0.4 = 0.4, 0.4 > 0.1
    assert metrics.area_under_roc(values, positive) == 3.5 / 4
    assert metrics.area_under_roc(-values, positive) == 0.5 / 4
    assert np.isnan(metrics.area_under_roc(values, np.ones(4, dtype=bool)))
