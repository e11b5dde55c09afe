"""Find faces and their 68 keypoints in images, folders and videos:

    python detect.py photo.jpg                                  prints JSON
    python detect.py photos/ 'more/*.png' --output out --draw   out/faces.json, out/drawn/
    python detect.py clip.mp4 webcam:0 --output out --draw      out/clip.csv, out/drawn/clip.mp4

Single images are printed; folders, patterns, videos, --draw and --format pts go to the folder
--output (default keypoints/). A run that was stopped goes on with the same line and --resume:
nothing is done twice, also not what could not be read. The first face of a.jpg is the largest.

Exit code: 0 all done; 1 nothing could be done, or the line is wrong; 2 some inputs were
skipped, each reported on standard error; 130 interrupted.
"""

import argparse
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


class Parser(argparse.ArgumentParser):
    """argparse leaves with 2 when the line is wrong; here 2 means that inputs were skipped."""

    def error(self, message):
        """Say what is wrong and leave with 1."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def parse_arguments(arguments=None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="IN", help="image, folder (with all below it), pattern, video, webcam:0")
    add("--output", metavar="DIR", help="folder for results (default: see above)")
    add("--format", choices=RESULT_FILES, default="json", help="of the results of images (default json)")
    add("--draw", action="store_true", help="also write the images and videos with the faces drawn in")
    add("--resume", action="store_true", help="go on with the run that was begun in --output")
    add("--checkpoint", metavar="NAME", help="name in saved_models/, folder, or OWNER/NAME on the hub")
    add("--runtime", choices=("torch", "onnx", "onnx-int8"), default="torch")
    add("--device", default="cpu", help="for the runtime torch: cpu, cuda, mps (default cpu)")
    add("--min-confidence", type=_share, metavar="P", help="drop faces with less, 0 to 1 (default 0.5)")
    add("--workers", type=_count, metavar="N", help="processes that read images, or tasks of Ray")
    add("--batch", type=_positive, default=32, metavar="N", help="images a step of the network (default 32)")
    add("--engine", choices=("local", "ray"), default="local", help="ray needs requirements-ray.txt")
    return parser.parse_args(arguments)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError("must be at least 1, got 0")
    return int(text)


class Run:
    """One run of the command: what to do, and how it went."""

    def __init__(self, args: argparse.Namespace):
        from detector.folder import common_base, expand_globs, is_video

        self.args = args
        self.done = self.skipped = 0
        self.tables: list[Path] = []
        names, unmatched = expand_globs(args.inputs)
        for pattern in unmatched:
            self.skip(pattern, "nothing matches this pattern, and there is no such file")
        self.videos = [name for name in names if is_video(name)]
        self.images = [name for name in names if not is_video(name)]
        self.base = common_base(names)
        single = names == args.inputs and not any(map(os.path.isdir, names))
        to_files = args.output or args.draw or args.resume or args.format == "pts" or self.videos
        self.output = Path(args.output or DEFAULT_OUTPUT) if to_files or not single else None

    def skip(self, name: str, problem: str) -> None:
        """Say that an input was skipped, and why."""
        self.skipped += 1
        print(_skipped(name, problem), file=sys.stderr)

    def work(self) -> int:
        """Do everything; returns the exit code."""
        from detector.predictor import DEFAULT_CHECKPOINT, MIN_CONFIDENCE, KeypointDetector

        args = self.args
        least = MIN_CONFIDENCE if args.min_confidence is None else args.min_confidence
        self.load = {
            "name": args.checkpoint or DEFAULT_CHECKPOINT,
            "device": args.device,
            "runtime": args.runtime,
            "min_confidence": least,
        }
        self.detector = KeypointDetector.from_pretrained(**self.load)
        if self.images:
            with tempfile.TemporaryDirectory() if self.output is None else nullcontext(self.output) as folder:
                self.detect_images(Path(folder))
        for video in self.videos:
            self.track(video)
        return (2 if self.skipped else 0) if self.done else 1

    # --- images --------------------------------------------------------------------------

    def detect_images(self, folder: Path) -> None:
        """Everything that is no video, by way of a journal in the folder."""
        from tqdm import tqdm

        from detector.folder import list_images
        from detector.resume_log import ResumeLog

        with ResumeLog(folder, self._settings(), resume=self.args.resume) as resume_log:
            paths = resume_log.pending(list_images(self.images, self.skip, skip_folder=self.output))
            with tqdm(unit=" images", disable=None, delay=2, initial=resume_log.images) as bar:
                for found in self._results(paths):
                    resume_log.add(found)
                    bar.update(len(found))
                    for image in found:
                        if image.error:
                            bar.write(_skipped(image.image, image.error), file=sys.stderr)
            self._write(resume_log, folder)
            resume_log.finish()
            self.done += resume_log.images - resume_log.errors
            self.skipped += resume_log.errors

    def _settings(self) -> dict:
        places = {"folder": os.getcwd(), "base": str(self.base)}
        return {key: self.load[key] for key in ("name", "runtime", "min_confidence")} | {
            "drawn": self.args.draw,
            **places,
        }

    def _results(self, paths: Iterator[str]) -> Iterator[list]:
        from detector.folder import Drawing, available_cores, detect_paths, workers_for

        args = self.args
        options = {"batch": args.batch, "drawing": None}
        if args.draw:
            options["drawing"] = Drawing((self.output / "drawn").absolute(), self.base)
        if args.engine == "ray":
            from detector.ray_engine import detect_with_ray

            return detect_with_ray(paths, self.load, options, tasks=args.workers)
        first = list(islice(paths, FEW + 1))
        workers = args.workers
        if workers is None:
            workers = workers_for(available_cores()) if len(first) > FEW else 0
        return detect_paths(self.detector, chain(first, paths), workers=workers, **options)

    def _write(self, resume_log, folder: Path) -> None:
        from detector.formats import write_results, write_text

        counts = f"{resume_log.images - resume_log.errors} images, {resume_log.faces} faces, {resume_log.errors} skipped"
        if self.output is None:
            write_text(resume_log, sys.stdout, self.args.format)
            return
        target = folder / RESULT_FILES[self.args.format]
        write_results(resume_log, target, self.args.format, base=self.base)
        print(f"{target}: {counts}")

    # --- videos --------------------------------------------------------------------------

    def track(self, video: str) -> None:
        """One video or camera: a table of its faces, and with --draw a video."""
        from detector.folder import check_not_input
        from video.track import track_video

        table, drawn = self._video_files(video)
        if self.args.resume and table.exists():
            self.done += 1
            return
        output = drawn if self.args.draw else None
        try:
            check_not_input(drawn, video)
            summary = track_video(
                self.detector, video, output, table, min_confidence=self.load["min_confidence"]
            )
        except (OSError, ValueError) as error:
            self.skip(video, str(error))
            return
        self.done += 1
        print(f"{table}: {summary.frames} frames, {summary.with_faces} with faces")

    def _video_files(self, video: str) -> tuple[Path, Path]:
        """Table and annotated video: clip.csv, drawn/clip.mp4; where these are taken, clip.avi.csv ...."""
        from detector.formats import output_path

        name = output_path(self.output, video.replace(":", ""), self.base)
        stem = name.with_suffix("") if name.with_suffix("") not in self.tables else name
        self.tables.append(stem)
        drawn = self.output / "drawn" / stem.relative_to(self.output)
        return stem.with_name(f"{stem.name}.csv"), drawn.with_name(f"{drawn.name}.mp4")


def _skipped(name: str, problem: str) -> str:
    what = problem if name in problem else f"{name}: {problem}"
    return f"detect.py: skipped: {what}"


def main(arguments=None) -> int:
    """Detect, and return the exit code."""
    args = parse_arguments(arguments)
    try:
        return Run(args).work()
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"detect.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same line with --resume to go on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
