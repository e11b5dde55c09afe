"""Build and serve the page of demo/:

    python -m tools.demo                # builds reports/demo/, serves it on 127.0.0.1 and prints the address
    python -m tools.demo --build-only   # only builds; the folder works on any static host
    python -m tools.demo --constants    # writes demo/landmarks.js and constants.js from the Python modules

It needs npm, which fetches ONNX Runtime Web at the version of demo/package-lock.json. The networks are the
8-bit files of saved_models/, checked against the SHA-256 in their configs. The sample photos come with
scikit-image and matplotlib.
"""

import argparse
import functools
import json
import shutil
import subprocess
import sys
import tempfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

import landmarks
from analysis.head_pose import CAMERA_DISTANCE, HEAD, JAW_ON_EDGE, JAW_ROUNDS, POSE_POINTS
from checkpoint import CONFIG_FILE, FINDER, SAVED_MODELS, CheckpointError, load_config, sha256_of
from data_load import sample_photos
from detector import face_finders, predictor
from files import atomic_path, run_command
from sample_faces import head
from video import smoothing, tracker

ROOT = Path(__file__).resolve().parents[1]
SOURCE, OUTPUT = ROOT / "demo", ROOT / "reports" / "demo"
PAGE_FILES = ("*.html", "*.css", "*.js", "*.svg")
NETWORKS = ("heatmapnet-small", "heatmapnet", FINDER)
RUNTIME = Path("node_modules", "onnxruntime-web")
#: The build for the CPU, and the one for WebGPU.
RUNTIME_FILES = (
    "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm",
)  # fmt: skip
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
#: Threads of WebAssembly need the first two.
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class DemoError(RuntimeError):
    """The page cannot be built: a program or a file is missing."""


# --- numbers of the Python modules, as JavaScript ------------------------------------------------


def landmarks_js() -> str:
    """The text of demo/landmarks.js: every constant of landmarks.py."""
    lines = ["// Written by `python -m tools.demo --constants` from landmarks.py.", ""]
    for name in sorted(vars(landmarks)):
        value = getattr(landmarks, name)
        if not name.isupper():
            continue
        if isinstance(value, frozenset):
            lines.append(f"export const {name} = new Set({json.dumps(sorted(value))});")
        else:
            lines.append(f"export const {name} = {json.dumps(_plain(value))};")
    return "\n".join(lines) + "\n"


def constants_js() -> str:
    """The text of demo/constants.js: numbers of the detector, the tracker and the head."""
    euro = smoothing.OneEuroSettings()
    values = {
        "MIN_CONFIDENCE": predictor.MIN_CONFIDENCE,
        "VISIBLE_FROM": predictor.VISIBLE_FROM,
        "MIN_FIRST_CONFIDENCE": face_finders.NetworkFaceFinder.min_first_confidence,
        "SAME_ANSWER": {"distance": predictor.SAME_DISTANCE, "overlap": predictor.SAME_OVERLAP},
        "FINDER": {
            "cellMultiple": face_finders.CELL_MULTIPLE,
            "maxBoxes": face_finders.MAX_BOXES,
            "maxIou": face_finders.MAX_IOU,
        },
        "ONE_EURO": {"restingHz": euro.resting_hz, "gain": euro.gain, "speedHz": euro.speed_hz},
        "TRACKER": {
            "searchEvery": face_finders.NetworkFaceFinder.redetect_every,
            "rememberS": tracker.REMEMBER_S,
            "minInside": tracker.MIN_INSIDE,
            "sameFace": tracker.SAME_FACE,
            "sameHead": tracker.SAME_HEAD,
            "reach": tracker.REACH,
            "reachAgain": tracker.REACH_AGAIN,
            "sizeChangeAgain": tracker.SIZE_CHANGE_AGAIN,
            "frontalShare": smoothing.FRONTAL_SHARE,
            "minGain": tracker.Motion.MIN_GAIN,
            "gainPerSize": tracker.Motion.GAIN_PER_SIZE,
            "sizeGain": tracker.Motion.SIZE_GAIN,
        },
        "CAMERA_DISTANCE": CAMERA_DISTANCE,
        "JAW_ROUNDS": JAW_ROUNDS,
        "JAW_ON_EDGE": JAW_ON_EDGE,
        "FRONT_Z": head.FRONT_Z,
        "POSE_POINTS": POSE_POINTS,
        "HEAD": np.round(HEAD, 5),
    }
    lines = ["// Written by `python -m tools.demo --constants` from the Python modules.", ""]
    lines += [f"export const {name} = {json.dumps(_plain(value))};" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _plain(value):
    """A value as JSON has it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "items"):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


GENERATED = {"landmarks.js": landmarks_js, "constants.js": constants_js}

# --- building ------------------------------------------------------------------------------------


def install() -> None:
    """Fetch ONNX Runtime Web into demo/node_modules/ unless it is there at the locked version.

    Raises DemoError where npm is missing or fails.
    """
    locked = json.loads((SOURCE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    package = SOURCE / RUNTIME / "package.json"
    wanted = locked[RUNTIME.as_posix()]["version"]
    if package.is_file() and json.loads(package.read_text(encoding="utf-8"))["version"] == wanted:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise DemoError(
            "npm was not found, which fetches ONNX Runtime Web; install Node.js (on Debian: apt-get install "
            "npm) and run `make demo` again"
        )
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    answer = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True)
    if answer.returncode:
        raise DemoError(f"`npm ci` in {SOURCE} failed: {answer.stderr.strip()[-500:]}")


def build(output: Path = OUTPUT) -> None:
    """Copy page, runtime, networks and sample photos into a folder, which is replaced as a whole.

    Raises DemoError or CheckpointError for what is missing or is not the file of its config.
    """
    install()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".demo-") as folder:
        new = Path(folder) / "new"
        new.mkdir()
        for path in (path for pattern in PAGE_FILES for path in sorted(SOURCE.glob(pattern))):
            shutil.copy(path, new)
        _copy_runtime(new / "ort")
        for name in NETWORKS:
            _copy_network(name, new / "networks" / name)
        _write_samples(new / "samples")
        if output.exists():
            output.rename(Path(folder) / "old")
        new.rename(output)


def _copy_runtime(target: Path) -> None:
    target.mkdir()
    for name in RUNTIME_FILES:
        shutil.copy(SOURCE / RUNTIME / "dist" / name, target)
    for licence in (SOURCE / RUNTIME).glob("LICENSE*"):
        shutil.copy(licence, target)


def _copy_network(name: str, target: Path) -> None:
    """The config and the 8-bit file, whose SHA-256 the config has."""
    model = SAVED_MODELS / name / "model-int8.onnx"
    expected = load_config(SAVED_MODELS / name).onnx.get(model.name)
    if not model.is_file() or sha256_of(model) != expected:
        raise CheckpointError(
            f"{model} is missing or is not the file of its config; run python export_onnx.py {name}"
        )
    target.mkdir(parents=True)
    shutil.copy(model, target)
    shutil.copy(SAVED_MODELS / name / CONFIG_FILE, target)


def _write_samples(target: Path) -> None:
    target.mkdir()
    for name, image in sample_photos().items():
        name = {"hopper": "grace_hopper"}.get(name, name)
        Image.fromarray(image).save(target / f"{name}.jpg", quality=92)


# --- serving -------------------------------------------------------------------------------------


class _Handler(SimpleHTTPRequestHandler):
    def guess_type(self, path) -> str:
        """The types that a browser insists on, whatever this system's table says."""
        return TYPES.get(Path(path).suffix) or super().guess_type(path)

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *arguments) -> None:
        """Say nothing."""


def serve(port: int, folder: Path = OUTPUT) -> ThreadingHTTPServer:
    """A server for a folder on 127.0.0.1. port: 0 takes any free one. Raises DemoError for one in use."""
    try:
        return ThreadingHTTPServer(
            ("127.0.0.1", port), functools.partial(_Handler, directory=str(folder))
        )
    except OSError as error:
        raise DemoError(
            f"port {port} cannot be used ({error.strerror}); choose another with --port"
        ) from error


def run(args: argparse.Namespace) -> int:
    """Build, then serve until Ctrl-C."""
    if args.constants:
        for name, text in GENERATED.items():
            with atomic_path(SOURCE / name) as temporary:
                temporary.write_text(text(), encoding="utf-8")
        return 0
    build()
    print(f"built {OUTPUT.relative_to(ROOT)}")
    if args.build_only:
        return 0
    with serve(args.port) as server:
        print(f"http://127.0.0.1:{server.server_port}/   (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def main(arguments=None) -> int:
    """Build and serve, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build-only", action="store_true", help="do not serve")
    parser.add_argument("--constants", action="store_true", help="write the generated files of demo/")
    parser.add_argument("--port", type=int, default=8000, help="port, 0 for any free one (default 8000)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(arguments)
    return run_command("tools.demo", lambda: run(args), debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
