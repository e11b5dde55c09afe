"""The README: its Python example runs as printed, its links lead somewhere, it fits its size."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md", "CONTRIBUTING.md", "SECURITY.md", "LOG.md", "CHANGELOG.md", "benchmarks/README.md",
    "data/README.md", "facial_keypoints/README.md", "filters/README.md",
    "benchmarks/filter_gallery/README.md",
)  # fmt: skip


def test_the_python_example_runs_as_printed(sample_photo, tmp_path):
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    Image.fromarray(sample_photo).save(tmp_path / "photo.jpg", quality=95)
    command = [sys.executable, "-c", example[1]]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("(68, 2)\n["), done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_to_files(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 125
