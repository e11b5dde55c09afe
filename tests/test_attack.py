"""2,000 hostile inputs (tools/attack.py) are answered or refused, and nothing of the user changes."""

import os
import sys

import pytest

from tools.attack import ACCEPTED, CLASSES, REFUSED, run_case

CASES, SEED = 2000, 1


@pytest.mark.skipif(sys.platform == "win32", reason="names of files and alarms differ on Windows")
@pytest.mark.parametrize("name", CLASSES)
def test_hostile_inputs_are_answered_or_refused(name, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "KEYPOINTS_DATA", "sample")  # put back after the test
    count = round(CLASSES[name][1] * CASES)
    outcomes = [run_case(name, SEED, number, tmp_path) for number in range(count)]
    assert [outcome for outcome in outcomes if outcome not in (ACCEPTED, REFUSED)] == []
    assert REFUSED in outcomes or name in ("output names", "kills")
