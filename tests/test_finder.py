"""The face finder: boxes by hand, losses by hand, training that resumes, and the shipped weights."""

import gc
import json
import math
import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import train
from checkpoint import (
    RUNTIMES,
    CheckpointError,
    FinderConfig,
    load_checkpoint,
    load_face_finder,
    save_checkpoint,
)
from detector import KeypointDetector, NetworkFaceFinder
from detector.face_finders import CELL_MULTIPLE, default_face_finder, finder_input, peak_boxes, suppress
from export_onnx import export_finder
from geometry import box_iou
from models import FaceFinder
from training.finder import FinderRecipe, MixedScenes, box_loss, score_loss, train_finder

# --- from cells to boxes ------------------------------------------------------------------------


def test_a_box_is_where_its_cell_says():
    model = FaceFinder(4).eval()
    maps = torch.zeros(1, 4, 2, 3)
    maps[0, :, 1, 2] = torch.tensor([0.0, 0.5, -0.25, math.log(3)])
    model.maps = lambda _: maps
    scores, boxes = model(torch.zeros(1, 1, 16, 24))
    assert scores[0, 1, 2] == 0.5
    # the cell's centre is at the edges (20, 12); 4 px to the right and 2 up; 24 px wide
    torch.testing.assert_close(boxes[0, :, 1, 2], torch.tensor([12.0, -2.0, 36.0, 22.0]))


def test_the_network_takes_any_multiple_of_32_and_refuses_the_rest():
    model = FaceFinder(4).eval()
    assert FaceFinder.multiple == CELL_MULTIPLE
    assert model(torch.zeros(2, 1, 64, 96))[1].shape == (2, 4, 8, 12)
    with pytest.raises(ValueError, match="multiples of 32, got"):
        model(torch.zeros(1, 1, 64, 90))


def test_peaks_by_hand():
    scores = np.array([[0.9, 0.8, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.6]], np.float32)
    boxes = np.arange(36, dtype=np.float32).reshape(4, 3, 3)
    found, their = peak_boxes(scores, boxes, 0.5)
    np.testing.assert_array_equal(found, [[0, 9, 18, 27], [8, 17, 26, 35]])
    np.testing.assert_allclose(their, [0.9, 0.6])


def test_of_overlapping_boxes_the_one_with_the_highest_score_stays():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], float)
    assert suppress(boxes, np.array([0.5, 0.9, 0.3])) == [1, 2]


@pytest.mark.parametrize(
    ("shape_hw", "expected", "scale"),
    [((480, 640), (256, 320), 0.5), ((100, 64), (128, 64), 1.0), ((2, 3000), (32, 320), 320 / 3000)],
)
def test_the_copy_is_reduced_and_filled_up(shape_hw, expected, scale):
    gray, scale_xy = finder_input(np.full((*shape_hw, 3), 51, np.uint8), 320)
    assert gray.shape == (1, 1, *expected)
    np.testing.assert_allclose(gray, 0.2, atol=1e-6)
    assert scale_xy[0] == pytest.approx(scale)


def test_boxes_are_in_pixels_of_the_image():
    def network(gray):
        scores, boxes = np.zeros((1, 2, 4), np.float32), np.zeros((1, 4, 2, 4), np.float32)
        scores[0, 1, 3], boxes[0, :, 1, 3] = 0.7, (8, 4, 16, 12)
        return scores, boxes

    finder = NetworkFaceFinder(network, long_side=32)
    np.testing.assert_array_equal(finder(np.zeros((64, 128, 3), np.uint8)), [[32, 16, 64, 48]])
    assert NetworkFaceFinder(network, 32, min_score=0.8)(np.zeros((9, 9, 3), np.uint8)).shape == (0, 4)
    with pytest.raises(ValueError, match="got 16, 0.15 and 100"):
        NetworkFaceFinder(network, long_side=16)


# --- losses -------------------------------------------------------------------------------------


def test_score_loss_by_hand():
    logits = torch.tensor([[[0.0, 0.0, 0.0]]])
    heat = torch.tensor([[[1.0, 0.5, -1.0]]])
    # centre: -(1/2)^2 ln(1/2); background: -(1/2)^4 (1/2)^2 ln(1/2); ignored: nothing
    expected = (0.25 + 0.0625 * 0.25) * math.log(2)
    assert score_loss(logits, heat).item() == pytest.approx(expected, rel=1e-6)


def test_box_loss_by_hand():
    maps = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    box = torch.tensor([0.0, 0.5, math.log(2)]).reshape(1, 3, 1, 1)
    # offsets: 1 and 0.5 cells of a face of 2 cells; side: ln 2
    assert box_loss(maps, box, torch.ones(1, 1, 1)).item() == pytest.approx(0.75 + math.log(2), rel=1e-6)
    assert box_loss(maps, box, torch.zeros(1, 1, 1)).item() == 0


def test_hard_negatives_are_spread_over_the_scenes():
    class Scenes:
        def __len__(self):
            return 40

        def __getitem__(self, index):
            return {"image": torch.zeros(1, 64, 64)}

    mixed = MixedScenes(Scenes(), [torch.ones(1, 64, 64)], 0.1)
    hard = [index for index in range(40) if mixed[index]["image"].max() == 1]
    assert hard == [9, 19, 29, 39]
    assert mixed[9]["heat"].shape == (8, 8)


# --- training -----------------------------------------------------------------------------------

TINY = FinderRecipe(width=4, scene_size=64, batch_size=4, steps_per_epoch=3, epochs=2, hard_pool=4)


def test_a_resumed_run_gives_the_weights_of_one_without_interruption(sample_folder, tmp_path, monkeypatch):
    options = {"split": "official", "trained_on": "sample", "progress": False}
    whole, config, history = train_finder(TINY, sample_folder, run_folder=tmp_path / "a", **options)
    assert [row["epoch"] for row in history] == [1, 2]
    assert config.trained_on == "sample"

    real = torch.optim.AdamW.step
    steps = []

    def step(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(KeyboardInterrupt):
        train_finder(TINY, sample_folder, run_folder=tmp_path / "b", **options)
    monkeypatch.undo()
    resumed, _, _ = train_finder(TINY, sample_folder, run_folder=tmp_path / "b", resume=True, **options)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    loaded, stored = load_face_finder(tmp_path / "b" / "checkpoint")
    assert stored == config
    assert torch.equal(loaded.head.weight, resumed.head.weight)


def test_the_command_trains_a_face_finder(sample_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KEYPOINTS_DATA", str(sample_folder))
    settings = ["width=4", "scene_size=64", "batch_size=2", "steps_per_epoch=1", "epochs=1", "hard_pool=0"]
    line = ["--recipe", "face_finder", "--data", "sample", "--run", str(tmp_path / "run")]
    assert train.main([*line, *(word for field in settings for word in ("--set", field))]) == 0
    assert "1 epochs" in capsys.readouterr().out
    assert train.main([*line, "--set", "scene_size=50"]) == 1
    assert "scene_size must be a whole number from 64" in capsys.readouterr().err
    assert train.main([*line, "--validate", "0.1"]) == 1
    assert "--validate is not for the face finder" in capsys.readouterr().err


# --- checkpoints --------------------------------------------------------------------------------


def test_a_face_finder_and_a_keypoint_network_are_not_mistaken_for_each_other(tmp_path):
    save_checkpoint(tmp_path, FaceFinder(4), FinderConfig(model_args={"width": 4}))
    with pytest.raises(CheckpointError, match="holds a face finder and no keypoint network"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="holds a keypoint network and no face finder"):
        load_face_finder("heatmapnet-small")
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"model_args": {"width": 400}}))
    with pytest.raises(CheckpointError, match="width must be a whole number from 4 to 128"):
        load_face_finder(tmp_path)


def test_the_onnx_file_gives_the_boxes_of_pytorch_at_any_size(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model = FaceFinder(4).eval()
    export_finder(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for height, width in ((64, 96), (128, 64)):
        images = torch.rand(1, 1, height, width)
        answers = session.run(None, {"images": images.numpy()})
        with torch.inference_mode():
            for ours, theirs in zip(model(images), answers, strict=True):
                np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-3)


# --- the shipped face finder --------------------------------------------------------------------

TRUTH = [170, 60, 291, 185]  # around the keypoints of the astronaut's face


@pytest.mark.parametrize("runtime", ["torch", "onnx", "onnx-int8"])
def test_the_face_of_the_sample_photo_is_found(sample_photo, runtime):
    finder = default_face_finder("official", runtime)
    boxes, scores = finder.scored(sample_photo)
    assert box_iou(boxes[0], TRUTH) > 0.4
    assert scores[0] > 0.5
    half = sample_photo[::2, ::2]
    assert box_iou(2 * finder(half)[0], TRUTH) > 0.4
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(finder))(sample_photo), boxes)
    with ThreadPoolExecutor(3) as threads:
        for together in threads.map(finder, [sample_photo] * 6):
            np.testing.assert_array_equal(together, boxes)


def test_the_default_is_the_finder_of_the_same_people():
    for name in ("heatmapnet-small", "heatmapnet-small-identity"):
        finder = KeypointDetector.from_pretrained(name, runtime="torch").face_detector
        assert isinstance(finder, NetworkFaceFinder)
        expected, _ = load_face_finder(name.replace("heatmapnet-small", "face_finder"))
        assert torch.equal(finder.network.model.head.weight, expected.head.weight)


def test_a_box_in_the_rows_that_were_added_is_dropped():
    def network(gray):
        scores, boxes = np.zeros((1, 8, 4), np.float32), np.zeros((1, 4, 8, 4), np.float32)
        scores[0, 2, 1], boxes[0, :, 2, 1] = 0.6, [4, 12, 20, 28]
        scores[0, 7, 1], boxes[0, :, 7, 1] = 0.9, [4, 51, 20, 67]  # below the image, which has 50 rows
        return scores, boxes

    finder = NetworkFaceFinder(network, 64)
    np.testing.assert_array_equal(finder(np.zeros((50, 32, 3), np.uint8)), [[4, 12, 20, 28]])


def test_the_int8_file_places_boxes_anywhere_in_the_image(sample_photo):
    # boxes once ended at x, y = 256 of the copy, the size of the scenes that the int8 file was calibrated on
    canvas = np.full((960, 1280, 3), 128, np.uint8)
    canvas[-sample_photo.shape[0] :, -sample_photo.shape[1] :] = sample_photo
    best = [NetworkFaceFinder.from_pretrained(runtime=name, long_side=640)(canvas)[0] for name in RUNTIMES]
    assert best[0][0] > 800
    np.testing.assert_allclose(best, np.broadcast_to(best[0], (3, 4)), atol=6)


def _search_in_a_child(finder, image, answer):
    answer.put(finder(image))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_searches_with_a_session_of_its_own(sample_photo):
    finder = NetworkFaceFinder.from_pretrained(runtime="onnx", threads=2)
    boxes = finder(sample_photo)
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=_search_in_a_child, args=(finder, sample_photo, answer))
    child.start()
    try:
        np.testing.assert_allclose(answer.get(timeout=120), boxes, atol=0.01)
    finally:
        child.kill()


def test_a_forked_process_never_ends_the_session_of_its_parent(sample_photo):
    # to end it sometimes waited for ever, for threads that are in the parent only: detect.py --workers hung
    class Session:
        ended = False

        def __del__(self):
            Session.ended = True

    finder = NetworkFaceFinder.from_pretrained(runtime="onnx")
    finder.network.session, finder.network.process = Session(), -1  # as after a fork
    assert len(finder(sample_photo))
    gc.collect()
    assert not Session.ended
