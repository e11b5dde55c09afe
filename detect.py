"""Find faces and their 68 keypoints in images, folders and videos:

    python detect.py photo.jpg                                  prints JSON
    python detect.py photos/ 'more/*.png' --output out --draw   out/faces.json, out/drawn/
    python detect.py clip.mp4 webcam:0 --output out --draw      out/videos/clip.mp4.csv, out/drawn/clip.mp4
    python detect.py clip.mp4 --output out --filter glasses     the same with glasses in place of keypoints

The results of single images are printed. Those of folders, patterns and videos, and everything
with --draw, --filter or --format pts, are written to the folder --output (default keypoints/). The first
face of a.jpg is the largest: with --format pts it is pts/a.jpg.pts, the next one a.jpg.face1.pts.

A run that was stopped goes on with the same line and --resume. Nothing is done twice; inputs that
could not be read are not tried again; a video that was stopped starts over. A result never
replaces anything that detect.py has not written: that is an error before any work. To replace
what an earlier run has written, add --overwrite.

Exit code: 0 all done; 1 nothing could be done, or the line is wrong; 2 some inputs were
skipped, each reported on standard error; 130 interrupted.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain, islice
from pathlib import Path

DEFAULT_OUTPUT = "keypoints"
RESULT_FILES = {"json": "faces.json", "csv": "faces.csv", "coco": "faces_coco.json", "pts": "pts"}
FEW = 16  # images for which no worker processes are started
CLAIMED_AT_ONCE = 64  # names that are noted in the resume log in one write
MAX_WORKERS = 1024


class Parser(argparse.ArgumentParser):
    """argparse leaves with 2 when the line is wrong; here 2 means that inputs were skipped."""

    def error(self, message):
        """Say what is wrong and leave with 1."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The arguments of the command line; a wrong line ends the program with exit code 1."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="IN", help="image, folder (with all below it), pattern, video, webcam:0")
    add("--output", metavar="DIR", help="folder for results (default: see above)")
    add("--format", choices=RESULT_FILES, default="json", help="of the results of images (default json)")
    add("--draw", action="store_true", help="also write the images and videos with the faces drawn in")
    add(
        "--filter",
        metavar="NAME",
        help="also write them with this filter on every face; a wrong NAME lists all",
    )
    add("--filter-photo", metavar="FILE", help="of --filter face_swap: the photo whose largest face is used")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the run that was begun in --output")
    again.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier run wrote in --output"
    )
    add("--checkpoint", metavar="NAME", help="name in saved_models/, folder, or OWNER/NAME on the hub")
    add(
        "--runtime",
        choices=("auto", "torch", "onnx", "onnx-int8"),
        default="auto",
        help="auto (default): onnx where ONNX Runtime is installed and the device is cpu, else torch",
    )
    add("--device", default="cpu", help="for the runtime torch: cpu, cuda, mps (default cpu)")
    add(
        "--face-detector",
        choices=("finder", "haar", "yunet"),
        help="finder: our own network (default where the checkpoint estimates confidence); haar: OpenCV's "
        "cascades; yunet: YuNet, downloaded when it is first used",
    )
    add("--yunet-model", metavar="FILE", help="your own file of YuNet's weights, for --face-detector yunet")
    add("--min-confidence", type=_share, metavar="P", help="drop faces with less, 0 to 1 (default 0.5)")
    add(
        "--workers",
        type=_number(0, MAX_WORKERS),
        metavar="N",
        help="processes that read images, or tasks of Ray",
    )
    add("--batch", type=_number(1, 65536), default=32, metavar="N", help="images per batch (default 32)")
    add("--engine", choices=("local", "ray"), default="local", help="ray needs requirements-ray.txt")
    add("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(arguments)
    if args.yunet_model and args.face_detector != "yunet":
        parser.error("--yunet-model needs --face-detector yunet")
    if args.filter_photo and args.filter != "face_swap":
        parser.error("--filter-photo belongs to --filter face_swap")
    args.inputs = [os.path.expanduser(name) for name in args.inputs]  # a pattern in quotes, Windows
    args.output = args.output and os.path.expanduser(args.output)
    return args


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {text!r}")
    return value


def _number(low: int, high: int):
    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}, got {text!r}")
        return value

    return convert


class Run:
    """One run of the command: what to do, and what was done."""

    def __init__(self, args: argparse.Namespace):
        from detector.face_finders import YuNetFaceDetector
        from detector.folder import common_base, expand_globs, is_video
        from detector.predictor import DEFAULT_CHECKPOINT, MIN_CONFIDENCE

        self.args = args
        self.draws = bool(args.draw or args.filter)
        self.filter_arguments: dict = {}
        if args.filter:
            from filters import create_filter

            create_filter(args.filter)  # a wrong name is an error before any work
        self.done = self.skipped = 0
        names, unmatched = expand_globs(args.inputs)
        for pattern in unmatched:
            self.skip(pattern, "nothing matches this pattern, and there is no such file")
        self.videos = [name for name in names if is_video(name)]
        self.images = [name for name in names if not is_video(name)]
        self.base = common_base(names)
        single = names == args.inputs and not any(map(os.path.isdir, names))
        to_files = (
            args.output or self.draws or args.resume or args.overwrite or args.format == "pts" or self.videos
        )
        self.output = Path(args.output or DEFAULT_OUTPUT) if to_files or not single else None
        face_detector = args.face_detector
        if face_detector == "yunet":
            face_detector = YuNetFaceDetector(args.yunet_model)
        self.load = {
            "name": args.checkpoint or DEFAULT_CHECKPOINT,
            "device": args.device,
            "runtime": args.runtime,
            "face_detector": face_detector,
            "min_confidence": MIN_CONFIDENCE if args.min_confidence is None else args.min_confidence,
        }

    def skip(self, name: str, problem: str) -> None:
        """Say that an input was skipped, and why."""
        self.skipped += 1
        self.say(_skipped(name, problem))

    def say(self, text: str) -> None:
        """Print one line on standard error, above the progress bar if there is one."""
        from tqdm import tqdm

        from files import one_line

        tqdm.write(f"detect.py: {one_line(text)}", file=sys.stderr)

    def work(self) -> int:
        """Do everything; returns the exit code."""
        from detector.predictor import KeypointDetector
        from detector.resume_log import ResumeLog
        from files import run_lock

        settings = self._settings()
        again = {"resume": self.args.resume, "overwrite": self.args.overwrite}
        place = tempfile.TemporaryDirectory() if self.output is None else nullcontext(self.output)
        with place as folder, run_lock(folder), ResumeLog(folder, settings, **again) as self.log:
            if self.log.damaged:
                self.say(f"{self.log.path}: {self.log.damaged} damaged lines; their images are done again")
            self._check_results()
            self.detector = KeypointDetector.from_pretrained(**self.load)
            if self.args.filter_photo:
                self.filter_arguments = {"donor": self._donor(self.args.filter_photo)}
            if self.images:
                self.detect_images()
            for video in self.videos:
                self.track(video)
            self.log.finish()
        return (2 if self.skipped else 0) if self.done else 1

    def _settings(self) -> dict:
        """The settings that the results depend on; --resume compares them with those of the earlier run."""
        from checkpoint import CONFIG_FILE, find_checkpoint
        from detector.predictor import RUNTIMES, choose_runtime

        folder = find_checkpoint(self.load["name"])
        if self.args.runtime == "auto":
            self.load["runtime"] = choose_runtime(folder, self.args.device)
        return {
            **{key: self.load[key] for key in ("name", "runtime", "min_confidence")},
            "face_detector": self.args.face_detector,
            "weights": _hash_of(folder / RUNTIMES[self.load["runtime"]]),
            "config": _hash_of(folder / CONFIG_FILE),
            "drawn": self.args.draw,
            "folder": os.getcwd(),
            "base": str(self.base),
            **self._filter_settings(),
        }

    def _filter_settings(self) -> dict:
        """The settings of a filter; none without one, as in the logs of runs without filters."""
        if not self.args.filter:
            return {}
        photo = self.args.filter_photo
        return {"filter": self.args.filter, "filter_photo": photo and _hash_of(Path(photo))}

    def _donor(self, photo: str):
        """The largest face in a photo, for a face swap; raises ValueError if there is none."""
        from files import read_image
        from filters import Donor

        image = read_image(photo)
        faces = self.detector(image)
        if not faces:
            raise ValueError(f"--filter-photo: there is no face in {photo}; name another photo")
        return Donor.of(image, faces[0])

    def _painter(self):
        """What is drawn into images and videos; a new one for every video, because filters remember faces."""
        from filters import create_filter
        from filters.painter import Painter

        name = self.args.filter
        return Painter(create_filter(name, **self.filter_arguments) if name else None, marks=self.args.draw)

    def _check_results(self) -> None:
        """Raises TakenError where a result would replace something that this run has not written."""
        from detector.outputs import DRAWN

        if self.images:
            self.log.check_free(RESULT_FILES[self.args.format], folder=self.args.format == "pts")
        if self.draws:
            self.log.check_free(DRAWN, folder=True)
        for video in self.videos:
            for name in self._video_names(video):
                self.log.check_free(name)

    # --- images --------------------------------------------------------------------------

    def detect_images(self) -> None:
        """All images, by way of the resume log."""
        from tqdm import tqdm

        from detector.folder import list_images

        log, places = self.log, {"skip_folder": self.output, "is_result": self.log.is_written}
        paths = log.pending(list_images(self.images, self.skip, note=self.say, **places))
        with tqdm(unit=" images", disable=None, delay=2, initial=log.images) as bar:
            for found in self._results(self._claim_drawn(paths) if self.draws else paths):
                log.add(found)
                bar.update(len(found))
                for image in found:
                    if image.error:
                        self.say(_skipped(image.image, image.error))
        self.done += log.images - log.errors
        self.skipped += log.errors
        self._write()

    def _claim_drawn(self, paths: Iterator[str]) -> Iterator[str]:
        """The paths again, once the log says that this run writes their images with faces drawn in."""
        from detector.outputs import DRAWN, overlay_name
        from detector.results import ImageFaces

        while some := list(islice(paths, CLAIMED_AT_ONCE)):
            free = {}
            for path in some:
                name = f"{DRAWN}/{overlay_name(path, self.base)}"
                try:
                    self.log.check_free(name)
                    free[path] = name
                except (ValueError, OSError) as error:
                    self.log.add([ImageFaces(path, error=str(error))])
                    self.say(_skipped(path, str(error)))
            self.log.claim(free.values())
            yield from free

    def _results(self, paths: Iterator[str]) -> Iterator[list]:
        from detector.folder import Drawing, available_cores, detect_paths, workers_for
        from detector.outputs import DRAWN

        args = self.args
        options = {"batch": args.batch, "drawing": None}
        if self.draws:
            options["drawing"] = Drawing((self.output / DRAWN).absolute(), self.base, self._painter())
        if args.engine == "ray":
            from detector.ray_engine import detect_with_ray

            return detect_with_ray(paths, self.load, options, tasks=args.workers)
        first = list(islice(paths, FEW + 1))
        workers = args.workers
        if workers is None:
            # the ONNX runtimes use all cores, and need no PyTorch as worker processes do
            many = len(first) > FEW and self.load["runtime"] == "torch"
            workers = workers_for(available_cores()) if many else 0
        return detect_paths(self.detector, chain(first, paths), workers=workers, **options)

    def _write(self) -> None:
        """The file or folder of results, from the resume log."""
        from detector.formats import write_results, write_text
        from detector.outputs import output_path, pts_names

        log, format = self.log, self.args.format
        counts = f"{log.images - log.errors} images, {log.faces} faces, {log.errors} skipped"
        if self.output is None:
            write_text(log, sys.stdout, format)
            return
        name = RESULT_FILES[format]
        if format == "pts":
            log.check_free(name, folder=True)
            names = (
                f"{name}/{n}" for image in log for n in pts_names(image.image, self.base, len(image.faces))
            )
            while some := list(islice(names, CLAIMED_AT_ONCE)):
                log.claim(some)
        else:
            log.claim([name])
        target = output_path(self.output, name)
        write_results(log, target, format, base=self.base, report=self.skip)
        print(f"{target}: {counts}")

    # --- videos --------------------------------------------------------------------------

    def _video_names(self, video: str) -> list[str]:
        """The table of a video's faces and, with --draw or --filter, the video with the faces drawn in."""
        from detector.outputs import DRAWN, VIDEOS, output_name

        table = f"{VIDEOS}/{output_name(video, self.base, '.csv')}"
        return [table, f"{DRAWN}/{output_name(video, self.base, '.mp4')}"] if self.draws else [table]

    def track(self, video: str) -> None:
        """One video or camera: a table of its faces, and with --draw a video."""
        from files import cv2, error_message

        try:
            if not self._is_done(video):
                self._track(video)
            self.done += 1
        except (OSError, ValueError, MemoryError, cv2.error) as error:
            self.skip(video, error_message(error))

    def _is_done(self, video: str) -> bool:
        """True for a video that is done already.

        Raises ValueError if the video has changed since.
        """
        if video not in self.log.videos:
            return False
        was, now = self.log.videos[video], _fingerprint(video)
        changed = [f"{key} was {was.get(key)}, is {now.get(key)}" for key in now if now[key] != was.get(key)]
        if changed:
            raise ValueError(
                f"{video} has changed since it was done ({'; '.join(changed)}); use --overwrite, or another "
                "--output"
            )
        return all((self.output / name).exists() for name in self._video_names(video))

    def _track(self, video: str) -> None:
        from detector.folder import check_not_input
        from detector.outputs import output_path
        from video.track import track_video

        names = self._video_names(video)
        paths = [output_path(self.output, name) for name in names]
        for path in paths:
            check_not_input(path, video)
        if video in self.log.begun and video not in self.log.videos:
            self.say(f"{video} was stopped before its end, and starts over")
        fingerprint = _fingerprint(video)
        self.log.claim(names)
        self.log.begin_video(video)
        table, drawn = paths if self.draws else (*paths, None)
        least = self.load["min_confidence"]
        summary = track_video(
            self.detector, video, drawn, table, min_confidence=least, draw=self._painter().frame
        )
        self.log.end_video(video, fingerprint)
        print(f"{table}: {summary.frames} frames, {summary.with_faces} with faces")
        if summary.is_cut:
            self.say(
                f"{video} announces {summary.announced} frames, and only {summary.frames} could be read; it "
                "may have been cut off"
            )


def _skipped(name: str, problem: str) -> str:
    return f"skipped: {problem if name in problem else f'{name}: {problem}'}"


def _hash_of(path: Path) -> str:
    """The first 16 digits of a file's SHA-256; empty where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _fingerprint(video: str) -> dict:
    """Size and time of a video file, by which a change is noticed; empty for cameras and streams."""
    if not os.path.isfile(video):
        return {}
    status = os.stat(video)
    return {"size": status.st_size, "time of change": status.st_mtime_ns}


def main(arguments=None) -> int:
    """Detect, and return the exit code."""
    args = parse_arguments(arguments)
    try:
        from files import run_command
    except ImportError as error:  # of OpenCV; the message says what to install
        print(f"detect.py: {error}", file=sys.stderr)
        return 1
    interrupted = "Run the same line with --resume to go on."
    return run_command("detect.py", lambda: Run(args).work(), debug=args.debug, interrupted=interrupted)


if __name__ == "__main__":
    sys.exit(main())
