"""From the peers' answers to their table: fits, offsets, records, the pipe."""

import json
import sys

import numpy as np
import pytest

from benchmarks.peers import page as peers
from benchmarks.peers import report
from benchmarks.peers.fit import (
    BoxFit,
    Fitted,
    RidgeMap,
    fit_box,
    mesh_crop,
    mesh_in_image,
    pick_vertices,
    square_box,
)
from benchmarks.peers.worker import Worker
from data_load import FacialKeypointsDataset, load_split
from geometry import FaceFrame, box_from_keypoints, box_side, crop_matrix, transform_points
from landmarks import OUTER_EYE_CORNERS
from training.metrics import add_offset, fit_offset, nme_per_face
from training.records import load_record


@pytest.fixture(scope="module")
def faces(sample_folder) -> FacialKeypointsDataset:
    return load_split(sample_folder, "official", "train")


def turned(keypoints: np.ndarray, degrees: float, factor: float) -> np.ndarray:
    """Keypoints (N, 68, 2) turned and scaled about a place away from the face."""
    matrix = crop_matrix((10.0, 20.0), 100 / factor, 100, rotation_deg=degrees)
    return transform_points(keypoints, matrix)


# --- the face's own frame -----------------------------------------------------------------


def test_a_frame_is_upright_centred_and_of_unit_size(faces):
    frame = FaceFrame.of(turned(faces.keypoints, 40, 2.5))
    inside = frame.into(turned(faces.keypoints, 40, 2.5))
    right, left = OUTER_EYE_CORNERS
    np.testing.assert_allclose(inside.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(inside, axis=2).mean(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(inside[:, right, 1], inside[:, left, 1], atol=1e-5)
    assert (inside[:, left, 0] > inside[:, right, 0]).all()
    np.testing.assert_allclose(frame.out_of(inside), turned(faces.keypoints, 40, 2.5), atol=1e-3)


def test_a_constant_offset_is_removed_whatever_way_the_face_is_turned(faces):
    rng = np.random.default_rng(0)
    truth = np.concatenate([turned(faces.keypoints, d, s) for d, s in ((0, 1.0), (35, 0.4), (-60, 3.0))])
    offset = rng.normal(0, 0.05, (68, 2))
    offset -= offset.mean(axis=0)
    # predictions whose own frame is off by `offset`: add_offset must bring them to the truth
    predicted = truth
    truth = add_offset(predicted, offset)
    fitted = fit_offset(predicted, truth)
    np.testing.assert_allclose(fitted, offset, atol=1e-5)
    assert nme_per_face(predicted, truth).min() > 0.02
    assert nme_per_face(add_offset(predicted, fitted), truth).max() < 1e-4


def test_faces_that_were_not_found_do_not_count_and_stay_missing(faces):
    predicted = faces.keypoints.copy()
    truth = add_offset(predicted, np.full((68, 2), 0.1))
    predicted[1] = np.nan
    offset = fit_offset(predicted, truth)
    np.testing.assert_allclose(offset, 0.1, atol=1e-4)
    assert np.isnan(add_offset(predicted, offset)[1]).all()
    with pytest.raises(ValueError, match="at least one face"):
        fit_offset(np.full((2, 68, 2), np.nan), truth[:2])


# --- boxes ---------------------------------------------------------------------------------


def test_the_way_from_labels_to_a_detectors_boxes():
    # 68 points on two opposite corners of a square: centre (30, 40), each 10 * sqrt(2) away
    corners = np.array([(20.0, 30.0), (40.0, 50.0)])
    keypoints = np.stack([np.repeat(corners, 34, axis=0), np.repeat(3 * corners, 34, axis=0)])
    fit = BoxFit(0.1, -0.2, np.sqrt(2))
    found = np.stack([fit.apply(points) for points in keypoints])
    unit = 10 * np.sqrt(2)
    centre, side = (30 + 0.1 * unit, 40 - 0.2 * unit), 20.0
    np.testing.assert_allclose(found[0], square_box(centre, side), atol=1e-9)
    missed, elsewhere = np.full(4, np.nan), np.array([500.0, 500.0, 600.0, 600.0])
    again = fit_box(keypoints[[0, 1, 0, 0]], np.stack([*found, missed, elsewhere]))
    np.testing.assert_allclose(again, fit)
    with pytest.raises(ValueError, match="no detector box lies on"):
        fit_box(keypoints[:1], elsewhere[None])


def test_a_square_around_a_pixel_covers_it_evenly():
    np.testing.assert_allclose(square_box((5, 5), 3), [4, 4, 7, 7])


# --- meshes ----------------------------------------------------------------------------------


def meshes_of(keypoints: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Meshes of 80 points of which the 68 are a linear mixture (in the face's frame); the mixture."""
    rng = np.random.default_rng(seed)
    mix = np.eye(80, 68) + rng.normal(0, 0.01, (80, 68))
    mix /= mix.sum(axis=1, keepdims=True) + 1e-9
    mix[68:] = rng.dirichlet(np.ones(68), 12)
    flat = np.einsum("mk,nkd->nmd", mix, keypoints)
    depth = rng.normal(0, 1, (len(flat), 80, 1))
    return np.concatenate([flat, depth], axis=2), mix


def test_the_ridge_map_finds_a_linear_map_and_turns_with_the_face(faces):
    rng = np.random.default_rng(1)
    shapes = faces.keypoints[rng.integers(len(faces), size=600)]
    shapes = shapes + rng.normal(0, 2, shapes.shape).astype(np.float32)
    meshes, _ = meshes_of(shapes)
    ridge = RidgeMap.fit(meshes[:500], shapes[:500], OUTER_EYE_CORNERS, strength=1e-6)
    assert nme_per_face(ridge(meshes[500:]), shapes[500:]).max() < 0.02
    tilted = np.concatenate([turned(meshes[500:, :, :2], 50, 2.0), 2 * meshes[500:, :, 2:]], axis=2)
    np.testing.assert_allclose(ridge(tilted), turned(ridge(meshes[500:]), 50, 2.0), atol=0.02)
    # more strength, less fit, down to the mean shape
    stiff = RidgeMap.fit(meshes[:500], shapes[:500], OUTER_EYE_CORNERS, strength=1e6)
    assert nme_per_face(stiff(meshes[500:]), shapes[500:]).mean() > 0.03
    missing = meshes[500:502].copy()
    missing[0] = np.nan
    assert np.isnan(ridge(missing)).all(axis=(1, 2)).tolist() == [True, False]


def test_the_mesh_point_nearest_to_each_keypoint_is_picked(faces):
    order = np.random.default_rng(2).permutation(68)
    meshes = np.concatenate([faces.keypoints[:, order] + 0.2, np.zeros((len(faces), 68, 1))], axis=2)
    assert order[pick_vertices(meshes, faces.keypoints)].tolist() == list(range(68))


def test_what_was_fitted_comes_back_from_its_file(faces, tmp_path):
    meshes, _ = meshes_of(faces.keypoints)
    ridge = RidgeMap.fit(meshes, faces.keypoints, OUTER_EYE_CORNERS)
    Fitted(BoxFit(0.1, 0.2, 1.3), np.arange(68), ridge).save(tmp_path / "new" / "fitted.npz")
    again = Fitted.load(tmp_path / "new" / "fitted.npz")
    assert again.box == (0.1, 0.2, 1.3)
    assert again.vertices.tolist() == list(range(68))
    np.testing.assert_allclose(again.ridge(meshes), ridge(meshes), atol=0.1)
    with pytest.raises(FileNotFoundError, match="--steps peers"):
        Fitted.load(tmp_path / "none.npz")


def test_a_mesh_comes_back_from_its_crop(faces):
    image, keypoints = faces.image(0), faces.keypoints[0]
    crop, matrix = mesh_crop(image, box_from_keypoints(keypoints))
    assert crop.shape == (256, 256, 3)
    scale = 256 / (1.9 * box_side(box_from_keypoints(keypoints)))
    depth = np.linspace(-5, 5, 68)[:, None]
    in_crop = np.concatenate([transform_points(keypoints, matrix), scale * depth], axis=1)
    np.testing.assert_allclose(
        mesh_in_image(in_crop, matrix), np.concatenate([keypoints, depth], axis=1), atol=1e-3
    )
    assert mesh_in_image(None, matrix) is None


# --- records and tables ---------------------------------------------------------------------------


@pytest.fixture
def tiny_records(faces, tmp_path, monkeypatch):
    """Records of two methods on the sample: dlib misses a face, ours is right but for an offset."""
    monkeypatch.setattr(peers, "RECORDS", tmp_path)
    monkeypatch.setattr(report, "RECORDS", tmp_path)
    parts = {"training": faces, "identity": faces, "official": faces}
    ours = add_offset(faces.keypoints, np.full((68, 2), -0.05))
    far = faces.keypoints + np.random.default_rng(0).normal(0, 4, faces.keypoints.shape)
    far[0] = np.nan
    for split in ("identity", "official"):
        leak = split == "official"
        note = {"checkpoint": "net-identity", "runtime": "torch", "leak": leak}
        peers.store(parts, split, "net", dict.fromkeys(parts, ours), note, {"seed": 0})
        answers = dict.fromkeys(parts, far.astype(np.float32))
        peers.store(parts, split, "dlib-detector", answers, {"leak": False}, {"seed": None})
    return tmp_path


def test_the_table_has_figures_with_and_without_the_offset(tiny_records):
    dlib, net = report.error_table("identity").splitlines()[2:]
    assert dlib.startswith("| dlib | its own face detector | ")
    cells = [cell.strip() for cell in net.strip("|").split("|")]
    assert cells[:3] == ["net-identity", "whole image", "100.0"]
    assert float(cells[3].split()[0]) > 3
    assert float(cells[8].split()[0]) <= 0.02  # points are stored in hundredths of a pixel
    assert float(cells[-2]) >= 99.9  # AUC without the offset
    assert cells[-1] == "0.0"  # failures
    assert "(leaks)" in report.error_table("official").splitlines()[3]


def test_inner_points_and_missing_faces_in_a_record(tiny_records, faces):
    row, arrays = load_record(tiny_records / "identity-dlib-detector")
    figures = row["as_given"]
    assert figures["found"] == pytest.approx(1 - 1 / len(faces))
    inner = np.linalg.norm(arrays["predicted"] - arrays["true"], axis=2)[1:, 17:].mean(axis=1)
    right, left = (arrays["true"][1:, corner] for corner in OUTER_EYE_CORNERS)
    expected = (inner / np.linalg.norm(right - left, axis=1)).mean()
    assert figures["inner_51"] == pytest.approx(expected, abs=1e-4)


def test_the_speed_table_adds_the_crop_and_counts_from_dlibs_call(monkeypatch, tmp_path):
    (tmp_path / "fitted.npz").write_bytes(b"x" * 1_000_000)
    monkeypatch.setattr(report, "FITTED", tmp_path / "fitted.npz")
    common = {"libraries": 10.0, "work": 5.0, "files": {"a": 2_000_000}}
    times = {
        "dlib:box": 2.0, "dlib:detector": 50.0, "mediapipe:tracked": 4.0, "mediapipe:static": 6.0,
        "net:onnx": 1.0,
    }  # fmt: skip
    rows = {name: {"wall_ms": value, "cpu_ms": value, **common} for name, value in times.items()}
    rows |= {"crop": {"wall_ms": 0.5, "cpu_ms": 0.5}, "ridge": {"wall_ms": 0.25, "cpu_ms": 0.25}}
    lines = report.speed_table({"rows": rows}).splitlines()[2:]
    ratios = [line.split(" | ")[3] for line in lines]
    assert ratios == ["1.00", "25.00", "2.25", "3.25", "3.38", "0.50"]
    assert lines[4].endswith("| 15 (10) | 3.0 |")
    assert "net, ONNX Runtime" in lines[5]


def test_a_row_with_a_given_box_is_compared_with_rows_without_a_face_detector():
    times = {"dlib:box": 2.0, "mediapipe:tracked": 3.5, "mediapipe:static": 100.0, "net:onnx-int8": 1.0}
    rows = {name: {"wall_ms": value, "cpu_ms": value, "files": {}} for name, value in times.items()}
    rows |= {
        "dlib:detector": rows["dlib:box"],
        "crop": {"wall_ms": 0.5, "cpu_ms": 0.5},
        "ridge": rows["dlib:box"],
    }
    sentence = report.speed_sentence({"rows": rows})
    assert "`net` in 8 bits takes 0.5 times as long as dlib's predictor" in sentence
    assert "0.2 times as long as MediaPipe without its face detector" in sentence


def test_the_figures_of_a_record_follow_from_its_points(tiny_records):
    path = tiny_records / "identity-net.json"
    assert not report.renew_figures(path)
    row = json.loads(path.read_text())
    right = row["without_offset"]["nme"]
    row["without_offset"]["nme"] += 1e-3
    path.write_text(json.dumps(row))
    assert report.renew_figures(path)
    assert json.loads(path.read_text())["without_offset"]["nme"] == right


# --- the pipe ---------------------------------------------------------------------------------------


def test_a_worker_answers_like_the_detector_in_this_process(sample_photo):
    from detector import KeypointDetector

    box = (170, 60, 290, 180)
    with Worker(sys.executable, "ours", "naimishnet:torch") as worker:
        answer = worker.ask(sample_photo, box)
        footprint = worker.footprint()
    direct = KeypointDetector.from_pretrained("naimishnet")(sample_photo, boxes_xyxy=[box])[0]
    np.testing.assert_allclose(answer.points, direct.keypoints, atol=0.01)
    assert answer.box_xyxy == list(box)
    assert answer.wall_ms > 0
    assert footprint["files"]["model.safetensors"] > 1_000_000
    assert footprint["libraries"] > 0
    assert footprint["work"] > 0


def test_a_worker_that_cannot_start_says_why():
    with (
        pytest.raises(RuntimeError, match="(?s)tracked ended: .*No module named 'mediapipe'"),
        Worker(sys.executable, "mediapipe", "tracked") as worker,
    ):
        worker.ask(np.zeros((8, 8, 3), np.uint8))


def test_stored_rows_are_json(tiny_records):
    row = json.loads((tiny_records / "identity-net.json").read_text())
    assert np.array(row["offset"]).shape == (68, 2)
