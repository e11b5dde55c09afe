"""The protocols: baselines, leaks, records, and the command line."""

import json
import shutil

import numpy as np
import pytest

import evaluate as command
from checkpoint import SAVED_MODELS, ModelConfig, load_checkpoint, load_config, shipped_networks
from data_fetch import find_data
from data_load import load_split, to_labels
from detector import FixedBoxes, MultiCascadeDetector
from geometry import transform_points, whole_image_matrix
from training import evaluation, metrics
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
from training.records import config_digest, load_record, sha256_of

CONFIG = ModelConfig(model="baseline", input_size=96)


@pytest.fixture
def sample(sample_folder, monkeypatch):
    """The sample as the data that commands find."""
    monkeypatch.setenv("KEYPOINTS_DATA", str(sample_folder))
    return find_data()


@pytest.fixture
def quick(monkeypatch):
    """A row that was measured already, for what the command does with it."""
    row, arrays = load_record(SAVED_MODELS / "naimishnet-identity" / "records" / "identity-whole")
    stored = evaluation.Evaluation(*(arrays[name] for name in ("paths", "identities", "predicted", "true")))

    def measured(name, split, faces, data, *, device, allow_leak, progress):
        config = load_config(command.find_checkpoint(name))
        leak = check_leak(config.trained_on, split, allow_leak)
        place = {"checkpoint": name, "split": split, "faces": faces, "leak": leak}
        return {**row, **place, "sample": data.is_sample, "device": str(device)}, stored

    monkeypatch.setattr(command, "measure", measured)


def test_constant_predictor_is_the_mean_shape_of_the_training_frame(sample_folder):
    train = load_split(sample_folder, "identity", "train")
    predictor = ConstantPredictor(CONFIG)
    predictor.fit(train, "whole")
    shapes = [
        transform_points(k, whole_image_matrix(train.image(i).shape[:2], 96))
        for i, k in enumerate(train.keypoints)
    ]
    np.testing.assert_allclose(predictor.mean, np.mean(shapes, axis=0), atol=1e-3)


@pytest.mark.parametrize("faces", ["whole", "haar", "detector", "label_box"])
def test_baselines_on_every_axis(sample_folder, faces):
    constant = evaluate(ConstantPredictor(CONFIG), sample_folder, "identity", faces)
    assert constant.figures["n"] == len(constant.paths) == len(load_split(sample_folder, "identity", "test"))
    assert 0.05 < constant.figures["nme"] < 0.6
    low, high = constant.figures["nme_interval"]
    assert low <= constant.figures["nme"] <= high
    if faces in ("whole", "label_box"):
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


def test_the_face_finder_knows_nobody_who_is_tested(sample_folder, monkeypatch):
    asked = []
    boxes = FixedBoxes([[0, 0, 50, 50]])
    monkeypatch.setattr(evaluation, "default_face_finder", lambda split: asked.append(split) or boxes)
    evaluate(ConstantPredictor(CONFIG), sample_folder, "identity", "whole")
    assert asked == []
    evaluate(ConstantPredictor(CONFIG), sample_folder, "identity", "detector")
    assert asked == ["identity"]
    with pytest.raises(LeakError, match="the face finder was trained on people that 'validation' tests"):
        evaluate(ConstantPredictor(CONFIG), sample_folder, "validation", "detector")


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


@pytest.mark.parametrize(
    ("started_from", "split", "leaks"),
    [("official", "identity", True), ("identity", "validation", True), ("identity", "identity", False)],
)
def test_weights_that_were_started_from_leak_too(started_from, split, leaks):
    """Own images, after the weights of a shipped network: that one knows the people of the data set."""
    if leaks:
        with pytest.raises(LeakError, match=f"started from weights that were trained on '{started_from}'"):
            check_leak("own", split, allow=False, started_from=started_from)
    assert check_leak("own", split, allow=True, started_from=started_from) is leaks


@pytest.mark.parametrize("trained_on", ["official", "identity", "sample"])
def test_official_always_leaks(trained_on):
    assert check_leak(trained_on, "official", allow=False) is True


def test_the_detector_is_built_once(sample_folder, monkeypatch):
    built = []

    class Detector:
        def __init__(self, model, config, face_detector):
            assert isinstance(face_detector, MultiCascadeDetector)
            built.append(config)

        def detect_batch(self, images):
            return [[] for _ in images]

    monkeypatch.setattr(evaluation, "KeypointDetector", Detector)
    dataset = load_split(sample_folder, "identity", "test")
    assert len(dataset) > 4
    monkeypatch.setattr(evaluation, "DETECTOR_BATCH", 2)
    config = ModelConfig(model="heatmapnet", input_size=96, model_args={"uncertainty": True})
    figures = evaluate(CheckpointPredictor(None, config), sample_folder, "identity", "haar").figures
    assert figures["found"] == 0
    assert len(built) == 1


def test_json_has_the_documented_fields(sample, capsys):
    assert command.main(["naimishnet-identity", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    expected = "checkpoint model recipe seed split faces n found leak nme nme_median nme_box auc_8 fr_10"
    assert set(expected.split()) | {"regions", "params"} <= set(row)
    assert set(row["regions"]) == {"jaw", "brows", "nose", "eyes", "mouth"}
    assert row["leak"] is False
    assert row["sample"] is True


def test_a_row_is_printed_with_every_metric(sample, quick, capsys, monkeypatch):
    assert command.main(["naimishnet-identity"]) == 0
    printed = capsys.readouterr().out
    assert "SYNTHETIC SAMPLE" in printed
    assert "NME            7.49 (7.07 to 7.95) %" in printed
    monkeypatch.setitem(metrics.METRICS, "new", metrics.Metric("new one", 1, lambda faces: 0.5))
    row, _ = load_record(SAVED_MODELS / "naimishnet-identity" / "records" / "identity-whole")
    assert "new one        50.0 %" in command.describe({**row, "new": 0.5})


def test_a_leaking_evaluation_exits_with_an_error(sample, quick, capsys):
    assert command.main(["naimishnet", "--split", "identity"]) == 1
    assert "Measure one that was trained without them (train.py --split identity" in capsys.readouterr().err
    assert command.main(["naimishnet", "--split", "identity", "--allow-leak"]) == 0
    assert "[LEAKS]" in capsys.readouterr().out
    assert command.main(["nobody"]) == 1
    assert "no checkpoint named 'nobody'" in capsys.readouterr().err


def test_the_device_is_passed_on_or_refused(sample, quick, capsys):
    assert command.main(["naimishnet-identity", "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["device"] == "cpu"
    assert command.main(["naimishnet-identity", "--device", "toaster"]) == 1
    assert "device 'toaster' cannot be used" in capsys.readouterr().err


def test_record_is_written_beside_the_checkpoint(sample, quick, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(SAVED_MODELS / "naimishnet-identity", copy, ignore=shutil.ignore_patterns("records"))
    assert command.main([str(copy), "--record", "--faces", "label_box"]) == 0
    row, arrays = load_record(copy / "records" / "identity-label_box")
    assert row["n"] == len(arrays["predicted"])
    about = row["provenance"]
    assert about["weights"] == sha256_of(copy / "model.safetensors")
    assert about["config"] == config_digest(load_config(copy))
    assert about["checkpoint"] is None  # not in the repository
    assert set(about["versions"]) == {"torch", "numpy", "opencv-python"}
    assert set(about["machine"]) == {"system", "architecture", "processor", "int8"}
    assert about["renew"].endswith("--split identity --faces label_box --record")


SHIPPED = [folder.name for folder in shipped_networks()]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_checkpoints_reproduce_their_records(name, real_data):
    # every 16th face is predicted again; the figures follow from the points (test_results.py)
    model, config = load_checkpoint(name)
    split = "official" if config.trained_on == "official" else "identity"
    _, stored = load_record(SAVED_MODELS / name / "records" / f"{split}-whole")
    dataset = load_split(real_data, split, "test")
    assert [f"{path.parent.name}/{path.name}" for path in dataset.paths] == stored["paths"].tolist()
    np.testing.assert_allclose(stored["true"], dataset.keypoints, atol=0.01)
    picked = range(0, len(dataset), 16)
    images = [dataset.image(i) for i in picked]
    starts = [whole_image_matrix(i.shape[:2], config.input_size, config.whole_view) for i in images]
    again = to_labels(CheckpointPredictor(model, config).predict(images, starts), config)
    before, true = stored["predicted"][list(picked)], dataset.keypoints[list(picked)]
    # another CPU or thread count rounds sums differently, and each pass adds to it
    moved = np.linalg.norm(again - before, axis=-1)
    assert np.median(moved) < 0.02
    assert (moved > 0.25).mean() < 0.01
    assert summarise(again, true)["nme"] == pytest.approx(summarise(before, true)["nme"], abs=1e-4)
