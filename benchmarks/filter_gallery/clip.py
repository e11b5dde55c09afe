"""The clip at the top of the README, clip.webp: ten seconds of filters on the two sample photos.

python -m benchmarks.filter_gallery.clip

The heads are turned, and the expressions made, by moving.py. The two faces are found, followed and smoothed
in every frame by the network that ships, and the filters read nothing else. The quality is the highest of
80, 70, ... with which the file stays below MAX_BYTES.
"""

import io
from itertools import pairwise

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.filter_gallery.moving import moved
from benchmarks.filter_gallery.page import HERE, cropped_photos
from detector import KeypointDetector
from files import atomic_path, cv2
from filters import create_filter
from sample_faces.head import Expression
from video.tracker import FaceTracker

CLIP = HERE / "clip.webp"
FRAMES_PER_SECOND, SECONDS, MAX_BYTES = 12, 10.0, 1_500_000
SIDE = 300  # pixels of one of the two pictures
#: Start in seconds and names of the filters; the last start is the end.
SCENES = [
    (0.0, ()),
    (0.7, ("glasses",)),
    (2.6, ("top_hat", "moustache")),
    (4.3, ("cat_ears", "make_up")),
    (5.9, ("beard",)),
    (7.1, ("face_swap",)),
    (8.6, ("rainbow",)),
    (SECONDS, ()),
]
MOUTH_S = (8.75, 9.0, 9.6, 9.85)  # begins to open, is open, begins to close, is closed


def pose(time_s: float, phase: float) -> dict:
    """Angles and expression of one head at a time; it is at rest at the start and at the end."""
    swing = np.sin(2 * np.pi * time_s / 2.5 + phase) * min(1.0, time_s / 0.6, (SECONDS - time_s) / 0.5)
    nod = np.sin(2 * np.pi * time_s / 5.0) * min(1.0, time_s / 0.6, (SECONDS - time_s) / 0.5)
    mouth = float(np.interp(time_s, MOUTH_S, (0, 1, 1, 0)))
    return {
        "yaw": 17 * swing,
        "pitch": 4 * nod,
        "roll": 3 * nod,
        "expression": Expression(mouth_open=0.8 * mouth),
    }


def frames() -> list[np.ndarray]:
    """The moving photos side by side, (SIDE, 2 * SIDE, 3) uint8 RGB each."""
    made = []
    photos = list(cropped_photos().values())
    for number in tqdm(range(round(SECONDS * FRAMES_PER_SECOND)), desc="moving"):
        time_s = number / FRAMES_PER_SECOND
        halves = [
            moved(*photo, **pose(time_s, phase))[0] for photo, phase in zip(photos, (0.0, np.pi), strict=True)
        ]
        made.append(
            np.hstack([cv2.resize(half, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for half in halves])
        )
    return made


def painted(images: list[np.ndarray]) -> list[np.ndarray]:
    """The frames with the filters of their scene, and its name."""
    tracker, done = FaceTracker(KeypointDetector.from_pretrained()), []
    scenes = [
        (start, end, [create_filter(name) for name in names], names)
        for (start, names), (end, _) in pairwise(SCENES)
    ]
    for number, image in enumerate(tqdm(images, desc="filters")):
        time_s = number / FRAMES_PER_SECOND
        tracked = tracker(image, time_s)
        faces, ids = [one.face for one in tracked], [one.id for one in tracked]
        for start, end, filters, names in scenes:
            if start <= time_s < end:
                for filter_ in filters:
                    image = filter_(image, faces, time_s=time_s, ids=ids)
                image = captioned(image, ", ".join(names))
        done.append(image)
    return done


def captioned(image: np.ndarray, text: str) -> np.ndarray:
    """A copy with a line of text at the lower left."""
    image = image.copy()
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(image, text, (8, SIDE - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, width, cv2.LINE_AA)
    return image


def encoded(images: list[np.ndarray]) -> tuple[bytes, int]:
    """An animated WebP below MAX_BYTES, and its quality.

    Raises ValueError if even the lowest quality is too large.
    """
    pictures = [Image.fromarray(image) for image in images]
    for quality in range(80, 9, -10):
        file = io.BytesIO()
        options = {"duration": round(1000 / FRAMES_PER_SECOND), "loop": 0, "quality": quality, "method": 4}
        pictures[0].save(file, format="WEBP", save_all=True, append_images=pictures[1:], **options)
        if file.tell() <= MAX_BYTES:
            return file.getvalue(), quality
    raise ValueError(f"{len(images)} frames do not fit into {MAX_BYTES} bytes; make them smaller")


def main() -> None:
    """Write the clip."""
    data, quality = encoded(painted(frames()))
    with atomic_path(CLIP) as temporary:
        temporary.write_bytes(data)
    print(f"{CLIP.name}: {len(data) / 1e6:.2f} MB, quality {quality}")


if __name__ == "__main__":
    main()
