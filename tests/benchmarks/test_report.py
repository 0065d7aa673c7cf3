import copy
import json

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("markdown")

from benchmarks import __main__ as command_line
from benchmarks import report
from tiny_model import TINY_MODEL
from training.report import RESULTS

FOLD_1 = RESULTS / "standard" / "fold-1.tflite"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two parts, measured on the tiny model."""
    where = tmp_path_factory.mktemp("measured")
    model = ["--model", str(TINY_MODEL)]
    estimate = ["estimate", *model, "--json", str(where / "estimate.json")]
    scaling = ["scaling", *model, "--seconds", "1", "--windows", "1"]
    scaling += ["--longest", "10"]
    assert command_line.main(estimate) == 0
    assert command_line.main([*scaling, "--json", str(where / "scaling.json")]) == 0
    return where


def test_one_page_of_what_is_there(folder, capsys):
    assert command_line.main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 2
    assert "How the cost grows" in page
    assert "What noise" not in page
    assert (folder / "report.md").read_text().count("\n## ") == 3
    parts = json.loads((folder / "report.json").read_text())
    assert set(parts) == {"scaling", "estimate"}
    assert parts["scaling"]["machine"]["cores"] >= 1


def test_what_got_slower_is_named(folder, tmp_path, capsys):
    report.build(folder)
    now = json.loads((folder / "report.json").read_text())
    faster = copy.deepcopy(now)
    faster["scaling"]["streams"][2]["rss_mib"] /= 2
    old = tmp_path / "old.json"
    old.write_text(json.dumps(faster))
    assert command_line.main(["report", str(folder), "--compare", str(old)]) == 1
    out = capsys.readouterr().out.splitlines()[1:]
    assert len(out) == 1
    assert out[0].startswith("grown: scaling / streams / 0.25 4 1.0 / rss_mib")
    old.write_text(json.dumps(now))
    assert command_line.main(["report", str(folder), "--compare", str(old)]) == 0
    assert "nothing is worse" in capsys.readouterr().out


def test_what_makes_reports_unlike_is_named(folder, tmp_path, capsys):
    report.build(folder)
    other = json.loads((folder / "report.json").read_text())
    other["scaling"]["machine"]["processor"] = "Cortex-A53"
    other["scaling"]["command"] += " --quick"
    other["startup"] = {}
    del other["estimate"]
    old = tmp_path / "old.json"
    old.write_text(json.dumps(other))
    report_of = ["report", str(folder), "--compare", str(old)]
    command_line.main(report_of)
    out = capsys.readouterr().out
    assert "other processor: scaling: Cortex-A53 -> " in out
    assert "other command: scaling: " in out
    assert "not compared: startup: only the old report has it" in out
    assert "not compared: estimate: only the new report has it" in out
    for nothing in ("{}", json.dumps(other["scaling"]), "[" * 100_000):
        old.write_text(nothing)
        assert command_line.main(report_of) == 2
        told = capsys.readouterr().err
        assert "no figure in common" in told or "not a report" in told


def test_the_variant_that_ships_is_in_short():
    figures = {"ua": [0.6, 0.5, 0.7], "model_bytes": 1000, "agreement": 1}
    figures["ua_change"] = [0, 0, 0]
    variants = {"int8-pruned": figures, "int8-qat": figures}
    part = {"variants": variants, "clips": 9, "reference": "float32"}
    assert "- int8-pruned: UA 60.0" in report.in_short({"quantization": part})


def test_a_clock_held_back_is_in_short(folder):
    part = json.loads((folder / "scaling.json").read_text())
    assert "held the clock back" not in report.in_short({"scaling": part})
    part["machine_after"] = {"slowed": True}
    told = report.in_short({"scaling": part})
    assert "held the clock back" in told
    assert told.splitlines()[0].endswith("need be in scaling")


def test_timings_are_worse_when_their_intervals_are_apart():
    def timing(low, p50, high):
        values = {"low_ms": low, "p50_ms": p50, "high_ms": high, "p99_ms": 9 * high}
        return {"bench": {"timings": {"inference": values}}}

    old = timing(0.9, 1.0, 1.1)
    assert not list(report.slower(old, timing(1.0, 1.1, 1.2)))
    assert not list(report.slower(old, timing(0.1, 0.2, 0.3)))
    lines = list(report.slower(old, timing(1.2, 1.3, 1.4)))
    assert lines == ["slower: bench / timings / inference: 1.000 -> 1.300 ms"]


def test_no_report_of_nothing(tmp_path, capsys):
    assert command_line.main(["report", str(tmp_path)]) == 2
    assert "holds no measurement" in capsys.readouterr().err
    (tmp_path / "scaling.json").write_text("{")
    assert command_line.main(["report", str(tmp_path)]) == 2
    assert "not a report" in capsys.readouterr().err
    (tmp_path / "scaling.json").write_text("{}")
    assert command_line.main(["report", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "scaling.json: damaged, or made by another version" in told
    assert told.endswith(f"--out {tmp_path} --again scaling\n")


def test_what_is_kept_is_told(tmp_path, capsys):
    arguments = ["all", "--out", str(tmp_path), "--only", "estimate"]
    assert command_line.main(arguments) == 0
    assert command_line.main(arguments) == 0
    assert "estimate: kept; --again estimate measures it anew" in (
        capsys.readouterr().out
    )
    file = tmp_path / "estimate.json"
    file.write_text(file.read_text().replace("benchmarks estimate", "benchmarks more"))
    assert command_line.main(arguments) == 0
    assert "kept, measured by: python -m benchmarks more;" in capsys.readouterr().out


def test_a_part_that_fails_leaves_the_others(tmp_path, capsys):
    arguments = ["all", "--out", str(tmp_path), "--data", str(tmp_path / "none")]
    arguments += ["--bundles", str(FOLD_1), "--quick"]
    arguments += ["--only", "robustness", "estimate"]
    assert command_line.main(arguments) == 1
    captured = capsys.readouterr()
    assert "robustness failed" in captured.err
    assert (tmp_path / "report.html").exists()
    assert not (tmp_path / "robustness.json").exists()
    assert command_line.main([*arguments[:-2], "sunshine"]) == 2
    assert "no part 'sunshine'" in capsys.readouterr().err


def test_without_corpora_costs_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("EDGE_SER_DATA", raising=False)
    arguments = ["all", "--out", str(tmp_path), "--only", "robustness", "estimate"]
    assert command_line.main(arguments) == 0
    assert "costs alone, no accuracy" in capsys.readouterr().out
    written = {file.name for file in tmp_path.iterdir()}
    assert written == {f"report.{kind}" for kind in ("html", "md", "json")} | {
        "estimate.json"
    }


def test_corpora_are_compared_where_nobody_of_them_was_heard(tmp_path, corpora_folder):
    arguments = ["all", "--out", str(tmp_path), "--data", str(corpora_folder)]
    assert command_line.main([*arguments, "--quick", "--only", "corpora"]) == 0
    found = json.loads((tmp_path / "corpora.json").read_text())["variants"]
    groups = found["int8-pruned"]["groups"]["corpus"]
    clips = {name: row["clips"] for name, row in groups.items()}
    assert clips == dict.fromkeys(("emodb", "emovo", "nemo", "ravdess"), 8)
    page = (tmp_path / "report.md").read_text()
    assert "each fold learnt from three corpora and answers the fourth" in page


def test_a_folder_without_bundles_is_refused(tmp_path, capsys):
    arguments = ["all", "--out", str(tmp_path / "out"), "--bundles", str(tmp_path)]
    assert command_line.main(arguments) != 0
    assert "holds no bundle" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
