"""Do the crops of the training and those of the passes afterwards fit together?

    crop_problem(get_recipe("heatmapnet"), whole_scale=2.6)      # '': they do

A network answers well on faces of the sizes that it was trained on. The scale of a crop is its side over the
larger side of the box around the face's keypoints.
"""

import numpy as np

from data_load import FacialKeypointsDataset
from geometry import box_from_keypoints, box_side, whole_image_matrix
from training.recipes import Recipe

BOX_SCALE = 1.15  # a face finder's box: 1.13 for Haar cascades (median), 1.2 for our own
TOLERANCE = 1.25  # how far a scale may lie outside of the trained ones, as a factor
WIDE_PROB, WIDE_RANGE = 0.33, (1.2, 3.0)  # of the recipe heatmapnet


def whole_image_scale(dataset: FacialKeypointsDataset, indices, count: int = 32) -> float:
    """The median scale of a whole image, letterboxed, over about `count` images."""
    scales = [
        max(dataset.image(index).shape[:2]) / box_side(box_from_keypoints(dataset.keypoints[index]))
        for index in indices[:: max(len(indices) // count, 1)]
    ]
    return float(np.median(scales))


def view_share(view: str) -> float:
    """The side of what a whole_view keeps of a square image, over the side of the image."""
    return 1 / whole_image_matrix((1000, 1000), 1000, view)[0, 0]


def trained_scales(recipe: Recipe, whole_scale: float) -> tuple[float, float]:
    """The smallest and the largest scale of training crops, but for 5 % of the random changes.

    whole_scale: from `whole_image_scale`.
    """
    whole = whole_scale * (view_share("crop") if recipe.crop_mode == "classic" else 1)
    middle = recipe.crop_scale if recipe.crop_mode == "face" else whole
    aug = recipe.augmentation
    spread = np.exp(2 * aug.scale)
    wide = (1.0, *aug.wide_crop_range) if aug.wide_crop_prob else (1.0,)
    return middle / spread * min(wide), middle * spread * max(wide)


def crop_problem(recipe: Recipe, whole_scale: float) -> str:
    """What the network will be given afterwards and was not trained on, and what to set; '' for nothing.

    whole_scale: from `whole_image_scale`.
    """
    low, high = trained_scales(recipe, whole_scale)
    # by the field that says how large the crop is: what is cropped, and its scale
    views = {
        "whole_view": ("whole images", whole_scale * view_share(recipe.whole_view)),
        "box_scale": ("the boxes of a face finder", BOX_SCALE * recipe.box_scale),
        "crop_scale": ("crops around keypoints", recipe.crop_scale),
    }
    outside = {
        name: f"{what} ({name}={getattr(recipe, name)}: {scale:.1f} times the face)"
        for name, (what, scale) in views.items()
        if not low / TOLERANCE <= scale <= high * TOLERANCE
    }
    if not outside:
        return ""
    whole = views["whole_view"][1]
    return (
        f"The recipe {recipe.name!r} trains on crops of {low:.1f} to {high:.1f} times the face "
        f"(crop_mode={recipe.crop_mode} and augmentation), and its passes will also be given "
        f"{' and '.join(outside.values())}. Set {_remedies(recipe, set(outside), low, high, whole)}"
    )


def _remedies(recipe: Recipe, outside: set[str], low: float, high: float, whole: float) -> str:
    """Values FIELD=VALUE that make the scales fit. low, high: trained scales. whole: that of whole images."""
    if recipe.crop_mode == "face" and whole < low:
        return f"crop_scale={whole:.2g} and box_scale={whole / BOX_SCALE:.2g}"
    remedies, middle = [], (low * high) ** 0.5
    if recipe.crop_mode == "face" and "whole_view" in outside:
        remedies.append(f"augmentation.wide_crop_prob={WIDE_PROB}")
        remedies.append("augmentation.wide_crop_range={:g},{:g}".format(*WIDE_RANGE))
        if recipe.passes == 1:
            remedies.append("passes=2")
    if "crop_scale" in outside:
        remedies.append(f"crop_scale={middle:.2g}")
    if "box_scale" in outside:
        remedies.append(f"box_scale={middle / BOX_SCALE:.2g}")
    together = " and ".join(remedies)
    return together if recipe.crop_mode == "face" else f"{together}, or else crop_mode=face"
