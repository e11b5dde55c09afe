"""What `make` installs, with stand-ins for Python and uv that note how they are called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: `python -m venv FOLDER` makes an environment of stand-ins; `uv pip install ...` notes arguments and lines.
PYTHON = """#!/bin/sh
if [ "$2" = venv ]; then
  mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/uv"
elif [ "$1" = pip ]; then
  echo "$@" > "$NOTES/arguments"; for last; do :; done; cp "$last" "$NOTES/lines"
fi
"""


@pytest.mark.skipif(not shutil.which("make"), reason="needs GNU make")
@pytest.mark.parametrize("torch", ["", "cpu"])
def test_torch_cpu_leaves_out_what_only_gpus_need(tmp_path, torch):
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    environment = tmp_path / "env"
    command = ["make", f"PYTHON={python}", f"VENV={environment}", f"TORCH={torch}", f"{environment}/.ready"]
    notes = {**os.environ, "NOTES": str(tmp_path)}
    subprocess.run(command, cwd=ROOT, env=notes, check=True, capture_output=True)
    lines = (tmp_path / "lines").read_text().splitlines()
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    left_out = [line for line in locked if line not in lines]
    assert ("--torch-backend=cpu" in (tmp_path / "arguments").read_text()) is bool(torch)
    assert bool(left_out) is bool(torch)
    assert [line for line in lines if line not in locked] == []
    assert all(line.startswith(("nvidia-", "cuda-", "triton==")) for line in left_out)
    assert all("sys_platform == 'linux'" in line for line in left_out)  # macOS has none of them
    assert {"torch", "torchvision"} <= {line.partition("==")[0] for line in lines}
    assert (environment / ".ready").exists()
