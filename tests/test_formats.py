"""Results as frames and files, and back again."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from data_load import FacialKeypointsDataset
from detector import Face, faces_to_supervision
from detector.formats import FORMATS, category, read_results, write_pts, write_results
from detector.results import COLUMNS, ImageFaces, from_dict, from_frame, make_face, to_dict, to_frame
from files import cv2, read_pts
from landmarks import GROUPS, JAW_LEFT, LEFT_EYE_INNER, LEFT_EYE_OUTER, MOUTH_LEFT, NOSE_TIP

COORDINATE, CONFIDENCE = 0.0005 + 1e-4, 0.00005 + 1e-9  # half of the last decimal that is written; float32


def random_face(seed, *, known=True):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-20, 3000, 2)
    return Face(
        keypoints=rng.uniform(-50, 4000, (68, 2)).astype(np.float32),
        box_xyxy=np.concatenate([corner, corner + rng.uniform(1, 500, 2)]),
        confidence=float(rng.uniform()) if known else None,
        radius=rng.uniform(0, 20, 68).astype(np.float32) if known else np.full(68, np.nan, np.float32),
        visibility=rng.uniform(0, 1, 68).astype(np.float32) if known else None,
    )


@pytest.fixture
def found():
    """Two faces, none, one without estimates, one image that could not be read."""
    return [
        ImageFaces("a, b/\"c\" 'd'\n é.jpg", (640, 480), [random_face(0), random_face(1)]),
        ImageFaces("empty.png", (1, 20_000), []),
        ImageFaces("sub/one.jpg", (4000, 3000), [random_face(2, known=False)]),
        ImageFaces("text.jpg", error="text.jpg is not an image"),
    ]


def assert_same(found, expected, *, boxes=True, estimates=True):
    assert [len(image.faces) for image in found] == [len(image.faces) for image in expected]
    for image, other in zip(found, expected, strict=True):
        for face, wanted in zip(image.faces, other.faces, strict=True):
            np.testing.assert_allclose(face.keypoints, wanted.keypoints, rtol=0, atol=COORDINATE)
            assert face.keypoints.dtype == np.float32
            if boxes:
                np.testing.assert_allclose(face.box_xyxy, wanted.box_xyxy, rtol=0, atol=2 * COORDINATE)
            if estimates:
                assert face.confidence == pytest.approx(wanted.confidence, abs=CONFIDENCE)
                np.testing.assert_allclose(face.radius, wanted.radius, rtol=0, atol=COORDINATE)
                np.testing.assert_allclose(face.visibility, wanted.visibility, rtol=0, atol=COORDINATE)


@pytest.mark.parametrize("again", [False, True], ids=["new", "over an older file"])
@pytest.mark.parametrize(
    ("name", "format", "kept"),
    [("a.json", "json", [0, 1, 2, 3]), ("a.csv", "csv", [0, 2]), ("coco.json", "coco", [0, 1, 2])],
)
def test_files_come_back(tmp_path, found, name, format, kept, again):
    path = tmp_path / "new folder" / name
    if again:
        path.parent.mkdir()
        path.write_text("old")
    write_results(iter(found), path, format)
    back, expected = read_results(path), [found[index] for index in kept]
    assert [(image.image, image.size_wh, image.error) for image in back] == [
        (image.image, image.size_wh, image.error) for image in expected
    ]
    assert_same(back, expected)
    assert os.listdir(path.parent) == [name]  # nothing is left lying beside it


def test_a_frame_has_a_row_per_face_and_comes_back(found):
    frame = to_frame(found)
    assert tuple(frame.columns) == COLUMNS
    assert frame["image"].tolist() == [found[0].image] * 2 + ["sub/one.jpg"]
    assert frame["face"].tolist() == [0, 1, 0]
    assert frame["width"].tolist() == [640, 640, 4000]
    x, y = found[0].faces[1].keypoints[NOSE_TIP]
    assert frame[f"x{NOSE_TIP}"][1] == pytest.approx(x, abs=COORDINATE)
    assert frame[f"y{NOSE_TIP}"][1] == pytest.approx(y, abs=COORDINATE)
    assert np.isnan(frame["confidence"][2])
    back = from_frame(frame)
    assert_same(back, [found[0], found[2]])
    assert [image.size_wh for image in back] == [(640, 480), (4000, 3000)]
    assert from_frame(to_frame([])) == []


def test_consecutive_images_of_one_name_stay_apart(found):
    twice = [found[2], found[2]]
    assert_same(from_frame(to_frame(twice)), twice)


def test_a_size_that_is_unknown_stays_so(tmp_path, found):
    unknown = [replace(found[0], size_wh=None)]
    for name, format in (("a.json", "json"), ("a.csv", "csv")):
        write_results(unknown, tmp_path / name, format)
        assert read_results(tmp_path / name)[0].size_wh is None
    with pytest.raises(ValueError, match="COCO needs the size"):
        write_results(unknown, tmp_path / "coco.json", "coco")
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "a.json"]


def test_files_of_release_0_2_0_have_no_visibility(tmp_path, found):
    write_results(found, tmp_path / "a.csv", "csv")
    lines = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()]
    frame = to_frame(found).drop(columns=[name for name in lines[0] if name.startswith("visibility")])
    frame.to_csv(tmp_path / "old.csv", index=False)
    values = [to_dict(image) for image in found]
    for face in (face for image in values for face in image.get("faces", [])):
        del face["visibility"]
    for old in (read_results(tmp_path / "old.csv"), [from_dict(value) for value in values]):
        faces = [face for image in old for face in image.faces]
        assert len(faces) == 3
        assert all(np.isnan(face.visibility).all() for face in faces)
        np.testing.assert_allclose(faces[1].radius, found[0].faces[1].radius, atol=COORDINATE)


# --- COCO --------------------------------------------------------------------------------


def test_coco_by_hand(tmp_path):
    points = np.zeros((68, 2), np.float32)
    points[NOSE_TIP] = 10.25, 20.5
    face = Face(points, np.array([5, 6, 15, 36]), 0.5, np.full(68, np.nan, np.float32))
    write_results(
        [ImageFaces("a.jpg", (40, 50), []), ImageFaces("b.jpg", (60, 70), [face])], tmp_path / "c", "coco"
    )
    values = json.loads((tmp_path / "c").read_text())
    assert set(values) == {"info", "licenses", "categories", "images", "annotations"}
    assert values["images"][1] == {"id": 2, "file_name": "b.jpg", "width": 60, "height": 70}
    (annotation,) = values["annotations"]
    triples = annotation.pop("keypoints")
    assert annotation == {
        "id": 1, "image_id": 2, "category_id": 1, "iscrowd": 0, "bbox": [5, 6, 10, 30], "area": 300,
        "segmentation": [], "num_keypoints": 68, "score": 0.5,
    }  # fmt: skip
    assert triples[3 * NOSE_TIP : 3 * NOSE_TIP + 3] == [10.25, 20.5, 2]
    assert len(triples) == 3 * 68
    assert all(v == 2 for v in triples[2::3])


def test_coco_marks_hidden_points_and_keeps_their_place(tmp_path):
    face = random_face(4)
    face.visibility[:] = 0.9
    face.visibility[[3, NOSE_TIP]] = 0.2
    write_results([ImageFaces("a.jpg", (40, 50), [face])], tmp_path / "c", "coco")
    (annotation,) = json.loads((tmp_path / "c").read_text())["annotations"]
    flags = annotation["keypoints"][2::3]
    assert [index for index, flag in enumerate(flags) if flag == 1] == [3, NOSE_TIP]
    assert set(flags) == {1, 2}
    assert annotation["num_keypoints"] == 68
    (back,) = read_results(tmp_path / "c")[0].faces
    np.testing.assert_array_equal(back.hidden, face.hidden)


def test_the_coco_category_names_every_point_and_joins_neighbours():
    values = category()
    assert len(set(values["keypoints"])) == 68
    assert values["keypoints"][NOSE_TIP] == "nose_bridge_3"
    lines = {tuple(line) for line in values["skeleton"]}
    assert len(lines) == len(values["skeleton"]) == 68 - len(GROUPS) + 4  # four groups are closed
    eye = (LEFT_EYE_INNER + 1, LEFT_EYE_INNER + 2)  # from 1, as COCO counts
    assert eye in lines
    assert (LEFT_EYE_OUTER + 1, MOUTH_LEFT + 1) not in lines
    assert {place for line in lines for place in line} == set(range(1, 69))


def test_pycocotools_reads_what_was_written_and_finds_it_equal_to_itself(tmp_path, found, capsys):
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    write_results(found, tmp_path / "a.json", "coco")
    values = coco.COCO(tmp_path / "a.json")
    assert [image["file_name"] for image in values.loadImgs(values.getImgIds())] == [
        image.image for image in found if not image.error
    ]
    faces = [face for image in found for face in image.faces]
    annotations = values.loadAnns(values.getAnnIds())
    for annotation, face in zip(annotations, faces, strict=True):
        points = np.reshape(annotation["keypoints"], (68, 3))
        np.testing.assert_allclose(points[:, :2], face.keypoints, rtol=0, atol=COORDINATE)
    results = [{"score": 0.5, **annotation} for annotation in annotations]
    scores = evaluation.COCOeval(values, values.loadRes(results), "keypoints")
    scores.params.kpt_oks_sigmas = np.full(68, 0.05)
    scores.evaluate(), scores.accumulate(), scores.summarize()
    assert scores.stats[0] == pytest.approx(1)  # average precision
    capsys.readouterr()


def test_coco_files_have_what_the_importer_of_cvat_asks_for(tmp_path, found):
    """Datumaro, with which CVAT reads `COCO Keypoints 1.0`, refuses items that lack a field or its type."""
    write_results(found, tmp_path / "a.json", "coco")
    values = json.loads((tmp_path / "a.json").read_text())
    asked = {
        "categories": {"id": int, "name": str, "keypoints": list, "skeleton": list},
        "images": {"id": int, "file_name": str, "width": int, "height": int},
        "annotations": {
            "id": int, "image_id": int, "category_id": int, "iscrowd": int, "keypoints": list,
            "segmentation": list, "bbox": list,
        },
    }  # fmt: skip
    for part, fields in asked.items():
        assert values[part]
        for item in values[part]:
            assert [name for name, kind in fields.items() if type(item.get(name)) is not kind] == []
    assert all("score" not in item or type(item["score"]) is float for item in values["annotations"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["annotations"][0].update(keypoints=[1, 2, 2] * 17), "51 keypoint values"),
        (lambda v: v["annotations"][0]["keypoints"].__setitem__(2, 0), "v = 0"),
        (lambda v: v["annotations"][0].update(image_id=99), "99"),
        (lambda v: v["annotations"][0].update(bbox=[0, 0, 0, 5]), "right > left"),
        (lambda v: v.pop("images"), "images"),
    ],
)
def test_coco_files_of_others(tmp_path, found, change, message):
    write_results(found, tmp_path / "a.json", "coco")
    values = json.loads((tmp_path / "a.json").read_text())
    change(values)
    (tmp_path / "a.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"a.json does not hold results.*{message}"):
        read_results(tmp_path / "a.json")


# --- .pts --------------------------------------------------------------------------------


def test_pts_files_count_from_one_and_feed_the_data_set(tmp_path):
    points = random_face(5).keypoints
    write_pts(tmp_path / "a.pts", points)
    lines = (tmp_path / "a.pts").read_text().splitlines()
    assert lines[:3] == ["version: 1", "n_points: 68", "{"]
    assert lines[3] == f"{points[0, 0] + 1:.3f} {points[0, 1] + 1:.3f}"
    assert lines[-1] == "}"
    np.testing.assert_allclose(read_pts(tmp_path / "a.pts"), points, rtol=0, atol=COORDINATE)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 9, 3), np.uint8))
    dataset = FacialKeypointsDataset.from_pts(tmp_path)
    np.testing.assert_allclose(dataset[0]["keypoints"], points, rtol=0, atol=COORDINATE)


def test_a_folder_of_pts_files_comes_back(tmp_path):
    faces = [random_face(seed) for seed in range(14)]
    found = [
        ImageFaces("in/b.jpg", (9, 9), faces[:12]),  # face10 comes after face9
        ImageFaces("in/deep/a.jpg", (9, 9), faces[12:13]),
        ImageFaces("in/none.jpg", (9, 9), []),
    ]
    (tmp_path / "pts").mkdir()
    (tmp_path / "pts" / "old.pts").write_text("from another run")
    write_results(found, tmp_path / "pts", "pts")
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.pts"))
    expected = {"pts/b.jpg.pts", "pts/b.jpg.face1.pts", "pts/b.jpg.face11.pts", "pts/deep/a.jpg.pts"}
    assert expected < set(files)
    assert len(files) == 13
    back = read_results(tmp_path / "pts")
    assert [image.image for image in back] == ["b.jpg", "deep/a.jpg"]
    assert_same(back, found[:2], boxes=False, estimates=False)
    assert os.listdir(tmp_path) == ["pts"]
    assert_same(
        read_results(tmp_path / "pts" / "deep" / "a.jpg.pts"), [found[1]], boxes=False, estimates=False
    )


def test_pts_files_of_alike_names_stay_apart_and_come_back(tmp_path):
    """a.jpg and a.png; and an image that is called like the second face of another."""
    counts = {"a.face1.jpg": 1, "a.jpg": 2, "a.png": 1, "a.png.jpg": 1}
    found = [
        ImageFaces(f"in/{name}", (9, 9), [random_face(10 * row + i) for i in range(count)])
        for row, (name, count) in enumerate(counts.items())
    ]
    write_results(found, tmp_path / "pts", "pts", base="in")
    back = read_results(tmp_path / "pts")
    assert [image.image for image in back] == list(counts)
    assert_same(back, found, boxes=False, estimates=False)


def test_nothing_but_results_is_replaced(tmp_path, found):
    (tmp_path / "pts").mkdir()
    (tmp_path / "pts" / "photo.jpg").write_text("mine")
    (tmp_path / "faces.json").mkdir()
    (tmp_path / "file").write_text("mine")
    for name, format in (("pts", "pts"), ("faces.json", "json"), ("file", "pts")):
        with pytest.raises(ValueError, match="replace"):
            write_results(found, tmp_path / name, format)
    assert (tmp_path / "pts" / "photo.jpg").read_text() == (tmp_path / "file").read_text() == "mine"


def test_a_pts_file_that_cannot_be_written_is_one_image(tmp_path):
    deep = "/".join(["d" * 200] * 30)  # longer than a path may be
    found = [ImageFaces(name, (9, 9), [random_face(0)]) for name in (f"in/{deep}/a.jpg", "in/b.jpg")]
    problems = []
    write_results(found, tmp_path / "pts", "pts", base="in", report=lambda *problem: problems.append(problem))
    assert [name for name, _ in problems] == [found[0].image]
    assert [image.image for image in read_results(tmp_path / "pts")] == ["b.jpg"]


def test_one_image_in_two_spellings_is_an_error(tmp_path):
    found = [ImageFaces(name, (9, 9), [random_face(0)]) for name in ("in/a.jpg", "in/../in/a.jpg")]
    with pytest.raises(ValueError, match="there twice"):
        write_results(found, tmp_path / "pts", "pts")
    assert os.listdir(tmp_path) == []


def test_a_carriage_return_in_a_name_comes_back(tmp_path):
    found = [ImageFaces("a\rb.jpg", (9, 9), [random_face(0)])]
    write_results(found, tmp_path / "a.csv", "csv")
    assert [image.image for image in read_results(tmp_path / "a.csv")] == ["a\rb.jpg"]


# --- one face, and supervision --------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_a_face_as_a_dictionary_comes_back_through_json(known):
    face = random_face(3, known=known)
    values = json.loads(json.dumps(face.to_dict(), allow_nan=False))
    assert list(values) == ["box_xyxy", "confidence", "keypoints", "radius", "visibility"]
    unknown = [values[name] is None for name in ("confidence", "radius", "visibility")]
    assert unknown == [not known] * 3
    one, back = ImageFaces("a", (9, 9), [face]), ImageFaces("a", (9, 9), [make_face(**values)])
    assert_same([back], [one])
    assert to_dict(one)["faces"] == [face.to_dict()]


def test_supervision_by_hand():
    supervision = pytest.importorskip("supervision")
    points = np.zeros((68, 2), np.float32)
    points[JAW_LEFT], points[NOSE_TIP] = (99, 0), (40, 30)  # the face is 100 px wide
    radius = np.full(68, 5.0, np.float32)
    radius[NOSE_TIP] = 10
    face = Face(points, np.array([0, 0, 100, 50]), 0.75, radius)
    key_points = faces_to_supervision([face, face])
    assert isinstance(key_points, supervision.KeyPoints)
    np.testing.assert_array_equal(key_points.xy, [points, points])
    np.testing.assert_array_equal(key_points.detection_confidence, np.float32([0.75, 0.75]))
    # 5 % of 100 px are 5 px. A radius of 5 px holds 90 %; half a radius holds 1 - 0.1 ** 0.25
    expected = np.full((2, 68), 0.9)
    expected[:, NOSE_TIP] = 1 - 0.1**0.25
    np.testing.assert_allclose(key_points.keypoint_confidence, expected, rtol=1e-5)
    sure = key_points[key_points.detection_confidence > 0.8]
    assert len(sure) == 0


def test_supervision_draws_the_faces_and_takes_none_and_unknown_ones():
    supervision = pytest.importorskip("supervision")
    lines = supervision.EdgeAnnotator(edges=category()["skeleton"])
    unknown = faces_to_supervision([random_face(2, known=False)])
    assert unknown.keypoint_confidence is None
    assert unknown.detection_confidence is None
    scene = np.zeros((4100, 4100, 3), np.uint8)
    assert lines.annotate(scene.copy(), unknown).any()
    none = faces_to_supervision([])
    assert none.xy.shape == (0, 68, 2)
    assert not lines.annotate(scene.copy(), none).any()


# --- what goes wrong ---------------------------------------------------------------------


def test_what_is_written_replaces_only_once_it_is_whole(tmp_path):
    (tmp_path / "a.json").write_text("before")

    def broken():
        yield ImageFaces("a.jpg", (4, 4), [])
        raise RuntimeError("the disk is gone")

    class Broken:
        __iter__ = staticmethod(broken)

    with pytest.raises(RuntimeError, match="disk"):
        write_results(Broken(), tmp_path / "a.json", "json")
    assert (tmp_path / "a.json").read_text() == "before"
    with pytest.raises(RuntimeError, match="disk"):
        write_results(Broken(), tmp_path / "pts", "pts", base=".")
    assert os.listdir(tmp_path) == ["a.json"]


def test_wrong_formats_and_files(tmp_path, found):
    with pytest.raises(ValueError, match=f"one of {', '.join(FORMATS)}, got 'xml'"):
        write_results(found, tmp_path / "a.xml", "xml")
    with pytest.raises(FileNotFoundError, match="no results at"):
        read_results(tmp_path / "nowhere.json")
    for name, content, message in [
        ("a.json", "{", "a.json does not hold results"),
        ("b.json", "[1]", "b.json does not hold results: expected .*'faces'"),
        ("c.json", "5", "c.json does not hold results"),
        ("d.csv", "image,x0\na,1\n", "columns .* are missing"),
        ("e.csv", "", "columns .* are missing"),
        ("f.csv", ",".join(COLUMNS) + "\na,1\n", "row 1 has 2 values"),
        ("g.csv", ",".join(COLUMNS) + "\na.jpg" + ",x" * (len(COLUMNS) - 1) + "\n", r"row 1 \('a.jpg'\)"),
    ]:
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=message):
            read_results(tmp_path / name)


@pytest.mark.parametrize(
    "change",
    [{"faces": 5}, {"faces": [5]}, {"size_wh": [1]}, {"size_wh": 5}, {"faces": [{"box_xyxy": [0, 0, 1, 1]}]}],
)
def test_plain_values_of_others(found, change):
    with pytest.raises(ValueError, match="expected"):
        from_dict({**to_dict(found[1]), **change})
    with pytest.raises(ValueError, match="expected"):
        from_dict(5)


def test_json_is_json_for_everybody(tmp_path, found):
    """No NaN, which Python writes but nobody else reads."""
    for format in ("json", "coco"):
        write_results(found, tmp_path / "a", format)
        json.loads((tmp_path / "a").read_text(), parse_constant=pytest.fail)
