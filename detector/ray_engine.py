"""Faces in many images on a cluster: Ray Data hands lists of paths to the nodes that are free.

    python detect.py frames/ --output out --engine ray

Needs requirements-ray.txt. Run it on a node of a running cluster (`ray start`); without a cluster,
Ray starts on this machine. Every node needs the images, this repository and its packages under the
same paths: a shared file system. Any node may die except the one that runs detect.py: Ray repeats
what was lost, and every image counts once.
"""

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

from checkpoint import CONFIG_FILE
from detector.folder import detect_paths
from detector.predictor import KeypointDetector
from detector.results import ImageFaces, from_dict, to_dict

#: The folder from which this code is imported: of the clone, or of what is installed.
ROOT = Path(sys.modules[__name__.partition(".")[0]].__file__ or "").resolve().parents[1]
SHARD = 64  # images per task; that many are repeated when a node dies
WAVE = 500  # shards that Ray knows of at a time, so that memory does not grow with the number of files


def connect() -> None:
    """Join the cluster that RAY_ADDRESS names or that runs on this machine; else start Ray on this machine.

    Raises ImportError, which says what to install, and RuntimeError if Ray does not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # without this, Ray reports to its makers
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(f"--engine ray needs Ray ({error}): pip install -r requirements-ray.txt") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(
        logging.ERROR
    )  # without this, it prints each step on standard error
    if not ray.is_initialized():
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        try:
            ray.init(runtime_env={"env_vars": {"PYTHONPATH": paths}}, logging_level="error")
        except Exception as error:  # Ray raises many types, Exception itself among them
            raise RuntimeError(f"Ray does not start: {error}") from error


def detect_with_ray(
    paths: Iterable[str], load: dict, options: dict, *, tasks: int | None = None, shard: int = SHARD
) -> Iterator[list[ImageFaces]]:
    """Results of all paths, one list per shard, in the order in which shards are done.

    load: arguments of `KeypointDetector.from_pretrained`. options: arguments of `detect_paths`.
    tasks: number of tasks at a time, of one CPU each; None for as many as there are CPUs.
    Raises RuntimeError for an error that would end the run on one machine too, if Ray gives up, and if it
    returns fewer results than paths.
    """
    connect()
    if (Path(load["name"]) / CONFIG_FILE).is_file():
        load = load | {"name": os.path.abspath(load["name"])}  # workers run in a folder of their own
    names = iter(paths)
    shards = iter(lambda: list(islice(names, shard)), [])
    while wave := list(islice(shards, WAVE)):
        yield from _map(wave, load, options, tasks)


def _map(shards: list[list[str]], load: dict, options: dict, tasks: int | None) -> Iterator[list[ImageFaces]]:
    import ray.data

    waiting = {name for shard in shards for name in shard}
    rows = ray.data.from_items([{"shard": json.dumps(s)} for s in shards], override_num_blocks=len(shards))
    settings = {"load": load, "options": options, "folder": os.getcwd()}
    # Ray Data repeats what died with a node, without end.
    rows = rows.map(detect_shard, fn_kwargs=settings, num_cpus=1, concurrency=tasks)
    for row in _until_it_gives_up(rows.iter_rows()):
        if row["problem"]:
            raise RuntimeError(row["problem"])
        found = [from_dict(values) for values in json.loads(row["found"])]
        found = [image for image in found if image.image in waiting]
        waiting.difference_update(image.image for image in found)
        yield found
    if waiting:
        raise RuntimeError(f"Ray lost {len(waiting)} images, {min(waiting)} among them; go on with --resume")


def _until_it_gives_up(rows: Iterable[dict]) -> Iterator[dict]:
    from ray.exceptions import RayError

    try:
        yield from rows
    except RayError as error:
        raise RuntimeError(f"Ray gave up, go on with --resume: {error}") from error


def detect_shard(row: dict, load: dict, options: dict, folder: str) -> dict:
    """One task: results of the paths in row['shard'] as ['found'], both as JSON.

    An error becomes ['problem'], because Ray would print a page of its own stack for an exception.
    """
    names = json.loads(row["shard"])
    paths = [os.path.join(folder, name) for name in names]
    try:
        found = chain.from_iterable(detect_paths(_detector(**load), paths, **options))
        named = [_named(image, name) for image, name in zip(found, names, strict=True)]
    except Exception as error:
        return {"found": "[]", "problem": str(error) or type(error).__name__}
    return {"found": json.dumps([to_dict(image) for image in named]), "problem": ""}


def _named(image: ImageFaces, name: str) -> ImageFaces:
    """The result under the name that was asked for, also in its error."""
    return replace(image, image=name, error=image.error.replace(image.image, name))


@lru_cache(maxsize=1)
def _detector(**load) -> KeypointDetector:
    """The detector, loaded once in each worker process, which Ray uses for many tasks."""
    return KeypointDetector.from_pretrained(**load)
