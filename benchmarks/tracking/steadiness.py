"""Jitter of the keypoints of a face at rest, and lag of those of a face that moves.

Each frame has fresh pixel noise. Three kinds of keypoints: 'raw' (`TrackedFace.measured`), 'smoothed'
(`TrackedFace.face`), and for a face at rest 'alone': each frame detected without the others.
"""

from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from benchmarks.tracking.scenes import (
    FPS,
    MOTIONS,
    STOP_MOVES_S,
    STOP_RESTS_S,
    SUDDEN_STOP,
    Motion,
    Portrait,
    Pose,
    portraits,
)
from detector import KeypointDetector
from geometry import interocular_distance, invert, transform_points
from landmarks import NOSE_TIP
from video.tracker import FaceTracker

FRAMES, AT_REST_FRAMES, ALONE_FRAMES = 120, 90, 40
SETTLING = 15  # first frames, which are not measured: the filter starts
NOISES = (4.0, 12.0)  # gray levels
MOVING_NOISE = NOISES[0]
LAGS_S = np.arange(-0.06, 0.2, 0.001)
AT_REST = 0.02  # inter-ocular distances from the true place; a face that is nearer is at rest


def rms(steps: np.ndarray) -> float:
    """The root of the mean squared length of vectors (..., 2)."""
    return float(np.sqrt((np.asarray(steps, np.float64) ** 2).sum(axis=-1).mean()))


def still(t: float, eyes: float) -> Pose:
    """No motion."""
    return Pose()


def film(portrait: Portrait, motion: Motion, eyes: float, noise: float, count: int) -> list[np.ndarray]:
    """The frames of a motion."""
    rng = np.random.default_rng(0)
    return [portrait.frame(motion(n / FPS, eyes), noise, rng) for n in range(count)]


def follow(detector: KeypointDetector, images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """'raw' and 'smoothed' keypoints (T, 68, 2) of the first face of each frame, NaN if there is none."""
    tracker = FaceTracker(detector)
    found = {kind: np.full((len(images), 68, 2), np.nan) for kind in ("raw", "smoothed")}
    for number, image in enumerate(images):
        for tracked in tracker(image, number / FPS)[:1]:
            found["raw"][number], found["smoothed"][number] = tracked.measured, tracked.face.keypoints
    return found


def at_rest(detector: KeypointDetector, portrait: Portrait) -> tuple[np.ndarray, float]:
    """Keypoints (68, 2) in pixels of the photo, and the inter-ocular distance in pixels of a frame."""
    images = film(portrait, still, 0.0, MOVING_NOISE, 30)
    points = follow(detector, images)["raw"].mean(axis=0)
    eyes = float(interocular_distance(points))
    return transform_points(points, invert(portrait.matrix(Pose()))), eyes


def _means(rows: list[dict]) -> dict:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _curve(keypoints: np.ndarray) -> list[float]:
    """The x of the tip of the nose in each frame, for the figure."""
    return np.round(keypoints[:, NOSE_TIP, 0], 2).tolist()


# --- at rest ---------------------------------------------------------------------------------------


def jitter(keypoints: np.ndarray, eyes: float) -> dict[str, float]:
    """RMS of keypoints (T, 68, 2) from frame to frame (step) and around their mean (spread).

    In pixels, and as a share of `eyes`, the inter-ocular distance in pixels.
    """
    step, spread = rms(np.diff(keypoints, axis=0)), rms(keypoints - keypoints.mean(axis=0))
    return {"step": step, "step_share": step / eyes, "spread": spread, "spread_share": spread / eyes}


def measure_jitter(detector: KeypointDetector) -> dict:
    """rows: {noise: {kind: figures}}, means over the portraits; curves: of the last one with most noise."""
    rows: dict = {}
    for portrait in tqdm(portraits().values(), desc="jitter"):
        _, eyes = at_rest(detector, portrait)
        for noise in NOISES:
            images = film(portrait, still, eyes, noise, AT_REST_FRAMES)
            kinds = {kind: points[SETTLING:] for kind, points in follow(detector, images).items()}
            alone = [detector(image)[0].keypoints for image in images[SETTLING : SETTLING + ALONE_FRAMES]]
            kinds = {"alone": np.stack(alone)} | kinds
            for kind, points in kinds.items():
                rows.setdefault(f"{noise:g}", {}).setdefault(kind, []).append(jitter(points, eyes))
    return {
        "rows": {noise: {kind: _means(r) for kind, r in kinds.items()} for noise, kinds in rows.items()},
        "curves": {kind: _curve(points[:ALONE_FRAMES]) for kind, points in kinds.items()},
    }


# --- moving ----------------------------------------------------------------------------------------

TruthAt = Callable[[np.ndarray], np.ndarray]  # times in seconds to keypoints (T, 68, 2)


def truth(portrait: Portrait, reference: np.ndarray, motion: Motion, eyes: float) -> TruthAt:
    """The true keypoints at each time of a face with keypoints `reference` (68, 2) in its photo."""
    return lambda times: np.stack(
        [transform_points(reference, portrait.matrix(motion(t, eyes))) for t in times]
    )


def fit_lag(keypoints: np.ndarray, truth_at: TruthAt, times: np.ndarray) -> float:
    """The lag in seconds of keypoints (T, 68, 2): the delay at which the true ones agree best with them."""
    return float(min(LAGS_S, key=lambda lag: rms(keypoints - truth_at(times - lag))))


def rest_after_stop(keypoints: np.ndarray, true: np.ndarray, eyes: float) -> float:
    """Mean seconds from a sudden stop until the face stays within AT_REST of its true place."""
    off = np.linalg.norm((keypoints - true).mean(axis=1), axis=1) / eyes
    period, rest = round((STOP_MOVES_S + STOP_RESTS_S) * FPS), round(STOP_RESTS_S * FPS)
    waits = []
    for stop in range(round(STOP_MOVES_S * FPS), len(off) - rest, period):
        late = np.flatnonzero(~(off[stop : stop + rest] <= AT_REST))
        waits.append((late[-1] + 1 if len(late) else 0) / FPS)
    return float(np.mean(waits))


def lag_figures(keypoints: np.ndarray, truth_at: TruthAt, eyes: float) -> dict[str, float]:
    """lag in seconds, RMS error in px and as a share of `eyes`, and lost: frames without the face."""
    times = np.arange(len(keypoints)) / FPS
    measured = ~np.isnan(keypoints[:, 0, 0])
    lost = int((~measured).sum())
    measured[:SETTLING] = False
    points, times = keypoints[measured], times[measured]
    error = rms(points - truth_at(times))
    return {
        "lag": fit_lag(points, truth_at, times), "error": error, "error_share": error / eyes, "lost": lost,
    }  # fmt: skip


def measure_lag(detector: KeypointDetector) -> dict:
    """rows: {motion: {kind: figures}}, means over the portraits; curves: a point in the sudden stops."""
    rows: dict = {name: {"raw": [], "smoothed": []} for name in MOTIONS}
    curves = {}
    for portrait in portraits().values():
        reference, eyes = at_rest(detector, portrait)
        for name, motion in tqdm(MOTIONS.items(), desc="lag"):
            truth_at = truth(portrait, reference, motion, eyes)
            found = follow(detector, film(portrait, motion, eyes, MOVING_NOISE, FRAMES))
            figures = {kind: lag_figures(points, truth_at, eyes) for kind, points in found.items()}
            if name == SUDDEN_STOP:
                true = truth_at(np.arange(FRAMES) / FPS)
                for kind, points in found.items():
                    figures[kind]["rest"] = rest_after_stop(points, true, eyes)
                curves = {kind: _curve(points) for kind, points in {"truth": true, **found}.items()}
            for kind, values in figures.items():
                rows[name][kind].append(values)
    return {
        "rows": {name: {kind: _means(r) for kind, r in kinds.items()} for name, kinds in rows.items()},
        "curves": curves,
    }
