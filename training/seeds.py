"""Several runs of one recipe that differ in their seed alone: mean, spread and a combined record.

    record = combine({0: evaluation, 1: other}, training_nme={0: 0.05, 1: 0.052})
    print(table(record))

All runs are measured on the same faces. `train.py --seeds 0 1 2` writes the record.
"""

from collections.abc import Mapping

import numpy as np

from training.metrics import bootstrap_interval, failure_rate, nme_per_face
from training.records import Evaluation

COLUMNS = {"training_nme": "training NME, %", "nme": "NME, %", "fr_10": "FR@10, %", "auc_8": "AUC@8, %"}


def combine(evaluations: Mapping[int, Evaluation], training_nme: Mapping[int, float]) -> dict:
    """The record of several seeds; all errors are fractions of the inter-ocular distance.

    evaluations: by seed, of the same faces in the same order; may be empty where nothing was held out.
    training_nme: by seed, of the last epoch.
    Returns seeds (one dict per seed), mean and sd (the sample standard deviation between the seeds) of each
    figure, and where faces were measured: n, interval (95 %, of the mean over the networks, by resampling
    people) and averaged, the figures of the mean of the networks' points.
    """
    seeds = [{"seed": seed, "training_nme": float(nme)} for seed, nme in training_nme.items()]
    for row in seeds:
        if evaluation := evaluations.get(row["seed"]):
            row |= {name: evaluation.figures[name] for name in COLUMNS if name in evaluation.figures}
    names = [name for name in COLUMNS if all(name in row for row in seeds)]
    record = {
        "seeds": seeds,
        "mean": {name: float(np.mean([row[name] for row in seeds])) for name in names},
        "sd": {name: spread([row[name] for row in seeds]) for name in names},
    }
    if evaluations:
        first = next(iter(evaluations.values()))
        errors = np.stack([nme_per_face(e.predicted, first.true) for e in evaluations.values()])
        points = np.mean([evaluation.predicted for evaluation in evaluations.values()], axis=0)
        together = nme_per_face(points, first.true)
        record |= {
            "n": len(first.true),
            "interval": list(bootstrap_interval(mean_where_found(errors), first.identities)),
            "averaged": {"nme": float(np.nanmean(together)), "fr_10": failure_rate(together)},
        }
    return record


def table(record: dict) -> str:
    """The record as a Markdown table with a line below it."""
    names = list(record["mean"])
    rows = [
        *([str(row["seed"]), *(_percent(row[name]) for name in names)] for row in record["seeds"]),
        ["mean", *(_percent(record["mean"][name]) for name in names)],
        ["SD", *(_percent(record["sd"][name]) for name in names)],
    ]
    lines = [["seed", *(COLUMNS[name] for name in names)], ["---"] * (len(names) + 1), *rows]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    if "interval" not in record:
        return text
    low, high = map(_percent, record["interval"])
    averaged = record["averaged"]
    return (
        f"{text}\n\n{record['n']} faces. The mean NME is {low} to {high} % (95 %, by resampling people). The "
        f"mean of the networks' points has an NME of {_percent(averaged['nme'])} %."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def spread(values) -> float:
    """The sample standard deviation; NaN of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def mean_and_spread(values) -> str:
    """'mean ± SD' in percent, of fractions."""
    return f"{_percent(np.mean(values))} ± {_percent(spread(values))}"


def mean_where_found(errors: np.ndarray) -> np.ndarray:
    """(networks, faces) to (faces,): the mean over the networks that found the face; NaN where none did."""
    found = ~np.isnan(errors)
    means = np.nansum(errors, axis=0) / np.maximum(found.sum(axis=0), 1)
    return np.where(found.any(axis=0), means, np.nan)
