"""The resume log: what is on disk, taken up where it was cut, refused where it is of another run."""

import json

import numpy as np
import pytest
from stub_detector import stub_detector

from detector.outputs import TakenError
from detector.results import ImageFaces, to_dict
from detector.resume_log import RESUME_LOG_FILE, ResumeLog, ResumeLogError, SeenPaths

SETTINGS = {"checkpoint": "x"}


@pytest.fixture
def stub():
    """Knows its answer: one face in each image."""
    return stub_detector(passes=1)


def test_seen_paths_over_many_blocks(monkeypatch):
    monkeypatch.setattr(SeenPaths, "MERGE_AT", 7)
    seen = SeenPaths()
    assert all(seen.add(f"image-{number}.jpg") for number in range(100))
    assert not any(seen.add(f"./image-{number}.jpg") for number in range(100))
    assert seen.add("image-100.jpg")


def image(name, faces=()):
    return ImageFaces(str(name), (4, 5), list(faces))


def test_a_log_is_taken_up_where_it_was_cut(tmp_path, stub):
    faces = stub(np.zeros((20, 20, 3), np.uint8))
    with ResumeLog(tmp_path, {"checkpoint": "x"}) as resume_log:
        resume_log.add([image("a.jpg", faces), ImageFaces("b.jpg", error="broken")])
    whole = resume_log.path.read_bytes()
    line = (json.dumps(to_dict(image("c.jpg", faces))) + "\n").encode()
    for cut in (1, len(line) // 2, len(line) - 1):  # the last one lacks only the end of its line
        resume_log.path.write_bytes(whole + line[:cut])
        with ResumeLog(tmp_path, {"checkpoint": "x"}, resume=True) as again:
            assert (again.images, again.faces, again.errors) == (2, 1, 1)
            assert list(again.pending(["a.jpg", "c.jpg", "b.jpg", "c.jpg"])) == ["c.jpg"]
            again.add([image("c.jpg", faces)])
            assert [found.image for found in again] == ["a.jpg", "b.jpg", "c.jpg"]
        assert resume_log.path.read_bytes() == whole + line


def test_an_earlier_run_is_continued_or_overwritten_when_told(tmp_path):
    with ResumeLog(tmp_path, {"checkpoint": "x"}) as resume_log:
        resume_log.add([image("a.jpg")])
    with pytest.raises(ResumeLogError, match="holds a run that was not finished: --resume"):
        ResumeLog(tmp_path, {"checkpoint": "x"})
    with ResumeLog(tmp_path, {"checkpoint": "x"}, resume=True) as resume_log:
        resume_log.finish()
    with ResumeLog(tmp_path, {"checkpoint": "x"}, resume=True) as resume_log:  # files that came since
        assert list(resume_log.pending(["a.jpg", "new.jpg"])) == ["new.jpg"]
        resume_log.add([image("new.jpg")])
        assert [found.image for found in resume_log] == ["a.jpg", "new.jpg"]
        resume_log.finish()
    with pytest.raises(ResumeLogError, match="holds the results of an earlier run: --resume"):
        ResumeLog(tmp_path, {"checkpoint": "y"})
    with ResumeLog(tmp_path, {"checkpoint": "y"}, overwrite=True) as resume_log:
        assert list(resume_log) == []


def test_a_log_without_results_is_in_nobodys_way(tmp_path):
    """A run that failed before its first image, for want of Ray say, asks for no --resume."""
    for resume in (False, True):
        with ResumeLog(tmp_path, {"engine": resume}, resume=resume) as resume_log:
            pass
        assert json.loads(resume_log.path.read_text()) == {"settings": {"engine": resume}}


def test_a_log_of_another_run_is_refused(tmp_path):
    with ResumeLog(tmp_path, {"checkpoint": "x", "drawn": False}) as resume_log:
        resume_log.add([image("a.jpg")])
    with pytest.raises(ResumeLogError, match=r"\(checkpoint was 'x', is 'y'\); repeat"):
        ResumeLog(tmp_path, {"checkpoint": "y", "drawn": False}, resume=True)
    first, second = resume_log.path.read_bytes().splitlines(keepends=True)
    for content, message in [
        (b"a file of somebody else's", "not the resume log of a run"),
        (first[:20] + b"\n" + second, "first line, which holds the settings, is damaged"),
    ]:
        resume_log.path.write_bytes(content)
        for options in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(ResumeLogError, match=message):
                ResumeLog(tmp_path, SETTINGS, **options)
        assert resume_log.path.read_bytes() == content
    resume_log.path.write_bytes(first[:7])  # killed while it wrote the first line
    with ResumeLog(tmp_path, SETTINGS, resume=True) as again:
        assert again.images == 0
    assert json.loads(resume_log.path.read_text()) == {"settings": SETTINGS}


def test_a_run_goes_on_from_the_whole_lines_of_a_damaged_log(tmp_path, stub):
    faces = stub(np.zeros((20, 20, 3), np.uint8))
    with ResumeLog(tmp_path, SETTINGS) as resume_log:
        resume_log.add([image(f"{name}.jpg", faces) for name in "abcd"])
        resume_log.claim(["faces.json"])
    settings, a, b, c, d, claim = resume_log.path.read_bytes().splitlines(keepends=True)
    torn = b[:40] + c[:30] + b"\n"  # two runs that wrote at once
    resume_log.path.write_bytes(settings + a + torn + b'{"image": 5}\n' + b"\xff\n" + a + d + claim + c[:50])
    with ResumeLog(tmp_path, SETTINGS, resume=True) as again:
        assert (again.images, again.damaged) == (2, 4)
        assert [found.image for found in again] == ["a.jpg", "d.jpg"]
        assert list(again.pending(f"{name}.jpg" for name in "abcd")) == ["b.jpg", "c.jpg"]
        assert again.is_written(tmp_path / "faces.json")
    assert resume_log.path.read_bytes() == settings + a + d + claim


# --- files that a run writes ---------------------------------------------------------------------


def test_a_name_that_is_taken_is_an_error_and_nothing_is_noted(tmp_path):
    (tmp_path / "pts").mkdir()
    (tmp_path / "pts" / "mine.txt").write_text("mine")
    (tmp_path / "faces.csv").symlink_to(tmp_path / "elsewhere")
    with ResumeLog(tmp_path, SETTINGS) as resume_log:
        with pytest.raises(TakenError, match="mine.txt is there already"):
            resume_log.check_free("pts", folder=True)
        with pytest.raises(TakenError, match="faces.csv is there already"):
            resume_log.claim(["faces.json", "faces.csv"])
        assert not resume_log.is_written(tmp_path / "faces.json")
        resume_log.claim(["faces.json"])
        (tmp_path / "faces.json").write_text("[]")
        resume_log.claim(["faces.json"])
    with ResumeLog(tmp_path, SETTINGS, resume=True) as resume_log:
        resume_log.claim(["faces.json"])


def test_overwrite_removes_what_the_log_names_and_nothing_else(tmp_path):
    with ResumeLog(tmp_path, SETTINGS) as resume_log:
        resume_log.claim(["faces.json", "pts/a/b.jpg.pts", "pts/c.jpg.pts", "drawn/d.png"])
    with resume_log.path.open("a") as file:
        file.write(json.dumps({"writes": ["../outside", 5]}) + "\n")
    outside = tmp_path.parent / "outside"
    for path in [tmp_path / name for name in ("faces.json", "pts/a/b.jpg.pts", "pts/mine.txt", "mine.json")]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (tmp_path / "drawn" / "d.png").mkdir(parents=True)  # a folder that took the place of a file
    outside.write_text("x")
    with ResumeLog(tmp_path, SETTINGS, overwrite=True) as resume_log:
        assert list(resume_log) == []
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {RESUME_LOG_FILE, "mine.json", "pts", "pts/mine.txt", "drawn", "drawn/d.png"}
    assert outside.read_text() == "x"


def test_what_a_killed_run_left_is_cleared_and_what_is_alike_stays(tmp_path):
    with ResumeLog(tmp_path, SETTINGS) as resume_log:
        resume_log.add([image("a.jpg")])
    ours = [tmp_path / ".partial-abcd_012", tmp_path / "drawn" / "deep" / ".partial-zzzzzzzz"]
    others = [
        tmp_path / ".partial-mine",
        tmp_path / "photos" / ".partial-abcdefgh",
        tmp_path / "drawn" / "partial",
    ]
    for folder in ours + others:
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    with ResumeLog(tmp_path, SETTINGS, resume=True):
        pass
    assert not any(folder.exists() for folder in ours)
    assert all((folder / "file").exists() for folder in others)
