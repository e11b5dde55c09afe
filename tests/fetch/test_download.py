"""Downloading against a real server on 127.0.0.1, with real faults; always through `find_data`."""

import multiprocessing
import os
import signal
import socket
import struct

import pytest
from small_data import encode, listing, make_zip, put, serve

import data_fetch
from data_fetch import DamagedArchiveError, DataError, DataNotFoundError, check_data, find_data


@pytest.fixture
def server():
    with serve() as running:
        yield running


@pytest.fixture
def dead_url():
    """Nobody listens on a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/data.zip"


# --- good downloads -----------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "P1_Facial_Keypoints-6e55adc/data/"])
def test_download_unpacks_what_is_expected_and_nothing_else(find, data, small, server, prefix):
    rubbish = {
        "__MACOSX/training/._Ann_Lee_00.jpg": b"x",
        "test/Unlabelled_00.jpg": b"x",
        "training/.DS_Store": b"x",
    }
    outside = {"README.md": b"other", "notebook.ipynb": b"{}"}
    archive = make_zip({**outside, **{prefix + name: c for name, c in {**rubbish, **small.files}.items()}})
    server.behaviours["/data.zip"] = 200, archive
    location = find(sources=(server.url("/data.zip"),))
    assert (location.folder, location.source) == (data, "download")
    assert listing(data) == sorted(["README.md", "training", "test", *small.files])
    assert all((data / name).read_bytes() == content for name, content in small.files.items())
    assert (data / "README.md").read_text() == "kept"
    assert find(sources=()).source == "repository"


def test_a_slow_server_is_waited_for_as_long_as_it_sends(find, small, server):
    archive = make_zip(small.files)
    step = len(archive) // 9
    pieces = [part for i in range(0, len(archive), step) for part in (archive[i : i + step], 0.2)]
    server.behaviours["/slow.zip"] = 200, *pieces  # 2 s in all, against a stall timeout of 1 s
    assert find(sources=(server.url("/slow.zip"),), stall_timeout=1.0).source == "download"


FIRST = {
    "404": lambda whole: (404,),
    "cut short": lambda whole: (200, whole[:999], "close", whole[999:]),
    "stalls": lambda whole: (200, whole[:999], 30.0, whole[999:]),
    "a page": lambda whole: (200, b"<html>sign in</html>"),
    "half": lambda whole: (200, whole[:-300]),
    "altered": lambda whole: (200, whole[:400] + bytes([whole[400] ^ 1]) + whole[401:]),
    "too long by its header": lambda whole: (200, str(len(whole) + 5), whole, "close"),
    "too short by its header": lambda whole: (200, str(len(whole) - 5), whole),
}


@pytest.mark.parametrize("fault", ["dead", *FIRST])
def test_the_second_source_is_tried_when_the_first_is_bad(find, data, small, server, dead_url, fault):
    archive = make_zip(small.files)
    server.behaviours["/good"] = 200, archive
    if fault != "dead":
        server.behaviours["/first"] = FIRST[fault](archive)
    first = dead_url if fault == "dead" else server.url("/first")
    assert find(sources=(first, server.url("/good"))).source == "download"
    assert listing(data) == sorted(["README.md", "training", "test", *small.files])


def test_a_content_length_that_is_no_number_does_no_harm(find, small, server):
    server.behaviours["/data.zip"] = 200, "many", make_zip(small.files), "close"
    assert find(sources=(server.url("/data.zip"),)).source == "download"


def test_a_download_over_the_limit_is_stopped(find, data, small, server, monkeypatch):
    monkeypatch.setattr(data_fetch, "MAX_DOWNLOAD_BYTES", 2**17)
    server.behaviours["/endless.zip"] = 200, *[bytes(2**16)] * 40
    with pytest.raises(DamagedArchiveError, match="it has more than"):
        find(sources=(server.url("/endless.zip"),))
    assert listing(data) == ["README.md"]


def test_incomplete_data_are_set_aside_and_not_lost(find, data, small, server):
    put({"training/mine.jpg": b"mine"}, data)
    server.behaviours["/data.zip"] = 200, make_zip(small.files)
    assert find(sources=(server.url("/data.zip"),)).source == "download"
    (aside,) = data.glob("set-aside-*")
    assert (aside / "training" / "mine.jpg").read_bytes() == b"mine"
    assert not (data / "training" / "mine.jpg").exists()


# --- bad downloads: always an error, and nothing left behind ------------------------------


def changed_pixel(small):
    image = small.images["test/Ann_Lee_00.jpg"].copy()
    image[3, 4, 1] ^= 1
    return make_zip({**small.files, "test/Ann_Lee_00.jpg": encode(image)})


def without_an_image(small):
    return make_zip({name: c for name, c in small.files.items() if name != "training/Ann_Lee_01.jpg"})


def changed_keypoint(small):
    content = small.files["test_frames_keypoints.csv"].replace(b"7.0", b"7.5", 1)
    return make_zip({**small.files, "test_frames_keypoints.csv": content})


def with_a_bomb(small):
    return make_zip({**small.files, "test/Bo_Ek_11.jpg": bytes(data_fetch.MAX_FILE_BYTES + 1)})


def with_a_false_size(small):
    """The directory of the archive announces 100 bytes for an image that has 120 000."""
    archive = bytearray(make_zip(small.files))
    name = b"training/Bo_Ek_10.jpg"
    entry = archive.rindex(name) - 46  # the fixed part of a central directory entry, before the name
    assert archive[entry : entry + 4] == b"PK\x01\x02"
    archive[entry + 24 : entry + 28] = struct.pack("<I", 100)
    return bytes(archive)


BAD_ARCHIVES = {
    "changed pixel": (changed_pixel, "test/Ann_Lee_00.jpg"),
    "changed keypoint": (changed_keypoint, "test_frames_keypoints.csv"),
    "missing image": (without_an_image, "lacks training/Ann_Lee_01.jpg"),
    "no image": (lambda s: make_zip({**s.files, "test/Bo_Ek_11.jpg": b"text"}), r"Bo_Ek_11.jpg \(no image\)"),
    "other archive": (lambda s: make_zip({"a.txt": b"a"}), r"lacks .* \(7 files\)"),
    "truncated": (lambda s: make_zip(s.files)[:-300], "cannot be unpacked"),
    "no archive": (lambda s: b"<html>sign in</html>", "cannot be unpacked"),
    "parent path": (lambda s: make_zip({**s.files, "../evil": b"x"}), r"'\.\./evil' points outside"),
    "hidden parent": (lambda s: make_zip({**s.files, "training/../../evil": b"x"}), "evil' points outside"),
    "backslash": (lambda s: make_zip({**s.files, "..\\evil": b"x"}), "evil' points outside"),
    "absolute path": (lambda s: make_zip({**s.files, "/etc/evil": b"x"}), "'/etc/evil' points outside"),
    "drive": (lambda s: make_zip({**s.files, "C:/evil": b"x"}), "'C:/evil' points outside"),
    "twice": (lambda s: make_zip({**s.files, "./test/Bo_Ek_11.jpg": b"x"}), "holds test/Bo_Ek_11.jpg twice"),
    "bomb": (with_a_bomb, "test/Bo_Ek_11.jpg would take more than 64 MiB"),
    "false size": (with_a_false_size, "Bo_Ek_10.jpg cannot be unpacked"),
}


@pytest.mark.parametrize("fault", BAD_ARCHIVES)
def test_a_bad_archive_is_an_error_and_leaves_nothing(find, data, small, server, fault):
    make, message = BAD_ARCHIVES[fault]
    server.behaviours["/bad.zip"] = 200, make(small)
    with pytest.raises(DamagedArchiveError, match=message) as error:
        find(sample_ok=True, sources=(server.url("/bad.zip"), server.url("/bad.zip")))
    assert "\n" not in str(error.value)
    assert listing(data.parent) == ["data", "data/README.md"]


@pytest.mark.parametrize("limit", ["MAX_MEMBERS", "MAX_TOTAL_BYTES"])
def test_an_archive_over_the_limits_is_refused(find, data, small, server, monkeypatch, limit):
    monkeypatch.setattr(data_fetch, limit, 5)
    server.behaviours["/big.zip"] = 200, make_zip(small.files)
    with pytest.raises(DamagedArchiveError, match="holds more than"):
        find(sources=(server.url("/big.zip"),))
    assert listing(data) == ["README.md"]


@pytest.mark.parametrize("ending", ["close", 30.0])
def test_a_transfer_that_breaks_off_or_stalls_is_an_error(find, data, small, server, ending):
    archive = make_zip(small.files)
    server.behaviours["/half.zip"] = 200, archive[:700], ending, archive[700:]
    with pytest.raises(DamagedArchiveError, match="broke off or stood still"):
        find(sample_ok=True, sources=(server.url("/half.zip"),))
    assert listing(data) == ["README.md"]


def test_404_is_an_error_and_not_a_reason_for_the_sample(find, data, server):
    server.behaviours["/gone.zip"] = (404,)
    with pytest.raises(DataNotFoundError, match=r"answers 404.*KEYPOINTS_DATA.*--data sample"):
        find(sample_ok=True, sources=(server.url("/gone.zip"),))
    assert listing(data) == ["README.md"]


# --- no server ----------------------------------------------------------------------------


def test_no_server_is_an_error_that_says_what_to_do(find, data, dead_url):
    with pytest.raises(DataNotFoundError) as error:
        find(sources=(dead_url, dead_url + "2"))
    for words in ("ConnectionError", "Set KEYPOINTS_DATA", "unpack https://", "connect", "--data sample"):
        assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert listing(data) == ["README.md"]


def test_no_server_means_the_sample_where_that_is_allowed(find, data, dead_url):
    location = find(sample_ok=True, sources=(dead_url,))
    assert (location.folder, location.source, location.is_sample) == (data / "sample", "sample", True)
    assert find(sample_ok=True, sources=(dead_url,)).is_sample  # data/sample/ does not count as the data


def test_a_server_that_accepts_and_says_nothing_is_no_server(find, data):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/data.zip"
        with pytest.raises(DataNotFoundError, match=r"within 0\.3 s"):
            find(sources=(url,), connect_timeout=0.3)
    assert listing(data) == ["README.md"]


def test_download_can_be_forbidden(find, server):
    with pytest.raises(DataNotFoundError, match="not asked"):
        find(download=False, sources=(server.url("/never-asked"),))


# --- faults of the machine, each in a process of its own ----------------------------------

# A server of processes: each begins as a copy of one that has imported data_fetch already.
PROCESSES = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
PROCESSES.set_forkserver_preload(["data_fetch"])


def _find(answer, folder, checksums, url, fault, number):
    """Run find_data with a fault of the machine; send its source, or the error by name, and the message."""
    os.environ.pop("KEYPOINTS_DATA", None)
    if fault == "disk":
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
    elif fault:
        _die_at(fault, number)
    try:
        found = find_data(data_folder=folder, checksums=checksums, sources=(url,), progress=False).source, ""
    except DataError as error:
        found = type(error).__name__, str(error)
    answer.send(found)


def _die_at(name, calls_before):
    """Kill this process in the call of os.NAME that comes after so many others."""
    original, left = getattr(os, name), [calls_before]

    def call(*arguments):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return original(*arguments)

    setattr(os, name, call)


def start(data, small, url, fault="", number=0):
    """(process, what it answers on)."""
    answer, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_find, args=(sender, data, small.checksums, url, fault, number))
    process.start()
    sender.close()
    return process, answer


def wait_for_death(process):
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("limit", [500, 60_000])
def test_a_disk_that_takes_no_more_is_an_error_and_leaves_nothing(data, small, server, limit):
    """The first limit stops the download, the second the unpacking (of an image of 120 kB)."""
    archive = make_zip(small.files)
    assert 500 < len(archive) < 60_000 < len(small.files["training/Bo_Ek_10.jpg"])
    server.behaviours["/data.zip"] = 200, archive
    _, answer = start(data, small, server.url("/data.zip"), "disk", limit)
    name, message = answer.recv()
    assert name == "DataError"
    assert "The data could not be put into" in message
    assert listing(data) == ["README.md"]


@pytest.mark.parametrize("moved", [0, 1, 3])
def test_killed_while_moving_and_finished_by_the_next_call(find, data, small, server, dead_url, moved):
    server.behaviours["/data.zip"] = 200, make_zip(small.files)
    wait_for_death(start(data, small, server.url("/data.zip"), "replace", moved)[0])
    assert sum((data / entry).exists() for entry in data_fetch.ENTRIES) == moved
    with pytest.raises(DataError, match="cannot be found"):
        check_data(data)
    assert find(sources=(dead_url,)).source == "repository"
    assert listing(data) == sorted(["README.md", "training", "test", *small.files])
    check_data(data, full=True, checksums=small.checksums)


def test_killed_before_the_check_was_over_and_downloaded_again(find, data, small, server, dead_url):
    server.behaviours["/data.zip"] = 200, make_zip(small.files)
    wait_for_death(start(data, small, server.url("/data.zip"), "rename", 0)[0])
    assert len(list(data.glob(".staging-*"))) == 1
    with pytest.raises(DataNotFoundError):
        find(sources=(dead_url,))
    assert listing(data) == ["README.md"]
    assert find(sources=(server.url("/data.zip"),)).source == "download"


def test_two_processes_at_once_download_once(data, small, server):
    archive = make_zip(small.files)
    server.behaviours["/data.zip"] = 200, archive[:500], 1.0, archive[500:]
    answers = [start(data, small, server.url("/data.zip"))[1] for _ in range(2)]
    assert sorted(answer.recv()[0] for answer in answers) == ["download", "repository"]
    assert [command for command, _ in server.asked].count("GET") == 1
    assert listing(data) == sorted(["README.md", "training", "test", *small.files])
