"""Figures on photos with hand-made points: openings, offsets, and `evaluate.py --photos`."""

import json
import math

import numpy as np
import pytest

import evaluate as command
from analysis.openings import eye_opening
from checkpoint import load_checkpoint
from data_load import to_labels
from detector.formats import write_pts
from detector.predictor import predict
from files import cv2
from geometry import box_from_keypoints, interocular_distance, square_crop_matrix
from landmarks import LEFT_LID_PAIRS, RIGHT_LID_PAIRS
from sample_faces import draw_face
from training.metrics import steps_in_face
from training.photos import agreement, photo_figures


def drawn(count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Drawn faces: images, and keypoints (N, 68, 2)."""
    rng = np.random.default_rng(0)
    pairs = [draw_face(rng, size_wh=(150, 160)) for _ in range(count)]
    return [image for image, _ in pairs], np.stack([points for _, points in pairs])


def test_a_line_has_its_slope_and_a_constant_has_no_correlation():
    true = np.array([0.0, 0.1, 0.2, np.nan, 0.5])
    figures = agreement(0.2 + 0.25 * true, true)
    assert figures["correlation"] == pytest.approx(1)
    assert figures["slope"] == pytest.approx(0.25)
    flat = agreement(np.full(5, 0.3), true)
    assert flat["slope"] == pytest.approx(0)
    assert math.isnan(flat["correlation"])


def test_offsets_are_in_the_frame_of_the_face():
    # every point 3 % of the inter-ocular distance along the face's own x axis, whatever its roll
    _, true = drawn(6)
    right, left = true[:, 36], true[:, 45]
    along = (left - right) / interocular_distance(true)[:, None]
    steps = 0.03 * interocular_distance(true)[:, None] * along
    figures = photo_figures(true + steps[:, None], true)
    np.testing.assert_allclose(figures["offset"], np.tile([0.03, 0], (68, 1)), atol=1e-5)
    assert figures["nme"] == pytest.approx(0.03, abs=1e-5)
    assert figures["inner_51"] == pytest.approx(0.03, abs=1e-5)
    assert figures["eyes"]["slope"] == pytest.approx(1, abs=1e-4)


def test_lids_that_never_close_are_noticed():
    _, true = drawn(8)
    for points in true[:3]:
        for upper, lower in (*RIGHT_LID_PAIRS, *LEFT_LID_PAIRS):
            points[[upper, lower]] = points[[upper, lower]].mean(axis=0)
    predicted = true.copy()
    predicted[:3] = predicted[3]  # a face with open eyes in place of the shut ones
    figures = photo_figures(predicted, true)
    assert figures["eyes"]["n_shut"] == 6
    assert figures["eyes"]["shut"] == pytest.approx(eye_opening(true[3]).mean(), abs=1e-6)
    missing = predicted.copy()
    missing[:3] = np.nan
    assert math.isnan(photo_figures(missing, true)["eyes"]["shut"])


def test_the_command_measures_the_networks_own_answers(tmp_path, capsys):
    images, points = drawn(5)
    for number, (image, keypoints) in enumerate(zip(images, points, strict=True)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        write_pts(tmp_path / f"{number}.pts", keypoints)
    assert command.main(["heatmapnet-small", "--photos", str(tmp_path), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["faces"], row["n"], row["found"], row["leak"]) == ("photos", 5, 1.0, False)
    model, config = load_checkpoint("heatmapnet-small")
    boxes = [box_from_keypoints(face) for face in points]
    matrices = [square_crop_matrix(box, config.crop_scale, config.input_size) for box in boxes]
    own = predict(model, config, images, matrices).keypoints
    assert np.allclose(row["offset"], steps_in_face(own - points, points).mean(axis=0), atol=0.003)
    # moved to where the training labels lie, the same answers have another offset
    moved = to_labels(own, config)
    shift = steps_in_face(moved - own, points).mean(axis=(0, 1))
    assert shift[0] > 0.01
    assert command.main(["heatmapnet-small", "--photos", str(tmp_path)]) == 0
    assert "openings" in capsys.readouterr().out


def test_photos_without_points_are_an_error(tmp_path, capsys):
    assert command.main(["--photos", str(tmp_path)]) == 1
    assert f"no image with a .pts file beside it in {tmp_path}" in capsys.readouterr().err
    assert command.main(["--photos", str(tmp_path), "--record"]) == 1
    assert "--record stores measurements of a split" in capsys.readouterr().err
