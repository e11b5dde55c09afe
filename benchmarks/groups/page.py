"""Errors by group of people, and with darker faces, on photos with hand-made points:

    python -m benchmarks.groups.page                                  # writes README.md from the records
    python -m benchmarks.groups.page --measure                        # measures ours first
    python -m benchmarks.groups.page --measure --environment FOLDER   # and MediaPipe (see benchmarks/peers)

The photos are in the folder that KEYPOINTS_LONDON names (london.py). They are not in this repository. Only
figures for each person are stored, no photos and no points.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from analysis.openings import eye_opening
from analysis.privacy import face_outline
from benchmarks import pages
from benchmarks.groups.london import SHARED, Person, london_people
from benchmarks.ibug_labels.mesh import keypoints_of_mesh
from benchmarks.peers.report import versions
from benchmarks.peers.worker import Worker
from checkpoint import FINDER, RUNTIMES, find_checkpoint
from detector import KeypointDetector
from files import cv2, read_image, write_json
from geometry import interocular_distance
from training.metrics import bootstrap_interval, steps_in_face
from training.photos import agreement
from training.records import is_current, provenance

HERE = Path(__file__).parent
RECORDS = HERE / "records"
OURS = ("heatmapnet", "heatmapnet-small")
METHODS = (*OURS, "MediaPipe")
RENEW = "python -m benchmarks.groups.page --measure"
RUNTIME = "onnx"
AGES = ((0, 24), (25, 34), (35, 99))
#: Light that a face keeps, of 1. Contrast that it keeps, around its own mean.
LIGHTS, CONTRASTS = (1.0, 0.5, 0.25, 0.125), (0.5, 0.25)
GAMMA = 2.2

Answer = tuple[np.ndarray, float] | None  # keypoints (68, 2) px and confidence; None where no face is found


def record_of(method: str) -> Path:
    """The path of a method's record."""
    return RECORDS / f"{method}.json"


# --- measuring ------------------------------------------------------------------------------------


def ours(name: str) -> Callable[[np.ndarray], Answer]:
    """The largest face that our detector reports on an image."""
    detector = KeypointDetector.from_pretrained(name, runtime=RUNTIME)

    def largest(image: np.ndarray) -> Answer:
        faces = detector(image)
        return (faces[0].keypoints, faces[0].confidence) if faces else None

    return largest


def mediapipe(worker: Worker) -> Callable[[np.ndarray], Answer]:
    """The face of MediaPipe's mesh on an image; it has no confidence."""

    def mesh(image: np.ndarray) -> Answer:
        points = worker.ask(image).points
        return None if points is None else (keypoints_of_mesh(points[None])[0], float("nan"))

    return mesh


def measure_people(find: Callable[[np.ndarray], Answer], people: list[Person]) -> list[dict]:
    """A row per person: who it is, 'found' and 'smiling_found', 'confidence', 'opening' and 'true_opening' of
    the eyes, and 'steps' (8, 2) as in `steps_of`.
    """
    rows = []
    for person in people:
        found = find(person.image())
        smiling = find(read_image(person.smiling))
        row = {"age": None if np.isnan(person.age) else person.age, "gender": person.gender}
        row |= {"ethnicity": person.ethnicity, "found": bool(found), "smiling_found": bool(smiling)}
        if found:
            row |= {"confidence": found[1], "steps": steps_of(found[0], person.keypoints).tolist()}
            row["opening"] = float(eye_opening(found[0]).mean())
            row["true_opening"] = float(eye_opening(person.keypoints).mean())
        rows.append(row)
    return rows


def steps_of(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Predicted minus true (8, 2) of SHARED, in the face's frame, in inter-ocular distances."""
    return steps_in_face((predicted - true)[None], predicted[None])[0, list(SHARED)]


def relit(image: np.ndarray, keypoints: np.ndarray, light: float, contrast: float) -> np.ndarray:
    """The image with the face, forehead included, darker or with less contrast; its edge fades.

    light: factor of the linear light. contrast: factor of the difference to the face's mean gray level.
    """
    mask = np.zeros(image.shape[:2], np.float32)
    cv2.fillPoly(mask, [np.rint(face_outline(keypoints)).astype(np.int32)], 1.0)
    inside = mask > 0
    mask = cv2.GaussianBlur(mask, (0, 0), interocular_distance(keypoints) / 10)[..., None]
    changed = 255 * (image / 255.0) ** GAMMA * light
    changed = 255 * (changed / 255) ** (1 / GAMMA)
    mean = changed[inside].mean(axis=0)
    changed = mean + contrast * (changed - mean)
    return (mask * changed + (1 - mask) * image).clip(0, 255).round().astype(np.uint8)


def measure_light(find: Callable[[np.ndarray], Answer], people: list[Person]) -> list[dict]:
    """A row per (light, contrast): share found, mean confidence, and mean move of the points.

    The move is from the answer on the unchanged photo, in inter-ocular distances.
    """
    images = [person.image() for person in people]
    before = [find(image) for image in images]
    rows = []
    for light, contrast in [(light, 1.0) for light in LIGHTS] + [(1.0, contrast) for contrast in CONTRASTS]:
        answers = [
            find(relit(image, first[0], light, contrast)) if first else None
            for image, first in zip(images, before, strict=True)
        ]
        pairs = [(one, first) for one, first in zip(answers, before, strict=True) if one and first]
        moves = [
            np.linalg.norm(one[0] - first[0], axis=1).mean() / interocular_distance(first[0])
            for one, first in pairs
        ]
        rows.append({
            "light": light, "contrast": contrast, "found": len(pairs) / len(people),
            "confidence": float(np.mean([one[1] for one, _ in pairs])), "move": float(np.mean(moves)),
        })  # fmt: skip
    return rows


def measure(data, environment: Path | None = None) -> None:
    """Write the records that are not current. environment: a virtual environment with MediaPipe, or None."""
    try:
        people = london_people()
    except FileNotFoundError as error:
        print(f"groups are not measured: {error}")
        return
    for name in OURS:
        if is_current(record_of(name)):
            continue
        files = [find_checkpoint(place) / RUNTIMES[RUNTIME] for place in (name, FINDER)]
        about = provenance(RENEW, checkpoint=find_checkpoint(name), files=files)
        find = ours(name)
        stored = {"people": measure_people(find, people), "light": measure_light(find, people)}
        write_json(record_of(name), {**stored, "provenance": about})
    if environment:
        with Worker(environment / "bin" / "python", "mediapipe", "static") as worker:
            find = mediapipe(worker)
            stored = {"people": measure_people(find, people), "light": measure_light(find, people)}
        about = provenance(f"{RENEW} --environment FOLDER") | {"peers": versions(["MediaPipe"])}
        write_json(record_of("MediaPipe"), {**stored, "provenance": about})


# --- page -----------------------------------------------------------------------------------------


def groups_of(people: list[dict]) -> dict[str, np.ndarray]:
    """Name of a group -> True for each of its people."""
    groups = {"all": np.ones(len(people), bool)}
    for field in ("ethnicity", "gender"):
        values = np.array([person[field] for person in people])
        names, counts = np.unique(values, return_counts=True)
        groups |= {name.replace("_", " "): values == name for name in names[np.argsort(-counts)]}
    ages = np.array([np.nan if person["age"] is None else person["age"] for person in people])
    for low, high in AGES:
        title = f"up to {high}" if not low else f"{low} and older" if high > 90 else f"{low} to {high}"
        groups[title] = (ages >= low) & (ages < high + 1)
    return groups


def errors_of(people: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Mean error (N,) of SHARED of each person as it is, and without the mean offset per point of all people.

    In inter-ocular distances; NaN where no face was found.
    """
    steps = np.array([person.get("steps") or np.full((len(SHARED), 2), np.nan) for person in people], float)
    centred = steps - np.nanmean(steps, axis=0)
    return tuple(np.linalg.norm(values, axis=2).mean(axis=1) for values in (steps, centred))


def groups_table(people: list[dict]) -> str:
    """Markdown: a line per group of people."""
    raw, centred = errors_of(people)
    confidence = np.array([person.get("confidence") or np.nan for person in people], float)
    cells = []
    for name, inside in groups_of(people).items():
        found = [np.mean([p[key] for p, own in zip(people, inside, strict=True) if own]) for key in FOUND]
        low, high = interval_of(centred[inside])
        interval = f"{100 * np.nanmean(centred[inside]):.2f} ({100 * low:.2f} to {100 * high:.2f})"
        sure = f"{np.nanmean(confidence[inside]):.3f}" if np.isfinite(confidence[inside]).any() else "-"
        error = f"{100 * np.nanmean(raw[inside]):.2f}"
        shares = [f"{100 * share:.0f}" for share in found]
        cells.append([name, str(inside.sum()), error, interval, *shares, sure])
    head = ["group", "people", "error", "without the mean offset (95 % interval)", "found", "found smiling"]
    return pages.markdown_table([*head, "confidence"], cells)


FOUND = ("found", "smiling_found")


def interval_of(errors: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a mean error over people."""
    return bootstrap_interval(errors, np.arange(len(errors)))


def apart(people: list[dict]) -> list[str]:
    """The ethnic groups whose interval does not touch that of the largest one, with their mean errors."""
    _, centred = errors_of(people)
    ethnicities = {person["ethnicity"].replace("_", " ") for person in people}
    groups = {name: centred[inside] for name, inside in groups_of(people).items() if name in ethnicities}
    (base, base_errors), *others = sorted(groups.items(), key=lambda item: -len(item[1]))
    low, high = interval_of(base_errors)
    said = []
    for name, errors in others:
        own = interval_of(errors)
        if len(errors) > 1 and (own[0] > high or own[1] < low):
            means = f"{100 * errors.mean():.2f} % against {100 * base_errors.mean():.2f} % ({base})"
            said.append(f"{name}, {means}")
    return said


def light_table(rows: dict[str, list[dict]]) -> str:
    """Markdown: a line per change of the light, the methods side by side."""
    cells = []
    for lines in zip(*rows.values(), strict=True):
        kind = "light" if lines[0]["contrast"] == 1 else "contrast"
        what = f"{kind} x {lines[0][kind]:g}"
        own = [(f"{100 * row['found']:.0f}", f"{100 * row['move']:.2f}") for row in lines]
        cells.append([what, *(cell for pair in own for cell in pair)])
    head = [f"{name}: {what}" for name in rows for what in ("found, %", "moved, %")]
    return pages.markdown_table(["face", *head], cells)


def opening_of(people: list[dict]) -> str:
    """A sentence: how the openings of the eyes agree with the hand-made ones."""
    have = [person for person in people if person["found"]]
    figures = agreement(*(np.array([p[key] for p in have]) for key in ("opening", "true_opening")))
    return f"{figures['correlation']:.2f} and {figures['slope']:.2f}"


TEXT = """# Who it works for

Studio photos of {n} people from the front, with hand-made points and with age, gender and ethnicity as the
people gave them (the London set: DeBruine and Jones, figshare 5047666, CC BY 4.0), by
`python -m benchmarks.groups.page`. The detector searches the whole photo. No network saw these
photos in training.

*Error*: mean distance of eight points that both schemes define alike (corners of the eyes and the mouth,
middles of the lips), in percent of the inter-ocular distance. *Without the mean offset*: after the
mean offset of each point over all people was taken away; this column compares the groups. *Found*: neutral,
and smiling. The labels of our two networks were moved by mean offsets of these hand-made points, so their
errors are small here for that reason too. The column without the mean offset is not touched by it.

**Groups of 9 to 13 people say little**, and these are studio photos: even light, no turned heads. Ethnic
groups whose interval does not touch that of the largest group: {apart}.

{tables}

## Darker faces, less contrast

The same people say more than different ones. In each photo the face, with its forehead, is made darker (a
factor of its linear light) or gets less contrast. *Moved*: mean distance of all points from those in the
unchanged photo, in percent of the inter-ocular distance, of the faces that are found.

{light}

## Eye openings

All eyes are open here. Correlation and slope of predicted against hand-made openings over the people:
{openings}.
"""


def write_page() -> None:
    """Write README.md from the records."""
    records = {
        method: json.loads(record_of(method).read_text(encoding="utf-8"))
        for method in METHODS
        if record_of(method).is_file()
    }
    tables = [f"## {name}\n\n{groups_table(record['people'])}" for name, record in records.items()]
    differ = [f"{line} by {name}" for name, record in records.items() for line in apart(record["people"])]
    openings = [f"{name} {opening_of(record['people'])}" for name, record in records.items()]
    text = TEXT.format(
        n=len(records["heatmapnet"]["people"]), tables="\n\n".join(tables), openings=", ".join(openings),
        apart="; ".join(differ) or "none",
        light=light_table({name: record["light"] for name, record in records.items()}),
    )  # fmt: skip
    pages.write_if_changed(HERE / "README.md", text)


if __name__ == "__main__":
    pages.run_page(__doc__, write_page, measure, peers="MediaPipe")
