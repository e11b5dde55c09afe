"""The protocols: baselines, leaks, records, and the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evaluate as command
from checkpoint import SAVED_MODELS, ModelConfig, load_checkpoint
from data_load import load_split
from geometry import transform_points, whole_image_matrix
from training.evaluation import (
    CheckpointPredictor,
    ConstantPredictor,
    LeakError,
    NearestPredictor,
    check_leak,
    count_boxes,
    evaluate,
    first_matrices,
)
from training.metrics import summarise
from training.records import load_record

ROOT = Path(__file__).parent.parent
CONFIG = ModelConfig(model="baseline", input_size=96)


def run_command(sample_folder, *arguments):
    environment = {**os.environ, "KEYPOINTS_DATA": str(sample_folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "evaluate.py", *arguments], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_constant_predictor_is_the_mean_shape_of_the_training_frame(sample_folder):
    train = load_split(sample_folder, "identity", "train")
    predictor = ConstantPredictor(CONFIG)
    predictor.fit(train, "whole")
    shapes = [
        transform_points(k, whole_image_matrix(train.image(i).shape[:2], 96))
        for i, k in enumerate(train.keypoints)
    ]
    np.testing.assert_allclose(predictor.mean, np.mean(shapes, axis=0), atol=1e-3)


@pytest.mark.parametrize("faces", ["whole", "haar", "label_box"])
def test_baselines_on_every_axis(sample_folder, faces):
    constant = evaluate(ConstantPredictor(CONFIG), sample_folder, "identity", faces)
    assert constant.figures["n"] == len(constant.paths) == len(load_split(sample_folder, "identity", "test"))
    assert 0.05 < constant.figures["nme"] < 0.6
    low, high = constant.figures["nme_interval"]
    assert low <= constant.figures["nme"] <= high
    if faces != "haar":
        assert constant.figures["found"] == 1.0


def test_nearest_predictor_finds_the_image_itself(sample_folder):
    # trained on what it is asked about, the nearest image is the image
    train = load_split(sample_folder, "official", "train")
    predictor = NearestPredictor(CONFIG)
    predictor.fit(train, "whole")
    matrices = first_matrices(train, "whole", predictor.config)
    images = [train.image(i) for i in range(len(train))]
    np.testing.assert_allclose(predictor.predict(images, matrices), train.keypoints, atol=1e-2)


def test_largest_haar_box_is_scored_and_a_missed_face_is_counted(sample_folder):
    dataset = load_split(sample_folder, "identity", "test")

    class Two:
        def __call__(self, image):
            first = image.shape == dataset.image(0).shape
            return [] if first else [[0, 0, 50, 50]]

    matrices = first_matrices(dataset, "haar", CONFIG, Two())
    assert matrices[0] is None
    assert any(matrix is not None for matrix in matrices)
    with pytest.raises(ValueError, match="faces must be"):
        first_matrices(dataset, "half", CONFIG)


def test_count_boxes_by_hand(sample_folder):
    from geometry import box_from_keypoints, scale_box

    dataset = load_split(sample_folder, "identity", "test")
    truth = {dataset.image(i).tobytes(): i for i in range(len(dataset))}

    def perfect_and_one_more(image):
        index = truth[image.tobytes()]
        return [scale_box(box_from_keypoints(dataset.keypoints[index]), 1.2), [0, 0, 3, 3]]

    assert count_boxes(dataset, perfect_and_one_more) == (1.0, 1.0)
    assert count_boxes(dataset, lambda image: []) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("trained_on", "split", "leaks"),
    [
        ("official", "identity", True),
        ("official", "validation", True),
        ("identity", "validation", True),
        ("identity", "identity", False),
        ("validation", "identity", False),
        ("validation", "validation", False),
    ],
)
def test_leaks_are_refused_or_marked(trained_on, split, leaks):
    if leaks:
        with pytest.raises(LeakError, match="--allow-leak"):
            check_leak(trained_on, split, allow=False)
    else:
        assert check_leak(trained_on, split, allow=False) is False
    assert check_leak(trained_on, split, allow=True) is leaks


@pytest.mark.parametrize("trained_on", ["official", "identity", "sample"])
def test_official_always_leaks(trained_on):
    assert check_leak(trained_on, "official", allow=False) is True


def test_json_has_the_fields_of_the_design(sample_folder):
    done = run_command(sample_folder, "naimishnet-identity", "--json", "--data", "real")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    expected = "checkpoint model recipe seed split faces n found leak nme nme_median nme_box auc_8 fr_10"
    assert set(expected.split()) | {"regions", "params"} <= set(row)
    assert set(row["regions"]) == {"jaw", "brows", "nose", "eyes", "mouth"}
    assert row["leak"] is False
    assert row["sample"] is True
    text = run_command(sample_folder, "naimishnet-identity")
    assert "SYNTHETIC SAMPLE" in text.stdout


def test_a_leaking_evaluation_exits_with_an_error(sample_folder):
    done = run_command(sample_folder, "naimishnet", "--split", "identity")
    assert done.returncode == 1
    assert "Evaluate the -identity twin" in done.stderr
    allowed = run_command(sample_folder, "naimishnet", "--split", "identity", "--allow-leak")
    assert "[LEAKS]" in allowed.stdout
    missing = run_command(sample_folder, "nobody")
    assert missing.returncode == 1
    assert "no checkpoint named 'nobody'" in missing.stderr


def test_record_is_written_beside_the_checkpoint(sample_folder, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(SAVED_MODELS / "naimishnet-identity", copy, ignore=shutil.ignore_patterns("records"))
    done = run_command(sample_folder, str(copy), "--record", "--faces", "label_box")
    assert done.returncode == 0, done.stderr
    row, arrays = load_record(copy / "records" / "identity-label_box")
    assert row["n"] == len(arrays["predicted"])
    assert command.main.__doc__


SHIPPED = sorted(path.parent.name for path in SAVED_MODELS.glob("*/config.json"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_checkpoints_reproduce_their_records(name, real_data):
    # every eighth face anew, compared face by face; the figures follow from these by test_metrics.py
    model, config = load_checkpoint(name)
    split = "official" if config.trained_on == "official" else "identity"
    row, stored = load_record(SAVED_MODELS / name / "records" / f"{split}-whole")
    dataset = load_split(real_data, split, "test")
    assert [f"{path.parent.name}/{path.name}" for path in dataset.paths] == stored["paths"].tolist()
    np.testing.assert_allclose(stored["true"], dataset.keypoints, atol=0.01)
    picked = range(0, len(dataset), 8)
    images = [dataset.image(i) for i in picked]
    starts = [whole_image_matrix(i.shape[:2], config.input_size, config.whole_view) for i in images]
    again = CheckpointPredictor(model, config).predict(images, starts)
    before, true = stored["predicted"][list(picked)], dataset.keypoints[list(picked)]
    # another CPU or thread count rounds sums differently, and each look adds to it
    moved = np.linalg.norm(again - before, axis=-1)
    assert np.median(moved) < 0.02
    assert (moved > 0.25).mean() < 0.01
    assert summarise(again, true)["nme"] == pytest.approx(summarise(before, true)["nme"], abs=1e-4)
    assert summarise(stored["predicted"], stored["true"])["nme"] == pytest.approx(row["nme"], abs=1e-5)
