"""Small images, folders and videos that tests write, and what they read back."""

import csv
from pathlib import Path

import numpy as np
from scene import frame

from files import cv2
from video.frames import read_frames


def write_image(path, value=100, size_wh=(24, 16)) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size_wh[1], size_wh[0], 3), value, np.uint8))
    return str(path)


def write_mixed_folder(folder) -> Path:
    """Three images, one of them below, a text named .jpg, and things that nobody asked for."""
    for place, name in enumerate(["a.png", "b.PNG", "deep/c.jpg", ".hidden/d.png"]):
        write_image(folder / name, 50 * place)
    (folder / "text.jpg").write_text("not an image")
    (folder / "notes.txt").write_text("not even called one")
    return folder


def write_video(path, images, fps=25, codec="MJPG") -> Path:
    height, width = images[0].shape[:2] if images else (240, 320)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def write_folder(folder, count, name="frame{}.png") -> Path:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / name.format(number)), frame(number))
    return folder


def frames_of(path) -> list[np.ndarray]:
    return [seen.image for seen in read_frames(path)]


def rows_of(path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def leftovers(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))
