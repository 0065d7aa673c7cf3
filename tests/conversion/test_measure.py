"""What the variants cost over all folds: made, scored, told and noted once."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from conftest import TINY_CONFIG
from conversion.__main__ import main
from conversion.variants import chosen
from tiny_model import TINY_MODEL
from training import config as configs
from training import protocol, report, runs, stages, variants_results, variants_run
from training.__main__ import main as training
from training.errors import ProtocolError

LABELS = ("neutral", "happy", "sad", "angry")
CONFIG = {
    "name": "trial",
    "corpora": ["emodb"],
    "labels": list(LABELS),
    "protocol": "emodb4",
    "architecture": "resnet2d",
}


def predictions(fold, tested, variants):
    """int8 errs on one clip of the fold."""
    return [
        {
            "corpus": "emodb",
            "clip": f"{speaker}-{label}",
            "speaker": speaker,
            "fold": fold,
            "seed": 0,
            "variant": variant,
            "label": label,
            "predicted": "sad"
            if variant == "int8" and (speaker, label) == (tested[0], "angry")
            else label,
            **{f"p_{name}": "0.25" for name in LABELS},
        }
        for variant in variants
        for speaker in tested
        for label in LABELS
    ]


def of_config(values):
    """What a run says of its config."""
    return {"config": values, "config_digest": configs.digest(values)}


@pytest.fixture
def folds(tmp_path):
    """Run folders of every fold, and what was made of them."""
    config = configs.parse(CONFIG)
    for fold, tested in protocol.load("emodb4").test_speakers.items():
        run, out = tmp_path / f"runs/fold-{fold}", tmp_path / f"out/fold-{fold}"
        run.mkdir(parents=True)
        out.mkdir(parents=True)
        values = {"seed": 0, "fold": fold, "clips": [], **of_config(config.to_dict())}
        values |= {"features": config.features.to_dict(), "data": "nowhere"}
        (run / "run.json").write_text(json.dumps(values))
        (run / "model.keras").write_bytes(b"weights")
        shutil.copyfile(TINY_MODEL, out / "int8.tflite")
        rows = predictions(fold, tested, ("keras", "int8"))
        report.write_predictions(out / "predictions.csv", rows, LABELS)
    return tmp_path


def command(folds, *variants):
    return [
        *("measure", str(folds / "runs"), "--out", str(folds / "out")),
        *("--results", str(folds / "results"), "--variants", *variants),
    ]


def test_the_cost_of_a_variant_is_told_and_noted_once(folds, capsys):
    assert main(command(folds, "int8")) == 0
    first = capsys.readouterr().out
    evidence = folds / "results/variants/trial"
    (keras, int8) = json.loads((evidence / "figures.json").read_text())
    assert keras["ua"] == 1
    speakers = protocol.load("emodb4").test_speakers
    people = sum(map(len, speakers.values()))
    lost = len(speakers) / people / len(LABELS)
    assert int8["ua"] == pytest.approx(1 - lost, abs=1e-4)
    assert int8["ua_minus_keras_95"][1] <= 0
    size = TINY_MODEL.stat().st_size / 1000
    (told,) = (line for line in first.splitlines() if line.startswith("| int8 |"))
    assert float(told.split("|")[2]) == pytest.approx(size, rel=0.5)
    page = (folds / "results/variants.md").read_text()
    assert told in page
    assert training(["report", str(folds / "results/variants")]) == 0
    assert capsys.readouterr().out == page
    assert main(command(folds, "int8")) == 0
    assert capsys.readouterr().out == first
    with (folds / "results/ledger.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert line["note"] == "conversion measure of int8"
    assert line["variant"] == "int8"


def test_a_variant_that_is_not_asked_for_again_stays(folds):
    for file in (folds / "out").glob("*/predictions.csv"):
        labels, rows = report.read_predictions(file)
        rows += [{**r, "variant": "float32"} for r in rows if r["variant"] == "keras"]
        report.write_predictions(file, rows, labels)
        shutil.copyfile(TINY_MODEL, file.parent / "float32.tflite")
    assert main(command(folds, "int8")) == 0
    page = (folds / "results/variants.md").read_text()
    assert "| float32 |" in page and "| int8 |" in page


def test_folds_that_follow_from_the_clips_need_them_first(folds, capsys):
    """Not when everything is scored: hours later."""
    for file in (folds / "runs").glob("*/run.json"):
        values = json.loads(file.read_text())
        values |= of_config(values["config"] | {"protocol": "one-corpus"})
        file.write_text(json.dumps(values))
    assert main(command(folds, "int8")) == 4
    told = capsys.readouterr()
    assert "no data folder nowhere" in told.err
    assert "fold" not in told.out


def test_a_part_of_the_folds_tells_no_figure(folds, capsys):
    shutil.rmtree(folds / "runs/fold-1")
    assert main(command(folds, "int8")) == 1
    told = capsys.readouterr()
    assert "folds 1 are missing; figures are told for all together" in told.err
    assert "%" not in told.out
    assert not (folds / "results").exists()
    assert main(["measure", str(folds), "--out", str(folds)]) == 1
    assert "no run folder fold-N" in capsys.readouterr().err


def test_what_was_made_of_another_training_is_not_taken(folds, capsys):
    assert main(command(folds, "int8")) == 0
    (folds / "runs/fold-3/model.keras").write_bytes(b"other weights")
    assert main(command(folds, "int8")) == 1
    error = capsys.readouterr().err
    assert "out/fold-3 was made of another training" in error
    assert error.count("\n") == 1


def test_another_configs_evidence_is_not_overwritten(folds, capsys):
    assert main(command(folds, "int8")) == 0
    for file in (folds / "runs").glob("*/run.json"):
        values = json.loads(file.read_text())
        values |= of_config(values["config"] | {"recipe": {"prune_epochs": 3}})
        file.write_text(json.dumps(values))
    assert main(command(folds, "int8")) == 1
    assert "evidence of another config" in capsys.readouterr().err


def test_a_damaged_table_is_named(folds, tmp_path, capsys):
    assert main(command(folds, "int8")) == 0
    (folds / "results/variants/trial/variants.json").write_text("{}")
    capsys.readouterr()
    assert training(["report", str(folds / "results/variants")]) == 1
    assert "variants.json: no table of variants" in capsys.readouterr().err
    with pytest.raises(Exception, match="no configuration was measured yet"):
        variants_results.page(tmp_path)


@pytest.fixture(scope="module")
def recurrent(trained, tmp_path_factory):
    """Fold 1 of an LSTM that has hardly learned."""
    run, features = trained
    recipe = {"epochs": 1, "prune_epochs": 1, "compute": "float32"}
    config = configs.parse(
        {
            **TINY_CONFIG,
            "name": "recurrent",
            "architecture": "lstm_stacked",
            "model": {"units": [8, 4], "dense": 4},
            "recipe": recipe,
        }
    )
    folder = tmp_path_factory.mktemp("recurrent") / "fold-1"
    return stages.train_run(config, features, run.data, folder, seed=0, fold=1)


def test_a_variant_that_cannot_be_made_stops_no_other(
    recurrent, trained, tmp_path, monkeypatch
):
    """Fold 1 alone, as if it were all; and a second call goes on from the first."""
    told = []

    def measure(*names):
        return variants_run.measure(
            [recurrent],
            chosen(names),
            tmp_path / "out",
            cache=trained[0].folder.parent / "cache",
            results=tmp_path / "variants",
            ledger_file=tmp_path / "ledger.csv",
            tell=told.append,
        )

    with pytest.raises(ProtocolError, match="figures are told for all together"):
        measure("int8", "int8-qat")
    assert not (tmp_path / "ledger.csv").exists()
    one = dataclasses.replace(
        protocol.load("emodb4"),
        test_speakers={1: protocol.load("emodb4").test_speakers[1]},
    )
    monkeypatch.setattr(protocol, "load", lambda name, clips=(): one)
    first = tmp_path / "out/fold-1/int8.tflite"
    before = first.stat().st_mtime_ns
    table = measure("float32", "int8", "int8-qat")
    assert first.stat().st_mtime_ns == before
    assert "| keras |" in table and "| float32 |" in table and "| int8 |" in table
    assert "| int8-qat |" not in table
    assert "- no int8-qat: layer lstm" in table
    _, rows = report.read_predictions(tmp_path / "variants/recurrent/predictions.csv")
    assert list(report.by_variant(rows)) == ["keras", "float32", "int8"]
    assert len((tmp_path / "ledger.csv").read_text().splitlines()) == 2
    assert str(tmp_path) not in table
    assert sum("] float32: " in line for line in told) == 1
    assert sum("] int8: " in line for line in told) == 1
    assert runs.load(recurrent.folder).fold == 1
