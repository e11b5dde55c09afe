"""Feed hostile inputs to the library and the commands, and count what happens:

    python -m tools.attack                        # 20,000 cases, writes benchmarks/attack/
    python -m tools.attack --cases 2000 --no-record
    python -m tools.attack --only "image files" --seed 7 --cases 500

A case is made from (seed, class, number) alone, so that it can be made again. It is accepted (an answer of
the right form) or refused (an error of a declared type, or a command's exit code with one line of text).
Everything else is a failure: another exception, a traceback, a hang of more than 30 s, a file of the user
that changed or vanished, more than 2 GB of memory. Each class runs in a process of its own.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from queue import Empty

import numpy as np
from PIL import Image

from benchmarks.attack.page import RECORD, write_page
from files import write_json
from tools.hostile import any_text, any_value, damaged, image_bytes, png_of_any_size
from training.records import provenance

ROOT = Path(__file__).resolve().parents[1]
MAX_SECONDS, MAX_BYTES = 30.0, 2 * 2**30
ACCEPTED, REFUSED = "accepted", "refused"


# --- the classes of cases: (rng, folder) -> ACCEPTED or REFUSED --------------------------------------


def image_files(rng: random.Random, folder: Path) -> str:
    """An image file that is damaged, announces absurd sizes, or is no image."""
    from files import to_rgb

    data = png_of_any_size(rng) if rng.random() < 0.2 else damaged(image_bytes(rng), rng)
    path = folder / f"image{rng.choice(('.jpg', '.png', '', '.tif', '.mp4'))}"
    path.write_bytes(data)
    try:
        pixels = to_rgb(path)
    except (OSError, ValueError, TypeError):
        return REFUSED
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    return ACCEPTED


def arrays(rng: random.Random, folder: Path) -> str:
    """An array of any shape, type and range in place of an image."""
    from files import to_rgb

    shape = tuple(rng.choice((0, 1, 2, 3, 4, 5, 20)) for _ in range(rng.randrange(5)))
    kinds = (
        "uint8",
        "uint16",
        "int16",
        "int64",
        "float16",
        "float64",
        "bool",
        "complex64",
        "U3",
        "object",
        ">u2",
    )
    numbers = np.random.default_rng(rng.randrange(2**32)).normal(scale=rng.choice((0.1, 1, 1e30)), size=shape)
    with np.errstate(all="ignore"):
        array = numbers.astype(rng.choice(kinds))
    try:
        pixels = to_rgb(array)
    except (ValueError, TypeError):
        return REFUSED
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    return ACCEPTED


def boxes(rng: random.Random, folder: Path) -> str:
    """Boxes of any form for a detector whose network always answers with a ring of points."""
    from detector.predictor import check_boxes

    image = np.zeros((rng.randrange(1, 60), rng.randrange(1, 60), 3), np.uint8)
    given = [
        [
            rng.choice((0, -5, 3.5, 20, 1e9, float("nan"), float("inf"), -1e30))
            for _ in range(rng.choice((4, 4, 4, 3, 5)))
        ]
        for _ in range(rng.randrange(4))
    ]
    given = rng.choice((given, given, any_value(rng)))
    try:
        found = check_boxes(given, image)
    except ValueError:
        return REFUSED
    assert all(box.shape == (4,) for box in found)
    return ACCEPTED


def _checkpoint(folder: Path) -> Path:
    """A small checkpoint, made once per class."""
    from checkpoint import ModelConfig, save_checkpoint
    from models import build_model

    target = folder.parent / "checkpoint"
    if not target.exists():
        config = ModelConfig(model="two_layer_cnn", input_size=32, keypoint_mean=15.5, keypoint_std=8.0)
        save_checkpoint(target, build_model("two_layer_cnn", input_size=32), config)
    return target


def configs(rng: random.Random, folder: Path) -> str:
    """A config.json with a field of another type or range, an unknown field, or damaged text."""
    from checkpoint import CheckpointError, load_checkpoint

    shutil.copytree(_checkpoint(folder), folder / "c")
    path = folder / "c" / "config.json"
    values = json.loads(path.read_text())
    if rng.random() < 0.2:
        path.write_bytes(damaged(path.read_bytes(), rng))
    else:
        for _ in range(rng.choice((1, 1, 2))):
            values[rng.choice([*values, any_text(rng, 8)])] = any_value(rng)
        path.write_text(json.dumps(values))
    try:
        _, config = load_checkpoint(folder / "c")
    except CheckpointError:
        return REFUSED
    assert np.isfinite(config.keypoint_std)
    assert 1 <= config.passes <= 100
    return ACCEPTED


def weights(rng: random.Random, folder: Path) -> str:
    """A damaged safetensors file."""
    from checkpoint import CheckpointError, load_checkpoint

    shutil.copytree(_checkpoint(folder), folder / "c")
    path = folder / "c" / "model.safetensors"
    path.write_bytes(damaged(path.read_bytes(), rng))
    try:
        model, _ = load_checkpoint(folder / "c")
    except CheckpointError:
        return REFUSED
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())
    return ACCEPTED


def onnx_files(rng: random.Random, folder: Path) -> str:
    """A damaged ONNX file beside a config."""
    from checkpoint import SAVED_MODELS, CheckpointError
    from detector import KeypointDetector

    source = SAVED_MODELS / "heatmapnet-small"
    (folder / "c").mkdir()
    shutil.copy(source / "config.json", folder / "c")
    (folder / "c" / "model-int8.onnx").write_bytes(damaged((source / "model-int8.onnx").read_bytes(), rng))
    try:
        KeypointDetector.from_pretrained(str(folder / "c"), runtime="onnx-int8")
    except CheckpointError:
        return REFUSED
    return ACCEPTED


def recipes(rng: random.Random, folder: Path) -> str:
    """A recipe with fields set to any text, as --set does."""
    from dataclasses import fields

    from training.recipes import RECIPES, Recipe

    recipe = rng.choice(list(RECIPES.values()))
    names = [field.name for field in fields(Recipe)]
    names += [f"augmentation.{field.name}" for field in fields(recipe.augmentation)] + [
        "model_args.width",
        "model_args.foo",
    ]
    texts = (
        "0",
        "-1",
        "nan",
        "inf",
        "1e30",
        "1.5",
        "true",
        "",
        "1,2,3",
        "zzz",
        "raw",
        "mse",
        "3",
        "0.5",
        any_text(rng),
    )
    try:
        recipe.override({rng.choice(names): rng.choice(texts) for _ in range(rng.choice((1, 2)))})
    except ValueError:
        return REFUSED
    return ACCEPTED


def keypoint_tables(rng: random.Random, folder: Path) -> str:
    """A keypoints CSV with a damaged cell, row or head."""
    from data_load import read_keypoints_csv

    rows = [["", *map(str, range(136))]]
    rows += [[f"a{n}.jpg", *(f"{rng.uniform(0, 90):.1f}" for _ in range(136))] for n in range(3)]
    for _ in range(rng.choice((0, 1, 2))):
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = rng.choice(
            ("", "x", "1e30", "-99999", "nan", "inf", '"', any_text(rng))
        )
    if rng.random() < 0.3:
        rng.choice(rows).append("1") if rng.random() < 0.5 else rows.pop(0)
    data = "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogateescape")
    path = folder / "k.csv"
    path.write_bytes(damaged(data, rng) if rng.random() < 0.3 else data)
    try:
        _, keypoints = read_keypoints_csv(path)
    except (ValueError, OSError):
        return REFUSED
    assert np.isfinite(keypoints).all()
    return ACCEPTED


def pts_files(rng: random.Random, folder: Path) -> str:
    """A damaged .pts file."""
    from files import read_pts

    lines = "\n".join(
        f"{rng.uniform(0, 90):.2f} {rng.uniform(0, 90):.2f}" for _ in range(rng.choice((68, 68, 67, 5)))
    )
    path = folder / "a.pts"
    path.write_bytes(damaged(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n".encode(), rng))
    try:
        points = read_pts(path)
    except (ValueError, OSError):
        return REFUSED
    assert points.shape == (68, 2)
    assert np.isfinite(points).all()
    return ACCEPTED


def _some_results(rng: random.Random):
    from detector.results import ImageFaces, make_face

    def face():
        points = np.random.default_rng(rng.randrange(2**32)).uniform(0, 90, (68, 2))
        return make_face(points, [0, 0, 90, 90], rng.choice((None, 0.5)))

    return [
        ImageFaces(
            f"{any_text(rng, 6)}{n}.jpg".replace("\0", ""),
            (100, 100),
            [face() for _ in range(rng.randrange(3))],
        )
        for n in range(rng.randrange(1, 4))
    ]


def result_files(rng: random.Random, folder: Path) -> str:
    """A result file that was damaged after it was written."""
    from detector.formats import read_results, write_results

    kind = rng.choice(("json", "csv", "coco"))
    path = folder / f"faces.{'csv' if kind == 'csv' else 'json'}"
    write_results(_some_results(rng), path, kind)
    path.write_bytes(damaged(path.read_bytes(), rng))
    try:
        read_results(path)
    except (ValueError, OSError):
        return REFUSED
    return ACCEPTED


def archives(rng: random.Random, folder: Path) -> str:
    """A zip archive with damaged bytes, paths that lead outside, or other files than expected."""
    from data_fetch import CSV_FILES, DataError, install_archive

    archive, target = folder / "a.zip", folder / "data"
    target.mkdir()
    wanted = [*CSV_FILES, "training/a.jpg", "test/a.jpg"]
    names = [*wanted, rng.choice(("../evil", "/evil", "C:\\evil", "training/../../evil", "training/b.jpg"))]
    with zipfile.ZipFile(archive, "w") as bundle:
        for name in rng.sample(names, rng.randrange(1, len(names) + 1)):
            bundle.writestr(name, rng.randbytes(rng.randrange(50)))
    data = archive.read_bytes()
    data = damaged(data, rng) if rng.random() < 0.5 else data
    with _served(data) as url:
        try:
            install_archive([url], target, wanted, lambda tree: "", (5, 5), progress=False)
        except DataError:
            assert not any(path.is_file() for path in target.rglob("*")), "something was left behind"
            return REFUSED
    assert not (folder / "evil").exists()
    return ACCEPTED


@contextlib.contextmanager
def _served(data: bytes):
    """An address on this machine that answers once with the bytes."""
    import http.server
    import threading

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data)

        def log_message(self, *_):
            """Nothing on standard error."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/a.zip"
    finally:
        server.shutdown()
        server.server_close()


def command_lines(rng: random.Random, folder: Path) -> str:
    """Options of the commands with absurd values; nothing of the user's may change."""
    import detect
    import evaluate
    import train
    from sample_faces import write_sample

    treasure = folder / rng.choice(("out", "faces.json", "drawn", "pts"))
    (folder / "in").mkdir()
    (folder / "in" / "a.jpg").write_bytes(damaged(image_bytes(rng), rng))
    treasure.mkdir(exist_ok=True)
    (treasure / "mine.txt").write_text("mine")
    os.environ["KEYPOINTS_DATA"] = str(write_sample(folder.parent / "data", 0, 2, 2, 1))
    odd = (
        "",
        "0",
        "-1",
        "nan",
        "x",
        "1e9",
        "/dev/null",
        str(folder / "missing"),
        str(treasure),
        any_text(rng).replace("\0", ""),
    )
    output = str(rng.choice((folder, treasure, folder / "new")))
    option = rng.choice(("--batch", "--workers", "--min-confidence", "--checkpoint", "--device"))
    field = rng.choice(("epochs=0", "ema_decay=nan", "a=b", "=", "passes=0", "input_size=1e9", "labels=zzz"))
    train_option = rng.choice(("--set", "--seed", "--minutes", "--validate", "--export"))
    lines = {
        "detect": [
            str(folder / "in"),
            "--output",
            output,
            "--format",
            rng.choice(("json", "pts", "csv", "zzz")),
        ],
        "train": ["--recipe", rng.choice(("naimishnet_quick", "zzz")), "--set", field],
        "evaluate": [rng.choice(odd), "--split", rng.choice(("identity", "zzz"))],
    }
    lines["detect"] += [option, rng.choice(odd)]
    lines["train"] += ["--run", str(treasure / "run"), train_option, rng.choice(odd)]
    name = rng.choice(list(lines))
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = {"detect": detect, "train": train, "evaluate": evaluate}[name].main(lines[name])
        except SystemExit as error:  # argparse
            code = error.code
    assert "Traceback" not in said.getvalue(), said.getvalue()
    assert (treasure / "mine.txt").read_text() == "mine"
    return ACCEPTED if code == 0 else REFUSED


def output_names(rng: random.Random, folder: Path) -> str:
    """Inputs whose names differ give outputs whose names differ, all inside the output folder."""
    from detector.formats import read_results, write_results

    found = {image.image: image for image in _some_results(rng) + _some_results(rng)}
    path = folder / "pts"
    try:
        write_results(list(found.values()), path, "pts")
    except (ValueError, OSError):
        return REFUSED
    if path.exists():
        assert sum(len(image.faces) for image in read_results(path)) == sum(
            len(image.faces) for image in found.values()
        )
    assert sorted(folder.iterdir()) in ([], [path])
    return ACCEPTED


def kills(rng: random.Random, folder: Path) -> str:
    """A run of detect.py is killed once or twice at any moment and resumed: all results, nothing lost."""
    import detect
    from detector.formats import read_results

    photos, output = folder / "in", folder / "out"
    photos.mkdir()
    names = [f"{number}.png" for number in range(5)]
    for name in names:
        noise = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photos / name)
    kind = rng.choice(("json", "csv", "coco"))
    line = [str(photos), "--output", str(output), "--format", kind, "--batch", "1", "--workers", "0"]
    line += ["--checkpoint", "heatmapnet-small", *rng.choice(([], ["--draw"]))]
    for _ in range(rng.choice((1, 2))):
        command = [sys.executable, str(ROOT / "detect.py"), *line, *_resume(output)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, 4))
        process.kill()
        process.wait()
    output.mkdir(exist_ok=True)
    (output / "mine.txt").write_text("mine")
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(said):
        code = detect.main([*line, *_resume(output)])
    assert code in (0, 2), said.getvalue()  # 2: no face was found
    results = next(path for path in output.iterdir() if path.name.startswith("faces"))
    if kind != "csv":  # a table has no line for an image without faces
        assert [image.image for image in read_results(results)] == [str(photos / name) for name in names]
    assert not [path.name for path in output.rglob(".*") if path.is_dir()], "leftovers of the killed run"
    assert (output / "mine.txt").read_text() == "mine"
    assert sorted(path.name for path in photos.iterdir()) == names
    return ACCEPTED


def _resume(output: Path) -> list[str]:
    """--resume, where a run was begun."""
    return ["--resume"] if output.is_dir() and any(output.iterdir()) else []


#: class -> (function, its share of all cases)
CLASSES: dict[str, tuple[Callable[[random.Random, Path], str], float]] = {
    "image files": (image_files, 0.239),
    "arrays": (arrays, 0.12),
    "boxes": (boxes, 0.08),
    "configs": (configs, 0.1),
    "weights": (weights, 0.08),
    "ONNX files": (onnx_files, 0.02),
    "recipes": (recipes, 0.1),
    "keypoint tables": (keypoint_tables, 0.06),
    ".pts files": (pts_files, 0.06),
    "result files": (result_files, 0.06),
    "output names": (output_names, 0.05),
    "archives": (archives, 0.02),
    "command lines": (command_lines, 0.01),
    "kills": (kills, 0.001),
}


# --- running -----------------------------------------------------------------------------------------


def run_case(name: str, seed: int, number: int, folder: Path) -> str:
    """ACCEPTED, REFUSED, or the text of the failure; works in a new folder below `folder`."""
    rng = random.Random(f"{seed} {name} {number}")
    case = Path(tempfile.mkdtemp(dir=folder))
    try:
        with _at_most(MAX_SECONDS):
            return CLASSES[name][0](rng, case)
    except Exception:
        return traceback.format_exc(limit=-6)
    finally:
        shutil.rmtree(case, ignore_errors=True)


@contextlib.contextmanager
def _at_most(seconds: float):
    """Raise TimeoutError in the block after so many seconds; does nothing on Windows."""

    def stop(*_):
        raise TimeoutError(f"a hang of more than {seconds:g} s")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _work(name: str, seed: int, count: int, outcomes) -> None:
    """The process of one class: puts (number, outcome) of each case, then (None, peak bytes)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            outcomes.put((number, run_case(name, seed, number, Path(folder))))
    outcomes.put((None, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def run_class(name: str, seed: int, count: int) -> dict:
    """Counts of a class: cases, accepted, refused, failures (texts), peak_bytes, slowest_s."""
    context = multiprocessing.get_context("spawn")
    outcomes = context.Queue()
    process = context.Process(target=_work, args=(name, seed, count, outcomes), daemon=True)
    process.start()
    counts, failures, slowest, peak, last = Counter(), [], 0.0, 0, time.monotonic()
    grace = 60.0  # for the first case, which imports everything
    while True:
        try:
            number, outcome = outcomes.get(timeout=1)
        except Empty:
            waited = time.monotonic() - last
            if not process.is_alive():
                failures.append(f"case {sum(counts.values())}: the process died with {process.exitcode}")
                break
            if waited > MAX_SECONDS + grace:
                failures.append(f"case {sum(counts.values())}: hangs for more than {MAX_SECONDS:g} s")
                process.kill()
                break
            continue
        if number is None:
            peak = outcome
            break
        if number:
            slowest = max(slowest, time.monotonic() - last)
        last, grace = time.monotonic(), 0.0
        counts[outcome if outcome in (ACCEPTED, REFUSED) else "failed"] += 1
        if outcome not in (ACCEPTED, REFUSED):
            failures.append(f"case {number}: {outcome}")
    process.join(5)
    if peak > MAX_BYTES:
        failures.append(f"{peak / 2**30:.1f} GB of memory")
    return {
        "cases": sum(counts.values()), "accepted": counts[ACCEPTED], "refused": counts[REFUSED],
        "failures": failures, "peak_bytes": peak, "slowest_s": round(slowest, 2),
    }  # fmt: skip


def run_all(names, seed: int, cases: int) -> dict[str, dict]:
    """class -> counts, each class with its share of the cases."""
    results = {}
    for name in names:
        results[name] = run_class(name, seed, max(1, round(CLASSES[name][1] * cases)))
        row = results[name]
        print(
            f"{name}: {row['cases']} cases, {row['refused']} refused, {len(row['failures'])} failures",
            flush=True,
        )
        for failure in row["failures"][:3]:
            print(f"  {failure}", flush=True)
    return results


# --- command line -----------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Run, record, and return the exit code: 1 if there was a failure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=CLASSES, default=list(CLASSES), metavar="CLASS")
    parser.add_argument("--no-record", action="store_true", help="write no record and no page")
    args = parser.parse_args(arguments)
    results = run_all(args.only, args.seed, args.cases)
    if not args.no_record:
        about = provenance("make attack", seed=args.seed)
        write_json(RECORD, {"seed": args.seed, "classes": results, "provenance": about})
        write_page()
    return 1 if any(row["failures"] for row in results.values()) else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
