"""The engine for clusters, on real node processes one of which is killed on the way.

Ray is optional (requirements-ray.txt); without it only the last test runs.
"""

import os
import shutil
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import psutil
import pytest
from media_files import write_mixed_folder
from stub_detector import stub_detector

import detect as command
from checkpoint import SAVED_MODELS
from data_load import sample_photos
from detector import DEFAULT_CHECKPOINT, KeypointDetector
from detector.folder import detect_paths
from detector.formats import read_results
from detector.ray_engine import detect_with_ray
from files import cv2

ROOT = Path(__file__).parent.parent
LOAD = {"device": "cpu", "runtime": "torch", "min_confidence": 0.5}
OPTIONS = {"batch": 8, "drawing": None}
SHARD = 6
STORE_BYTES = 80 * 2**20  # the least that Ray takes


# --- images -------------------------------------------------------------------------------


def write_many(folder: Path, faces: int, textures: int) -> list[str]:
    """Small images, faces among textures and files that are no images; their names, without the folder."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    photos = list(sample_photos().values())
    for number in range(faces):
        photo = photos[number % 2]
        size = int(rng.integers(110, 170))
        size_wh = size, size * photo.shape[0] // photo.shape[1]
        image = cv2.resize(photo, size_wh, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"face{number:02}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    for number in range(textures):
        coarse = rng.integers(0, 256, (int(rng.integers(4, 40)), 12, 3), dtype=np.uint8)
        image = cv2.resize(coarse, tuple(map(int, rng.integers(40, 110, 2))), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"texture{number:02}.png"), image)
    (folder / "text.jpg").write_text("not an image")
    (folder / "empty.png").write_bytes(b"")
    return rng.permutation([*sorted(os.listdir(folder)), "nowhere.png"]).tolist()


def same_results(found, expected) -> None:
    """Each image once in both, with the same faces to a few hundredths of a pixel."""
    assert sorted(image.image for image in found) == sorted(image.image for image in expected)
    by_name = {image.image: image for image in found}
    for same in expected:
        image = by_name[same.image]
        assert (image.error, image.size_wh) == (same.error, same.size_wh)
        assert len(image.faces) == len(same.faces), same.image
        for face, other in zip(image.faces, same.faces, strict=True):
            np.testing.assert_allclose(face.keypoints, other.keypoints, rtol=0, atol=0.05)
            np.testing.assert_allclose(face.box_xyxy, other.box_xyxy, rtol=0, atol=0.05)
            np.testing.assert_allclose(face.confidence, other.confidence, rtol=0, atol=0.01)


# --- a cluster of two node processes --------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    """A head and a second node, one CPU each; whoever connects finds them through RAY_ADDRESS."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    from ray.cluster_utils import Cluster

    # Results stay on the node that made them until they are asked for, as large ones do: they die with it.
    settings = {"max_direct_call_object_size": 0}
    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    head = {**node, "include_dashboard": False, "_system_config": settings}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.second = cluster.add_node(**node)
            patch.setenv("RAY_ADDRESS", cluster.address)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def processes_of(node) -> list[psutil.Process]:
    """The raylet of a node, and the workers that it started."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [raylet, *raylet.children(recursive=True)]


def is_at_work(process: psutil.Process) -> bool:
    """True for a worker in the middle of a task of ours; Ray writes that into its title."""
    try:
        return "detect_shard" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def kill_if_at_work(node) -> bool:
    """Kill the node without warning, if it is in the middle of a task; returns whether it was."""
    processes = processes_of(node)
    if not any(map(is_at_work, processes)):
        return False
    for process in processes:
        if process.is_running():
            process.kill()
    psutil.wait_procs(processes, timeout=10)
    return True


def wait_for_one_node(ray) -> None:
    deadline = time.monotonic() + 60
    while sum(node["Alive"] for node in ray.nodes()) != 1:
        assert time.monotonic() < deadline, "the cluster has not noticed that a node is gone"
        time.sleep(0.1)


def test_what_stops_a_task_stops_the_run_and_is_said(cluster, tmp_path, monkeypatch):
    """A task that has no checkpoint."""
    names = write_many(tmp_path / "in", faces=1, textures=0)
    monkeypatch.chdir(tmp_path / "in")
    with pytest.raises(RuntimeError, match="no checkpoint named 'nonexistent'"):
        list(detect_with_ray(names, LOAD | {"name": "nonexistent"}, OPTIONS))


def test_a_node_is_killed_and_nothing_is_lost_or_doubled(cluster, tmp_path, monkeypatch):
    import ray

    names = write_many(tmp_path / "in", faces=24, textures=100)
    shutil.copytree(SAVED_MODELS / DEFAULT_CHECKPOINT, tmp_path / "net")
    monkeypatch.chdir(tmp_path / "in")
    load = LOAD | {"name": os.path.join("..", "net")}  # nodes run elsewhere, and do not find it by this name
    found, killed_after = [], None
    for part in detect_with_ray(iter(names), load, OPTIONS, shard=SHARD):
        found += part
        if killed_after is None and kill_if_at_work(cluster.second):
            killed_after = len(found)
    assert killed_after is not None, "the second node was never seen at work"
    assert killed_after < len(names) - SHARD, "it was over before the node was killed"
    wait_for_one_node(ray)
    locally = detect_paths(KeypointDetector.from_pretrained(**load), names, **OPTIONS)
    expected = list(chain.from_iterable(locally))
    assert sum(len(image.faces) for image in expected) >= 24
    assert sum(bool(image.error) for image in expected) == 3
    same_results(found, expected)


# --- the command ----------------------------------------------------------------------------


def detect_in(folder: Path, *arguments) -> subprocess.CompletedProcess:
    """The command in a process of its own, which starts a Ray of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": "local"}
    line = [sys.executable, str(ROOT / "detect.py"), "in", *arguments]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_command_writes_what_the_local_engine_writes(tmp_path):
    pytest.importorskip("ray.data")
    write_many(tmp_path / "in", faces=4, textures=6)
    runs = {}
    for engine in ("local", "ray"):
        options = ["--engine", engine, "--workers=1", "--output", engine, "--draw"]
        run = runs[engine] = detect_in(tmp_path, *options)
        assert run.returncode == 2, run.stderr  # two files are no images
        assert run.stdout.startswith(f"{engine}{os.sep}faces.json: 10 images, "), run.stdout
        assert sorted(run.stderr.splitlines()) == sorted(runs["local"].stderr.splitlines())
    same_results(*(read_results(tmp_path / engine / "faces.json") for engine in runs))
    local, ray = (sorted(os.listdir(tmp_path / engine / "drawn")) for engine in runs)
    assert local == ray
    assert len(local) == 10


def test_without_ray_the_message_says_what_to_install(tmp_path, monkeypatch, capsys):
    for name in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it was not installed
    monkeypatch.setattr(KeypointDetector, "from_pretrained", lambda *_, **__: stub_detector())
    folder = write_mixed_folder(tmp_path / "in")
    for _ in range(2):  # the same line again: nothing was left that is in its way
        assert command.main([str(folder), "--engine", "ray", "--output", str(tmp_path / "out")]) == 1
        message = capsys.readouterr().err
        assert "--engine ray needs Ray" in message
        assert "pip install -r requirements-ray.txt" in message
