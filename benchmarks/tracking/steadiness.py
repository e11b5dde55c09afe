"""How keypoints tremble on a face at rest, and how late they come on one that moves.

Each frame has fresh pixel noise. What is measured: 'raw' (`TrackedFace.measured`), 'smoothed'
(`TrackedFace.face`), and for a face at rest 'alone', every frame detected by itself.
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
SETTLING = 15  # frames that are not measured, while the filter starts
NOISES = (4.0, 12.0)  # gray levels
MOVING_NOISE = NOISES[0]
LAGS_S = np.arange(-0.06, 0.2, 0.001)
AT_REST = 0.02  # a face has come to rest when it is so near, in inter-ocular distances


def rms(steps: np.ndarray) -> float:
    """Root of the mean square length of steps (..., 2)."""
    return float(np.sqrt((np.asarray(steps, np.float64) ** 2).sum(axis=-1).mean()))


def still(t: float, eyes: float) -> Pose:
    """No motion."""
    return Pose()


def film(portrait: Portrait, motion: Motion, eyes: float, noise: float, count: int) -> list[np.ndarray]:
    """The frames of a motion."""
    rng = np.random.default_rng(0)
    return [portrait.frame(motion(n / FPS, eyes), noise, rng) for n in range(count)]


def follow(detector: KeypointDetector, images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """'raw' and 'smoothed' keypoints (T, 68, 2) of the first face of each frame, NaN where there is none."""
    tracker = FaceTracker(detector)
    found = {way: np.full((len(images), 68, 2), np.nan) for way in ("raw", "smoothed")}
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
    """For a plot: how far right the tip of the nose is."""
    return np.round(keypoints[:, NOSE_TIP, 0], 2).tolist()


# --- at rest ---------------------------------------------------------------------------------------


def trembling(keypoints: np.ndarray, eyes: float) -> dict[str, float]:
    """RMS of keypoints (T, 68, 2) from frame to frame (step) and about their mean (spread), px and share."""
    step, spread = rms(np.diff(keypoints, axis=0)), rms(keypoints - keypoints.mean(axis=0))
    return {"step": step, "step_share": step / eyes, "spread": spread, "spread_share": spread / eyes}


def measure_jitter(detector: KeypointDetector) -> dict:
    """rows: {noise: {way: figures}}, means over the portraits; curves: of the last, with most noise."""
    rows: dict = {}
    for portrait in tqdm(portraits().values(), desc="jitter"):
        _, eyes = at_rest(detector, portrait)
        for noise in NOISES:
            images = film(portrait, still, eyes, noise, AT_REST_FRAMES)
            ways = {way: points[SETTLING:] for way, points in follow(detector, images).items()}
            alone = [detector(image)[0].keypoints for image in images[SETTLING : SETTLING + ALONE_FRAMES]]
            ways = {"alone": np.stack(alone)} | ways
            for way, points in ways.items():
                rows.setdefault(f"{noise:g}", {}).setdefault(way, []).append(trembling(points, eyes))
    return {
        "rows": {noise: {way: _means(r) for way, r in ways.items()} for noise, ways in rows.items()},
        "curves": {way: _curve(points[:ALONE_FRAMES]) for way, points in ways.items()},
    }


# --- moving ----------------------------------------------------------------------------------------

TruthAt = Callable[[np.ndarray], np.ndarray]  # times in seconds to keypoints (T, 68, 2)


def truth(portrait: Portrait, reference: np.ndarray, motion: Motion, eyes: float) -> TruthAt:
    """Where a face with keypoints `reference` (68, 2) in its photo is at each time."""
    return lambda times: np.stack(
        [transform_points(reference, portrait.matrix(motion(t, eyes))) for t in times]
    )


def fit_lag(keypoints: np.ndarray, truth_at: TruthAt, times: np.ndarray) -> float:
    """By how many seconds keypoints (T, 68, 2) come late: when the truth agreed best with them."""
    return float(min(LAGS_S, key=lambda lag: rms(keypoints - truth_at(times - lag))))


def rest_after_stop(keypoints: np.ndarray, true: np.ndarray, eyes: float) -> float:
    """Seconds from a sudden stop until the face stays within 2 % of the eye distance; mean over stops."""
    off = np.linalg.norm((keypoints - true).mean(axis=1), axis=1) / eyes
    period, rest = round((STOP_MOVES_S + STOP_RESTS_S) * FPS), round(STOP_RESTS_S * FPS)
    waits = []
    for stop in range(round(STOP_MOVES_S * FPS), len(off) - rest, period):
        late = np.flatnonzero(~(off[stop : stop + rest] <= AT_REST))
        waits.append((late[-1] + 1 if len(late) else 0) / FPS)
    return float(np.mean(waits))


def lateness(keypoints: np.ndarray, truth_at: TruthAt, eyes: float) -> dict[str, float]:
    """lag (seconds), RMS error (px, and as a share of the eye distance), frames without the face."""
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
    """rows: {motion: {way: figures}}, means over the portraits; curves: one point in the sudden stops."""
    rows: dict = {name: {"raw": [], "smoothed": []} for name in MOTIONS}
    curves = {}
    for portrait in portraits().values():
        reference, eyes = at_rest(detector, portrait)
        for name, motion in tqdm(MOTIONS.items(), desc="lag"):
            truth_at = truth(portrait, reference, motion, eyes)
            found = follow(detector, film(portrait, motion, eyes, MOVING_NOISE, FRAMES))
            figures = {way: lateness(points, truth_at, eyes) for way, points in found.items()}
            if name == SUDDEN_STOP:
                true = truth_at(np.arange(FRAMES) / FPS)
                for way, points in found.items():
                    figures[way]["rest"] = rest_after_stop(points, true, eyes)
                curves = {way: _curve(points) for way, points in {"truth": true, **found}.items()}
            for way, values in figures.items():
                rows[name][way].append(values)
    return {
        "rows": {name: {way: _means(r) for way, r in ways.items()} for name, ways in rows.items()},
        "curves": curves,
    }
