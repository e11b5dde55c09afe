"""The data set and the classic transforms: hand-computed cases, and each repaired error of the exercise."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.transforms import Compose

from data_load import (
    SPLITS_FILE,
    CenterCrop,
    FacialKeypointsDataset,
    Normalize,
    RandomCrop,
    Rescale,
    ToTensor,
    assign_splits,
    find_photos,
    identity_of,
    load_split,
    read_keypoints_csv,
    sample_photos,
)
from files import read_image, read_pts, to_gray


def a_sample(height=60, width=40, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
    return {"image": image, "keypoints": rng.uniform(0, width, (68, 2)).astype(np.float32)}


@pytest.fixture
def small_set(tmp_path):
    """Three PNG files named .jpg with an alpha channel, as in the real archive, and their CSV."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(3):
        pixels = rng.integers(256, size=(50 + number, 40, 4), dtype=np.uint8)
        pixels[..., 3] = 255
        Image.fromarray(pixels, "RGBA").save(tmp_path / f"A_B_{number}1.jpg", format="PNG")
        rows.append([f"A_B_{number}1.jpg", *rng.integers(0, 40, 136)])
    pd.DataFrame(rows, columns=["Unnamed: 0", *map(str, range(136))]).to_csv(tmp_path / "k.csv", index=False)
    return tmp_path


def test_samples_are_uint8_rgb_read_by_content(small_set):
    dataset = FacialKeypointsDataset(small_set / "k.csv", small_set)
    sample = dataset[1]
    assert len(dataset) == 3
    assert set(sample) == {"image", "keypoints"}
    assert sample["image"].dtype == np.uint8
    expected = np.asarray(Image.open(small_set / "A_B_11.jpg").convert("RGB"))
    np.testing.assert_array_equal(sample["image"], expected)
    assert sample["keypoints"].shape == (68, 2)
    assert sample["keypoints"].dtype == np.float32
    assert len(list(dataset)) == 3  # iterates to its end
    np.testing.assert_array_equal(dataset[-1]["image"], dataset[2]["image"])


def test_cache_is_bounded_and_gives_the_same_pixels(small_set):
    def build(room):
        return FacialKeypointsDataset(small_set / "k.csv", small_set, cache_bytes=room)

    one_image = 50 * 40 * 3
    for room, kept in [(0, 0), (one_image, 1), (2**30, 3)]:
        dataset = build(room)
        first = [dataset[i]["image"] for i in range(3)]
        assert len(dataset._cache) == kept
        for image, again in zip(first, [dataset[i]["image"] for i in range(3)], strict=True):
            np.testing.assert_array_equal(image, again)
    first[0][:] = 0  # what a user does to a sample does not reach the cache
    assert dataset[0]["image"].any()


def test_damaged_inputs_are_named(small_set):
    (small_set / "A_B_01.jpg").write_text("not an image")
    dataset = FacialKeypointsDataset(small_set / "k.csv", small_set)
    with pytest.raises(ValueError, match=r"A_B_01\.jpg holds text, not an image"):
        dataset[0]
    (small_set / "A_B_11.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"A_B_11\.jpg"):
        dataset[1]
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        FacialKeypointsDataset(small_set / "nowhere.csv", small_set)


def change(row, column, value):
    """A function that puts `value` into a cell; rows and columns as a list counts them."""

    def changed(rows):
        rows[row][column] = value
        return rows

    return changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda rows: [row[:-2] for row in rows], "row 1 has 135 columns, expected 137"),
        (lambda rows: [rows[0], rows[1][:-1], *rows[2:]], "row 2 has 136 columns, expected 137"),
        (lambda rows: [rows[0], rows[1] + ["5"], *rows[2:]], "row 2 has 138 columns, expected 137"),
        (lambda rows: rows[1:], r"row 1 holds keypoints of 'A_B_01\.jpg'.*names of the columns"),
        (change(2, 5, "x"), "row 3, column 6: 'x' is not a number"),
        (change(2, 5, ""), "row 3, column 6: '' is not a number"),
        (change(2, 5, "nan"), "row 3, column 6: nan is no coordinate"),
        (change(2, 5, "1e30"), "row 3, column 6: 1e\\+30 is no coordinate"),
        (change(3, 136, "-99999"), "row 4, column 137: y of point 67 is -99999, more than a face outside"),
        (change(2, 0, " "), "row 3, column 1: the file name is missing"),
        (lambda rows: [*rows[:3], [rows[3][0], *["7"] * 136]], "row 4: all 68 points are at one place"),
        (lambda rows: [], "k.csv is empty"),
    ],
)
def test_a_damaged_csv_is_refused_with_row_and_column(small_set, changed, message):
    rows = [line.split(",") for line in (small_set / "k.csv").read_text().splitlines()]
    (small_set / "k.csv").write_text("".join(",".join(row) + "\n" for row in changed(rows)))
    with pytest.raises(ValueError, match=message):
        FacialKeypointsDataset(small_set / "k.csv", small_set)


def test_a_csv_with_other_names_a_byte_order_mark_and_images_listed_twice(small_set):
    lines = (small_set / "k.csv").read_text().splitlines()
    names, keypoints = read_keypoints_csv(small_set / "k.csv")
    header = "image," + ",".join(f"{axis}{i}" for i in range(68) for axis in "xy")
    (small_set / "k.csv").write_text("\ufeff" + "\r\n".join([header, *lines[1:], "", lines[1]]))
    with pytest.warns(UserWarning, match=r"lists 1 images more than once: A_B_01\.jpg"):
        again, keypoints_again = read_keypoints_csv(small_set / "k.csv")
    assert again == [*names, names[0]]
    np.testing.assert_array_equal(keypoints_again, keypoints[[0, 1, 2, 0]])


def test_points_far_outside_their_image_are_refused_when_it_is_decoded(small_set):
    """The size of an image (40 x 51 here) is not in the CSV."""
    paths = [small_set / "A_B_11.jpg"]
    _, keypoints = read_keypoints_csv(small_set / "k.csv")
    keypoints = keypoints[1:2]
    keypoints[0, 5] = 39 + 10, 20  # a little outside is normal on a cut face
    assert FacialKeypointsDataset.from_paths(paths, keypoints)[0]["image"].shape == (51, 40, 3)
    keypoints[0, 5, 0] = 500
    message = r"A_B_11\.jpg, column 12: x of point 5 is 500, more than a face outside the image of 40 x 51"
    with pytest.raises(ValueError, match=message):
        FacialKeypointsDataset.from_paths(paths, keypoints)[0]


def test_paths_and_keypoints_must_fit_together(small_set):
    with pytest.raises(ValueError, match=r"2 images need keypoints \(2, 68, 2\), got \(1, 68, 2\)"):
        FacialKeypointsDataset.from_paths(["a", "b"], np.zeros((1, 68, 2)))
    with pytest.raises(ValueError, match="finite"):
        FacialKeypointsDataset.from_paths(["a"], np.full((1, 68, 2), np.nan))
    with pytest.raises(TypeError, match="either csv_file and root_dir, or paths and keypoints"):
        FacialKeypointsDataset(small_set / "k.csv", small_set, paths=["a"], keypoints=np.zeros((1, 68, 2)))


def test_random_transforms_follow_seed_epoch_and_index(small_set):
    def build(seed):
        return FacialKeypointsDataset(small_set / "k.csv", small_set, RandomCrop(8), seed=seed)

    one, two = build(1), build(1)
    two[2]  # other accesses in between change nothing
    np.testing.assert_array_equal(one[0]["image"], two[0]["image"])
    one.set_epoch(1)
    assert any((one[i]["image"] != two[i]["image"]).any() for i in range(3))
    assert any((build(2)[i]["image"] != two[i]["image"]).any() for i in range(3))
    assert "rng" not in one[0]


def test_unseeded_random_numbers_differ_between_worker_processes(small_set):
    # NumPy's global generator, which the exercise uses, gives every worker the same numbers
    dataset = FacialKeypointsDataset(small_set / "k.csv", small_set, Offsets())
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(dataset, batch_size=1, num_workers=2)
    values = [float(batch) for batch in loader]
    assert len(set(values)) == 3  # the first two come from different workers


class Offsets:
    def __call__(self, sample):
        from data_load import rng_of

        return rng_of(sample).random()


def test_pts_files_count_from_one(tmp_path):
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    lines = "\n".join(f"{i + 1}.0 {i + 2}.5" for i in range(68))
    (tmp_path / "a.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    dataset = FacialKeypointsDataset.from_pts(tmp_path)
    np.testing.assert_allclose(dataset[0]["keypoints"][:2], [[0, 1.5], [1, 2.5]])
    (tmp_path / "a.pts").write_text("version: 1\n{\n1 2\n}")
    with pytest.raises(ValueError, match=r"\(1, 2\), expected \(68, 2\)"):
        read_pts(tmp_path / "a.pts")
    (tmp_path / "a.pts").write_text("nothing")
    with pytest.raises(ValueError, match="not a .pts file"):
        read_pts(tmp_path / "a.pts")
    with pytest.raises(FileNotFoundError, match="no image with a .pts"):
        FacialKeypointsDataset.from_pts(tmp_path / "empty")


def test_sample_photos_and_own_photos(tmp_path, monkeypatch):
    photos = sample_photos()
    assert {name: photo.shape for name, photo in photos.items()} == {
        "astronaut": (512, 512, 3),
        "hopper": (600, 512, 3),
    }
    assert all(photo.dtype == np.uint8 for photo in photos.values())
    assert photos["hopper"][0, 256, 2] > photos["hopper"][0, 256, 0]  # a blue background: RGB, not BGR
    monkeypatch.setenv("KEYPOINTS_PHOTOS", str(tmp_path / "none"))
    assert find_photos() == {}
    Image.new("RGB", (8, 6), (255, 0, 0)).save(tmp_path / "red.png")
    (tmp_path / "notes.txt").write_text("no photo")
    monkeypatch.setenv("KEYPOINTS_PHOTOS", str(tmp_path))
    assert find_photos()["red"].shape == (6, 8, 3)
    assert find_photos()["red"][0, 0].tolist() == [255, 0, 0]
    Image.new("RGB", (8, 6)).save(tmp_path / "red.jpg")  # the same name but for the ending
    Image.new("RGB", (8, 6)).save(tmp_path / "blue.jpg")
    assert sorted(find_photos()) == ["blue", "red.jpg", "red.png"]


# --- transforms ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "shape", "expected"),
    [(30, (60, 40), (45, 30)), (30, (40, 60), (30, 45)), ((20, 10), (60, 40), (20, 10))],
)
def test_rescale_shapes(size, shape, expected):
    assert Rescale(size)(a_sample(*shape))["image"].shape[:2] == expected


def test_rescale_moves_points_by_the_convention():
    sample = {"image": np.zeros((10, 10, 3), np.uint8), "keypoints": np.full((68, 2), 4.5, np.float32)}
    # the middle of the image stays the middle; the exercise's p * s would give 9
    np.testing.assert_allclose(Rescale(20)(sample)["keypoints"], 9.5)


def test_painted_point_survives_rescale_and_crop():
    image = np.zeros((80, 80, 3), np.uint8)
    image[38:43, 28:33] = 255
    sample = {"image": image, "keypoints": np.full((68, 2), (30.0, 40.0), np.float32)}
    out = Compose([Rescale(50), CenterCrop(40)])(sample)
    ys, xs = np.nonzero(out["image"][..., 0] > 127)
    np.testing.assert_allclose(out["keypoints"][0], [xs.mean(), ys.mean()], atol=0.5)


def test_random_crop_of_the_whole_image_works():
    # the exercise calls randint(0, 0) here and raises
    sample = a_sample(40, 40)
    np.testing.assert_array_equal(RandomCrop(40)(sample)["image"], sample["image"])


def test_random_crop_takes_every_offset_the_last_one_too():
    sample = a_sample(10, 12)
    offsets = set()
    for seed in range(300):
        out = RandomCrop((8, 9))({**sample, "rng": np.random.default_rng(seed)})
        left, top = (sample["keypoints"] - out["keypoints"])[0].round().astype(int)
        offsets.add((top, left))
        np.testing.assert_array_equal(out["image"], sample["image"][top : top + 8, left : left + 9])
    assert offsets == {(t, l) for t in range(3) for l in range(4)}


def test_crop_larger_than_the_image_says_so():
    with pytest.raises(ValueError, match=r"41x41 out of an image of 60x40 pixels; use Rescale first"):
        CenterCrop(41)(a_sample())


@pytest.mark.parametrize("size", [0, -3, (1, 2, 3), 2.5, "x"])
def test_bad_sizes_are_refused(size):
    with pytest.raises((ValueError, TypeError)):
        RandomCrop(size)


def test_normalize_gives_the_same_gray_for_uint8_and_float():
    # the exercise divides float images by 255 once more and trains on [0, 0.004]
    sample = a_sample()
    from_uint8 = Normalize()(sample)["image"]
    from_float = Normalize()({**sample, "image": sample["image"] / 255.0})["image"]
    assert from_uint8.dtype == from_float.dtype == np.float32
    assert from_uint8.max() > 0.5
    np.testing.assert_allclose(from_uint8, from_float, atol=0.004)  # uint8 rounds the gray


def test_normalize_by_hand():
    white = {"image": np.full((2, 2, 3), 255, np.uint8), "keypoints": np.full((68, 2), 150, np.float32)}
    out = Normalize()(white)
    np.testing.assert_allclose(out["image"], 1.0)
    np.testing.assert_allclose(out["keypoints"], 1.0)  # (150 - 100) / 50
    np.testing.assert_allclose(Normalize(47.5, 24)(white)["keypoints"], 102.5 / 24, rtol=1e-6)
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 255
    assert to_gray(red)[0, 0] == pytest.approx(0.299, abs=0.003)
    np.testing.assert_allclose(to_gray(np.full((2, 2), 65535, np.uint16)), 1.0)


def test_normalize_inverse_leads_back():
    sample = a_sample()
    normalize = Normalize(30, 7)
    tensors = Compose([normalize, ToTensor()])(sample)
    back = normalize.inverse(tensors)
    np.testing.assert_allclose(back["keypoints"], sample["keypoints"], atol=1e-4)
    gray = np.rint(to_gray(sample["image"]) * 255).astype(np.uint8)
    np.testing.assert_array_equal(back["image"], gray)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 4, 3), 200.0), r"lie in \[0, 1\], this one spans \[200, 200\]"),
        (np.full((4, 4, 3), np.nan), r"lie in \[0, 1\]"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
    ],
)
def test_images_that_cannot_be_normalised_are_named(image, message):
    with pytest.raises(ValueError, match=message):
        to_gray(image)


def test_to_tensor_shapes():
    gray = ToTensor()({"image": np.zeros((5, 7), np.float32), "keypoints": np.zeros((68, 2))})
    assert gray["image"].shape == (1, 5, 7)
    assert gray["keypoints"].dtype == torch.float32
    colour = ToTensor()({"image": np.zeros((5, 7, 3), np.float32), "keypoints": np.zeros((68, 2))})
    assert colour["image"].shape == (3, 5, 7)


def test_transforms_do_not_change_their_input():
    sample = a_sample()
    before = {key: value.copy() for key, value in sample.items()}
    Compose([Rescale(30), RandomCrop(24), Normalize(), ToTensor()])(sample)
    for key in before:
        np.testing.assert_array_equal(sample[key], before[key])


# --- splits ----------------------------------------------------------------------------------


def test_committed_splits_are_the_hash_order():
    committed = pd.read_csv(SPLITS_FILE, keep_default_na=False)
    assert len(committed) == 347
    again = assign_splits(committed["identity"])
    columns = ["identity", "position", "validation", "identity_split"]
    pd.testing.assert_frame_equal(committed[columns], again[columns])
    assert (committed["validation"] == "train").sum() == 222
    assert (committed["validation"] == "test").sum() == 56
    assert (committed["identity_split"] == "train").sum() == 278
    assert set(committed.query("validation != ''")["identity_split"]) == {"train"}


def test_identity_is_the_name_up_to_the_last_underscore():
    assert identity_of("Abdel_Aziz_Al-Hakim_01.jpg") == "Abdel_Aziz_Al-Hakim"


def test_split_sizes_on_the_real_data(real_data, monkeypatch):
    monkeypatch.setattr("data_load.read_keypoints_csv", functools.cache(read_keypoints_csv))
    sizes = {
        (split, part): len(load_split(real_data, split, part))
        for split in ("official", "identity", "validation")
        for part in ("train", "test")
    }
    assert sizes == {
        ("official", "train"): 3462,
        ("official", "test"): 770,
        ("identity", "train"): 2781,
        ("identity", "test"): 681 + 149,
        ("validation", "train"): 2220,
        ("validation", "test"): 561 + 125,
    }


def test_nobody_is_in_both_parts(sample_folder):
    for split in ("identity", "validation"):
        train, test = (load_split(sample_folder, split, part) for part in ("train", "test"))
        assert len(train)
        assert len(test)
        assert not set(train.identities) & set(test.identities)
        assert all(path.parent.name == "training" for path in train.paths)
    with pytest.raises(ValueError, match="split must be"):
        load_split(sample_folder, "random", "train")


def test_originals_give_the_same_pixels_as_the_lossless_copies(real_data):
    originals = sorted((real_data / "originals").glob("*/*.jpg"))
    if not originals:
        pytest.skip("this copy of the data has no originals/")
    for path in originals:
        copy = read_image(real_data / path.parent.name / path.name)
        np.testing.assert_array_equal(read_image(path), copy)
