"""Tables, records and their provenance: `make tables`, `make measure` and `make reproduce`."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import pages
from benchmarks.ablations import rows as ablations
from benchmarks.peers import report as peers
from benchmarks.results import page as results
from checkpoint import SAVED_MODELS, load_config, shipped_networks
from files import write_json
from tools import model_cards, reproduce, tables
from training import metrics, records
from training.metrics import auc, failure_rate, summarise
from training.records import load_record, note_in_config, problem, provenance

SHIPPED = shipped_networks()
BENCHMARKS = records.ROOT / "benchmarks"


# --- machines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "int8"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512_vnni\n", "avx512_vnni"),
        ("model name\t: Intel\nflags\t\t: avx2 avx_vnni avx512_vnni\n", "avx512_vnni avx_vnni"),
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx2\n", "none"),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", "asimddp"),
        ("processor\t: 0\n", "unknown"),
    ],
)
def test_the_8_bit_instructions_of_a_processor_are_read(tmp_path, text, int8):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert records.machine(str(path))["int8"] == int8
    assert records.machine(str(tmp_path / "none"))["int8"] == "unknown"


# --- pages --------------------------------------------------------------------------------------


def test_a_block_is_filled_and_the_rest_stays():
    page = "a\n<!-- t -->\nold\n<!-- end of t -->\nb\n"
    assert pages.fill(page, "t", "new") == "a\n<!-- t -->\nnew\n<!-- end of t -->\nb\n"


@pytest.mark.parametrize(
    "page",
    [
        "a <!-- t --> b",  # without an end the tail would be lost
        "a <!-- end of t --> b",
        "<!-- end of t --> <!-- t -->",
        "<!-- t --> <!-- t --> <!-- end of t -->",
    ],
)
def test_a_page_without_both_marks_is_refused(page):
    with pytest.raises(ValueError, match="must have the marks"):
        pages.fill(page, "t", "x")


def test_a_table_refuses_a_row_of_another_length():
    assert pages.markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    with pytest.raises(ValueError, match="1 cells does not fit 2"):
        pages.markdown_table(["a", "b"], [["1"]])


def test_a_page_is_measured_only_where_asked(monkeypatch):
    done = []
    monkeypatch.setattr(pages, "find_data", lambda: SimpleNamespace(is_sample=False))
    page = ("about", lambda: done.append("written"), lambda data: done.append("measured"))
    pages.run_page(*page, [])
    pages.run_page(*page, ["--measure"])
    assert done == ["written", "measured", "written"]
    monkeypatch.setattr(pages, "find_data", lambda: SimpleNamespace(is_sample=True))
    with pytest.raises(SystemExit, match="synthetic sample"):
        pages.run_page(*page, ["--measure"])


def test_every_folder_is_in_the_index():
    index = (BENCHMARKS / "README.md").read_text()
    for path in BENCHMARKS.glob("*/README.md"):
        assert f"]({path.parent.name}/README.md)" in index


def test_the_table_starts_with_the_baselines_and_marks_the_leak():
    rows = results.table().splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows[:2]] == ["constant", "nearest"]
    for row in rows:
        assert ("(leaks)" in row) == row.startswith("| official")


def test_a_new_metric_is_in_the_table_of_results_and_in_cards(monkeypatch):
    monkeypatch.setitem(metrics.METRICS, "auc", metrics.Metric("another", 1, lambda faces: 0.0))
    monkeypatch.setattr(results, "load_record", lambda stem: ({**load_record(stem)[0], "auc": 0.123}, {}))
    assert "another, %" in results.table()
    assert "| 12.3 |" in results.table()
    row = {**load_record(model_cards.record_stems(SHIPPED[0])[0])[0], "auc": 0.123}
    assert "another, %" in model_cards.measured_table([row])


def test_the_readme_has_at_most_six_rows():
    assert len(results.readme_table().splitlines()) <= 2 + 6


# --- records ------------------------------------------------------------------------------------

RECORDS = tables.record_files()


def has_points(path) -> bool:
    arrays = path.with_name(path.name.removesuffix(".json") + ".npz")
    if not arrays.is_file():
        return False
    with np.load(arrays) as stored:
        return {"predicted", "true", "identities"} <= set(stored.files)


OF_POINTS = [path for path in RECORDS if has_points(path)]


def test_all_results_are_checked():
    assert len(OF_POINTS) >= 62


@pytest.mark.parametrize("path", OF_POINTS, ids=lambda path: path.relative_to(records.ROOT).as_posix())
def test_stored_figures_follow_from_the_stored_points(path):
    row, arrays = load_record(path.with_name(path.name.removesuffix(".json")))
    points = [arrays[name] for name in ("predicted", "true", "identities")]
    if path.parent == peers.RECORDS:
        again = peers.all_figures(*points, np.array(row["offset"]))
    else:
        again = summarise(*points)
        assert again["n"] == len(arrays["paths"])
    # "==" but for the order of sums, which another processor may choose
    assert records.same_figures({name: row[name] for name in again}, again)


@pytest.mark.parametrize("row", ablations.ROWS.values(), ids=lambda row: row.name)
def test_figures_of_ablations_follow_from_the_stored_errors(row):
    for seed in row.seeds:
        stored, arrays = ablations.load(row, seed)
        for view in row.views:
            errors = arrays[f"nme_{view}"].astype(np.float64)
            found = ~np.isnan(errors)
            again = {"nme": errors[found].mean(), "found": found.mean(), "auc_8": auc(errors)}
            again |= {"fr_10": failure_rate(errors), "nme_median": np.median(np.where(found, errors, np.inf))}
            assert records.same_figures({name: stored["figures"][view][name] for name in again}, again)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.relative_to(records.ROOT).as_posix())
def test_every_record_says_what_it_depends_on(path):
    about = json.loads(path.read_text())["provenance"]
    assert about.keys() >= {"renew", "weights", "config", "splits", "data", "seed", "versions", "machine"}
    assert about["renew"]
    if path.is_relative_to(SAVED_MODELS) and "baselines" not in path.parts:
        assert None not in (about["weights"], about["config"], about["splits"], about["data"])


@pytest.fixture
def a_checkpoint(tmp_path, monkeypatch):
    """A checkpoint and its provenance in another repository."""
    monkeypatch.setattr(records, "ROOT", tmp_path)
    folder = tmp_path / "saved_models" / "net"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(SAVED_MODELS / "heatmapnet-small-identity" / name, folder)
    data = records.committed_data_checksum()
    about = provenance("python evaluate.py net --record", checkpoint=folder, data=data, seed=0)
    return folder, about


def test_a_record_is_out_of_date_when_its_weights_change(a_checkpoint):
    folder, about = a_checkpoint
    assert problem("a.json", about) == ""
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    line = "a.json was measured with another weights; renew it: python evaluate.py net --record"
    assert problem("a.json", about) == line


def test_a_record_is_out_of_date_when_another_file_that_it_used_changes(a_checkpoint):
    folder, _ = a_checkpoint
    used = folder / "finder.onnx"
    used.write_bytes(b"1")
    about = provenance("make measure", checkpoint=folder, files=[used])
    assert problem("a.json", about) == ""
    used.write_bytes(b"2")
    line = "a.json was measured with another saved_models/net/finder.onnx; renew it: make measure"
    assert problem("a.json", about) == line
    used.unlink()
    assert problem("a.json", about) == line


@pytest.mark.parametrize("change", [{"passes": 3}, {"box_scale": 1.7}, {"flip_tta": True}])
def test_a_record_is_out_of_date_when_its_config_changes(a_checkpoint, change):
    folder, about = a_checkpoint
    config = load_config(folder)
    write_json(folder / "config.json", replace(config, measured={}, recipe="renamed").to_dict())
    assert problem("a.json", about) == ""  # these do not change an answer
    write_json(folder / "config.json", replace(config, **change).to_dict())
    assert "another config; renew it: python evaluate.py net --record" in problem("a.json", about)


def test_a_record_is_out_of_date_when_data_or_splits_change(a_checkpoint):
    _, about = a_checkpoint
    assert "another splits" in problem("a.json", {**about, "splits": "0" * 64})
    assert "another data" in problem("a.json", {**about, "data": "0" * 16})
    assert problem("a.json", {**about, "splits": None, "data": None, "weights": None}) == ""


def test_make_tables_fails_with_one_line_per_record(tmp_path, monkeypatch, capsys):
    path = tmp_path / "a.json"
    about = {"renew": "python evaluate.py net", "splits": "0" * 64, "data": None, "checkpoint": None}
    write_json(path, {"provenance": about})
    monkeypatch.setattr(tables, "record_files", lambda: [path])
    assert tables.main() == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{path} was measured with another splits; renew it: python evaluate.py net"
    ]
    assert not records.is_current(path)
    write_json(path, {"provenance": {**about, "splits": None}})
    assert records.is_current(path)
    assert not records.is_current(tmp_path / "none.json")


def test_page_modules_keep_to_the_contract():
    for module in tables.page_modules():
        assert callable(module.write_page), module.__name__


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_configs_carry_their_measured_figures(folder, tmp_path):
    stored = {stem.name: load_record(stem)[0] for stem in model_cards.record_stems(folder)}
    measured = load_config(folder).measured
    assert set(measured) == set(stored)
    for name, figures in measured.items():
        assert {key: stored[name][key] for key in figures} == figures
    # and this is how they get there
    shutil.copy(folder / "config.json", tmp_path)
    row = {**next(iter(stored.values())), "split": "validation", "faces": "whole", "nme": 0.5}
    note_in_config(tmp_path, row)
    again = load_config(tmp_path)
    assert again.measured["validation-whole"]["nme"] == 0.5
    assert replace(again, measured=measured) == load_config(folder)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_weights_keep_to_the_size_budget(folder):
    assert (folder / "model.safetensors").stat().st_size <= 16_000_000
    weights = [path for path in SAVED_MODELS.rglob("*") if path.suffix in (".safetensors", ".onnx")]
    assert sum(path.stat().st_size for path in weights) <= 100_000_000


# --- reproduce ----------------------------------------------------------------------------------


def test_the_plan_goes_from_training_to_tables(monkeypatch, tmp_path):
    monkeypatch.setattr(reproduce, "DONE", tmp_path)
    steps = reproduce.plan()
    names = [step.name for step in steps]
    assert len(set(names)) == len(names)
    assert names[-1] == "tables"
    for folder in SHIPPED:
        ship = names.index(f"ship {folder.name}")
        run = next(command for command in steps[ship].commands if command[0] == "train.py")
        recipe, split, seed = (run[run.index(f"--{option}") + 1] for option in ("recipe", "split", "seed"))
        assert names.index(f"train {recipe}-{split}-{seed}") < ship < names.index("measure results")
        config = load_config(folder)
        assert (recipe, split, seed) == (config.recipe, config.trained_on, str(config.seed))


def test_every_page_with_peers_is_measured_where_these_are_installed(tmp_path):
    steps = reproduce.measure_steps(tmp_path / "peers")
    lines = "\n".join(line for step in steps for line in step.lines)
    for page in sorted((reproduce.ROOT / "benchmarks").glob("*/page.py")):
        if "--environment" in page.read_text(encoding="utf-8"):
            assert f"benchmarks.{page.parent.name}." in lines.replace(" --measure", "")
            environment = [line for line in lines.splitlines() if page.parent.name in line]
            assert any(str(tmp_path / "peers") in line for line in environment)
    assert f"benchmarks.speed.chain --environment {tmp_path / 'peers'}" in lines


@pytest.fixture
def three_steps(tmp_path, monkeypatch):
    """Steps that append their name to a file; the second fails while a file is missing."""
    monkeypatch.setattr(reproduce, "DONE", tmp_path / "done")
    log, needed = tmp_path / "log", tmp_path / "needed"

    def command(name, check=""):
        return ("-c", f"{check}\nopen({str(log)!r}, 'a').write({name!r})")

    steps = [
        reproduce.Step("a", (command("a"),), 5),
        reproduce.Step("b", (command("b", f"open({str(needed)!r})"),)),
        reproduce.Step("c", (command("c"),), 1, always=True),
    ]
    return steps, log, needed


def test_an_interrupted_reproduction_goes_on_where_it_stopped(three_steps):
    steps, log, needed = three_steps
    assert reproduce.run(steps) == 1
    assert log.read_text() == "a"
    needed.touch()
    assert reproduce.run(steps) == 0
    assert log.read_text() == "abc"
    assert reproduce.run(steps) == 0
    assert log.read_text() == "abcc"  # what always runs skips what is current by itself
    changed = replace(steps[0], commands=(*steps[0].commands, ("-c", "pass")))
    assert not reproduce.is_done(changed)


def test_a_dry_run_prints_what_is_left_and_runs_nothing(three_steps, monkeypatch, capsys):
    steps, log, _ = three_steps
    monkeypatch.setattr(reproduce, "plan", lambda environment: steps)
    assert reproduce.main(["--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "to do         5 min  a" in printed
    assert "left: about 6 min, and 1 steps of unknown length" in printed
    assert not log.exists()
    reproduce.run(steps)
    reproduce.main(["--dry-run"])
    assert "done          5 min  a" in capsys.readouterr().out
