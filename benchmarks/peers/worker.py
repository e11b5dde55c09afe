"""One method in a process of its own, so that its time and memory can be measured.

    with Worker(python, "dlib", "box") as dlib:
        answer = dlib.ask(image, box_xyxy)

The process runs this file with another Python (that of the peers, or ours) and imports nothing of
this repository unless the method is ours. Both ends talk over pipes: a line of JSON, then bytes.
Linux only, since memory is read from /proc.

Methods, their inputs and their outputs:

    dlib box             an image and a face box           68 points, whole pixels
    dlib detector        an image                          the same, from dlib's own HOG box
    mediapipe static     a crop (or any image)             468 mesh points (x, y, z), pixels
    mediapipe tracked    the same, as the next frame of a video: without the face detector
    ours NAME:RUNTIME    an image and a face box           68 points
    chain NAME:RUNTIME:FACES   an image                    68 points of the largest face, found by FACES
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
MESH_POINTS = 468


class Answer(NamedTuple):
    """points: (K, 2) or (K, 3) float32, None where no face was found; times around the call alone."""

    points: np.ndarray | None
    box_xyxy: list[float] | None
    wall_ms: float
    cpu_ms: float


class Worker:
    """A method that answers from another process; close it, or use `with`."""

    def __init__(self, python, method: str, argument: str):
        self.name = f"{method} {argument}"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the process
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).resolve()), method, argument],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env={**os.environ, **ONE_THREAD, "GLOG_minloglevel": "3", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip

    def ask(self, image: np.ndarray, box_xyxy=None, *, warm: int = 0) -> Answer:
        """The answer on an HxWx3 uint8 RGB image. warm: the number of untimed calls before it."""
        box = None if box_xyxy is None else [float(v) for v in box_xyxy]
        reply, points = self._exchange({"box": box, "warm": warm}, np.ascontiguousarray(image, np.uint8))
        return Answer(points if len(points) else None, reply["box"], reply["wall_ms"], reply["cpu_ms"])

    def footprint(self) -> dict:
        """Memory in MB (`libraries`; `work`: added by loading and calling), model files in bytes."""
        return self._exchange({"footprint": True}, np.zeros(0, np.uint8))[0]

    def _exchange(self, request: dict, array: np.ndarray) -> tuple[dict, np.ndarray]:
        try:
            send(self._process.stdin, request, array)
            return receive(self._process.stdout)
        except (BrokenPipeError, EOFError) as error:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip()[-600:]
            raise RuntimeError(f"{self.name} ended: {said or 'it said nothing'}") from error

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):  # it has ended before, and what it said is in the first error
            self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        self.close()


# --- the pipe ----------------------------------------------------------------------------


def send(stream, header: dict, array: np.ndarray) -> None:
    """Write a line of JSON with the array's shape and type, then the array's bytes."""
    shape = {"shape": list(array.shape), "dtype": str(array.dtype)}
    stream.write(json.dumps(header | shape).encode() + b"\n")
    stream.write(array.tobytes())
    stream.flush()


def receive(stream) -> tuple[dict, np.ndarray]:
    """The header and array that `send` wrote. Raises EOFError if the other end is closed."""
    line = stream.readline()
    if not line:
        raise EOFError("the other end is closed")
    header = json.loads(line)
    dtype, shape = np.dtype(header.pop("dtype")), header.pop("shape")
    data = stream.read(dtype.itemsize * int(np.prod(shape)))
    # a copy, because some libraries want to write into what they are given
    return header, np.frombuffer(data, dtype).reshape(shape).copy()


# --- the methods ---------------------------------------------------------------------------
# Each takes a word and a function to call once its libraries are imported. `call(image, box)` is
# timed; `points` and `box` read its result, None if no face was found.


class Dlib:
    """dlib's 68-point predictor: Kazemi and Sullivan, CVPR 2014, trained on iBUG 300-W."""

    def __init__(self, start: str, imported):
        import dlib
        import face_recognition_models

        imported()
        path = face_recognition_models.pose_predictor_model_location()
        self.files = [path]
        self._rectangle, self._predictor = dlib.rectangle, dlib.shape_predictor(path)
        self._detector = dlib.get_frontal_face_detector() if start == "detector" else None

    def call(self, image, box):
        rectangle = self._largest(image) if self._detector else self._whole_pixels(box)
        return None if rectangle is None else self._predictor(image, rectangle)

    def _largest(self, image):
        # enlarged once, as the face_recognition package does: finds faces from 40 px
        return max(self._detector(image, 1), key=lambda found: found.area(), default=None)

    def _whole_pixels(self, box):
        left, top, right, bottom = (round(v) for v in box)
        return self._rectangle(left, top, right - 1, bottom - 1)  # dlib counts the last pixel in

    def points(self, result, image):
        return None if result is None else [(part.x, part.y) for part in result.parts()]

    def box(self, result):
        if result is None:
            return None
        rect = result.rect
        return [rect.left(), rect.top(), rect.right() + 1, rect.bottom() + 1]


class MediaPipe:
    """MediaPipe's face mesh with attention (Grishchenko et al., 2020) behind its short-range detector."""

    def __init__(self, mode: str, imported):
        import mediapipe

        imported()
        modules = Path(mediapipe.__file__).parent / "modules"
        self.files = [
            modules / "face_landmark" / "face_landmark_with_attention.tflite",
            modules / "face_detection" / "face_detection_short_range.tflite",
        ]
        self._mesh = mediapipe.solutions.face_mesh.FaceMesh(
            static_image_mode=mode == "static", max_num_faces=1, refine_landmarks=True,
            min_detection_confidence=0.2,
        )  # fmt: skip

    def call(self, image, box):
        return self._mesh.process(image).multi_face_landmarks

    def points(self, result, image):
        if not result:
            return None
        # fractions of the image from edge to edge, depth in the unit of x
        height, width = image.shape[:2]
        mesh = np.array([(p.x, p.y, p.z) for p in result[0].landmark][:MESH_POINTS])
        return mesh * (width, height, width) - (0.5, 0.5, 0.0)

    def box(self, result):
        return None


class Ours:
    """A checkpoint by PyTorch or ONNX Runtime, from a face box: crops, all passes, the flipped crop."""

    def __init__(self, name_and_runtime: str, imported):
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        import torch

        from checkpoint import find_checkpoint, load_checkpoint, load_config
        from detector import KeypointDetector
        from detector.predictor import RUNTIMES, OnnxRuntime
        from files import cv2

        name, runtime = name_and_runtime.split(":")
        folder = find_checkpoint(name)
        if runtime != "torch":
            import onnxruntime  # noqa: F401  a library, so it counts as one
        imported()
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        self.files = [folder / RUNTIMES[runtime]]
        if runtime == "torch":
            model, config = load_checkpoint(folder)
        else:
            model, config = OnnxRuntime(self.files[0], threads=1), load_config(folder)
        self._detector = KeypointDetector(model, config, face_detector=lambda image: [])

    def call(self, image, box):
        return self._detector(image, boxes_xyxy=[box])[0]

    def points(self, result, image):
        return result.keypoints

    def box(self, result):
        return result.box_xyxy.tolist()


class Chain:
    """`KeypointDetector.from_pretrained` as it is shipped, from the whole image; one thread."""

    def __init__(self, names: str, imported):
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        name, runtime, face_detector = names.split(":")
        if runtime == "torch":
            import torch

            torch.set_num_threads(1)
        else:
            import onnxruntime  # noqa: F401  a library, so it counts as one
        from detector import KeypointDetector
        from files import cv2

        imported()
        cv2.setNumThreads(1)
        self.files = []
        self._detector = KeypointDetector.from_pretrained(
            name, runtime=runtime, threads=1, face_detector=face_detector
        )

    def call(self, image, box):
        return self._detector(image)

    def points(self, result, image):
        return result[0].keypoints if result else None

    def box(self, result):
        return result[0].box_xyxy.tolist() if result else None


METHODS = {"dlib": Dlib, "mediapipe": MediaPipe, "ours": Ours, "chain": Chain}


def memory_mb(field: str) -> float:
    """VmRSS (resident now) or VmHWM (the most so far) of this process."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def answer(method, request: dict, image: np.ndarray) -> tuple[dict, np.ndarray]:
    """Call the method untimed `warm` times, then once timed, and pack the result."""
    for _ in range(request["warm"]):
        method.call(image, request["box"])
    wall, cpu = time.perf_counter(), time.process_time()
    result = method.call(image, request["box"])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    points = method.points(result, image)
    reply = {"wall_ms": 1000 * wall, "cpu_ms": 1000 * cpu, "box": method.box(result)}
    return reply, np.asarray([] if points is None else points, dtype=np.float32)


def serve(name: str, argument: str) -> None:
    """Answer until the other end closes the pipe."""
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries that print must not print into the pipe
    seen = {"bare": memory_mb("VmRSS")}
    method = METHODS[name](argument, lambda: seen.update(imported=memory_mb("VmRSS")))
    while True:
        try:
            request, image = receive(requests)
        except EOFError:
            return
        if "footprint" in request:
            reply = {
                "libraries": seen["imported"] - seen["bare"],
                "work": memory_mb("VmHWM") - seen["imported"],
                "files": {Path(path).name: Path(path).stat().st_size for path in method.files},
            }
            send(replies, reply, np.zeros(0, np.float32))
        else:
            send(replies, *answer(method, request, image))


if __name__ == "__main__":
    serve(*sys.argv[1:])
