"""Figures of keypoints against hand-made points, on photos of any origin.

    dataset = FacialKeypointsDataset.from_pts("photos")
    evaluation = evaluate_photos(predictor, dataset)
    figures = photo_figures(evaluation.predicted, evaluation.true)

Hand-made points are compared with the network's own answers: where the labels of the data set lie
(`data_load.to_labels`) does not matter here.
"""

import numpy as np

from analysis.openings import eye_opening, mouth_opening
from data_load import FacialKeypointsDataset
from training.evaluation import predict_dataset
from training.metrics import Measured, steps_in_face, summarise
from training.records import Evaluation

#: An eye with a smaller opening (eye aspect ratio) counts as shut.
SHUT_EYE = 0.13


def evaluate_photos(predictor, dataset: FacialKeypointsDataset, *, progress: bool = False) -> Evaluation:
    """The answers of a predictor on photos with points, in the square box around each photo's points.

    predictor: as for `training.evaluation.evaluate`, fitted.
    """
    predicted = predict_dataset(predictor, dataset, "label_box", progress=progress)
    names = [path.name for path in dataset.paths]
    return Evaluation(names, names, predicted, dataset.keypoints)


def photo_figures(predicted: np.ndarray, true: np.ndarray) -> dict:
    """The figures of `summarise` and, of keypoints (N, 68, 2) in pixels, NaN where not found:

    inner_51: NME of the 51 points without the jaw.
    eyes, mouth: {'correlation', 'slope'} of the predicted against the true opening, over all eyes or mouths;
        eyes also 'shut': the mean predicted opening of eyes whose true opening is below SHUT_EYE, and their
        number 'n_shut'.
    offset: (68, 2), mean of predicted - true in the face's frame, in inter-ocular distances: x to the
        person's left (the right of the image), y down.
    """
    faces = Measured(predicted, true)
    kept, truth = predicted[faces.found], true[faces.found]
    eyes = eye_opening(kept).ravel(), eye_opening(truth).ravel()
    shut = eyes[1] < SHUT_EYE
    return {
        **summarise(predicted, true, np.arange(len(true))),
        "inner_51": faces.inner_51,
        "eyes": {**agreement(*eyes), "shut": _mean(eyes[0][shut]), "n_shut": int(shut.sum())},
        "mouth": agreement(mouth_opening(kept), mouth_opening(truth)),
        "offset": steps_in_face(kept - truth, truth).mean(axis=0).tolist(),
    }


def agreement(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Correlation of predicted and true values (N,), and slope of the line through predicted over true.

    A perfect measure has 1 and 1; a constant has a slope of 0 and a correlation of NaN.
    """
    valid = np.isfinite(predicted) & np.isfinite(true)
    predicted, true = predicted[valid] - predicted[valid].mean(), true[valid] - true[valid].mean()
    spread = np.sqrt((predicted**2).sum() * (true**2).sum())
    return {
        "correlation": float((predicted * true).sum() / spread) if spread > 0 else float("nan"),
        "slope": float((predicted * true).sum() / (true**2).sum()) if (true**2).sum() > 0 else float("nan"),
    }


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
