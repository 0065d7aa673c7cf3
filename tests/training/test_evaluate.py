import csv
import dataclasses
import re
import shutil

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from conftest import TINY_CONFIG
from edge_ser import bundle
from edge_ser.classifier import Classifier
from training import confidence, config, evaluate, ledger, predict, report, runs, stages
from training.__main__ import main
from training.dataset import read_clip
from training.errors import ProtocolError, RunError


@pytest.fixture(scope="module")
def evaluated(corpora_folder, tmp_path_factory):
    """Two folds of a quick configuration, scored; one finished before the other."""
    folder = tmp_path_factory.mktemp("evaluated")
    quick = config.parse(
        {
            **TINY_CONFIG,
            "model": {"channels": [8, 16]},  # a kernel large enough to be pruned
            "recipe": {"epochs": 2, "batch_size": 32, "prune_epochs": 1},
        }
    )
    data = corpora_folder / "emodb"
    results = folder / "results"
    evaluate.evaluate(
        quick, data, folder / "out", seeds=[0], folds=[1, 2], jobs=2, results=results
    )
    assert not results.exists()
    evaluate.publish(quick, folder / "out", [0], [1, 2], results)
    return quick, data, folder / "out", results


def test_the_ledger_tells_what_was_scored(evaluated):
    quick, _, _, results = evaluated
    with (results / "ledger.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == ledger.COLUMNS
    assert (row["folds"], row["seeds"], row["protocol"]) == ("1 2", "0", "emodb4")
    assert row["config"] == f"trial {quick.digest}"
    _, rows = report.read_predictions(results / "trial" / "predictions.csv")
    shipped = report.by_variant(rows)[evaluate.SHIPPED_VARIANT]
    ua = report.figures(shipped)["UA"].value
    assert float(row["ua"]) == pytest.approx(ua, abs=1e-4)


def test_a_part_of_the_folds_shows_no_figure(evaluated, capsys):
    quick, data, out, results = evaluated
    before = (results / "ledger.csv").read_text()
    evaluate.evaluate(quick, data, out, seeds=[0], folds=[1], results=results)
    assert (results / "ledger.csv").read_text() == before
    told = capsys.readouterr().out
    assert told == (
        "judge folds 1 and 2: done, 1 of 2, about 0 min left\n"
        "train seed 0 fold 1: done, 2 of 2, about 0 min left\n"
        "score seed 0 fold 1: done, 1 of 1, about 0 min left\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": [0, 0]}, "a seed is given twice"),
        ({"folds": [1, 1]}, "a fold is given twice"),
        ({"folds": [77]}, "no fold 77"),
    ],
)
def test_requests_that_make_no_sense_are_refused(evaluated, arguments, message):
    quick, data, out, results = evaluated
    with pytest.raises(ProtocolError, match=message):
        evaluate.evaluate(
            quick, data, out, **{"seeds": [0], "results": results, **arguments}
        )


def test_another_configs_evidence_is_not_overwritten(evaluated, tmp_path):
    quick, data, _, results = evaluated
    other = config.parse({**quick.to_dict(), "recipe": {"epochs": 3}})
    with pytest.raises(ProtocolError, match="evidence of another config"):
        evaluate.evaluate(other, data, tmp_path, seeds=[0], results=results)


def test_an_easier_task_is_no_figure_of_the_protocol(evaluated, tmp_path):
    quick, data, _, results = evaluated
    fewer = config.parse(
        {**quick.to_dict(), "name": "easy", "labels": ["happy", "sad"]}
    )
    with pytest.raises(ProtocolError, match="tests angry, neutral"):
        evaluate.evaluate(fewer, data, tmp_path, seeds=[0], results=results)


def test_every_clip_is_predicted_by_every_variant(evaluated):
    quick, data, _, results = evaluated
    labels, rows = report.read_predictions(results / "trial" / "predictions.csv")
    assert labels == quick.labels
    groups = report.by_variant(rows)
    tested = [
        clip
        for clip in stages.usable_clips(quick, data)
        if clip.speaker in ("03", "08")
    ]
    assert {len(of_variant) for of_variant in groups.values()} == {len(tested)}
    assert {row["clip"] for row in rows} == {clip.name for clip in tested}
    for row in rows:
        shares = {label: float(row[f"p_{label}"]) for label in labels}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
        assert shares[row["predicted"]] == max(shares.values())


def test_a_clip_is_asked_about_the_classes_of_its_corpus(evaluated):
    quick, data, _, _ = evaluated
    clip = stages.usable_clips(quick, data)[0]
    labels = quick.labels
    shares = [0.4, *[0.6 / (len(labels) - 1)] * (len(labels) - 1)]
    every = evaluate.row(clip, quick, shares, labels)
    assert every["predicted"] == labels[0]
    assert every[f"p_{labels[0]}"] == "0.40000"
    fewer = evaluate.row(clip, quick, shares, labels[1:])
    assert fewer["predicted"] == labels[1]
    assert fewer[f"p_{labels[0]}"] == "0.00000"
    asked = [float(fewer[f"p_{label}"]) for label in labels[1:]]
    assert asked == pytest.approx([1 / len(asked)] * len(asked), abs=1e-4)
    # So sure of another that nothing is left: nothing is known, and no NaN told.
    none = evaluate.row(clip, quick, [1.0, *[0.0] * (len(labels) - 1)], labels[1:])
    assert none["predicted"] == labels[1]
    assert float(none[f"p_{labels[-1]}"]) == pytest.approx(1 / len(asked), abs=1e-4)


def test_a_fold_bundle_gives_the_saved_predictions_again(evaluated):
    quick, data, _, results = evaluated
    classifier = Classifier.load(results / "trial" / "fold-1.tflite")
    _, rows = report.read_predictions(results / "trial" / "predictions.csv")
    shipped = report.by_variant(rows)[evaluate.SHIPPED_VARIANT]
    for row in [r for r in shipped if r["fold"] == "1"][::7]:
        samples = read_clip(data / f"{row['clip']}.flac", 16000)
        answer = classifier.classify(samples, 16000)
        assert answer.label == row["predicted"]
        for label in quick.labels:
            assert answer.probabilities[label] == pytest.approx(
                float(row[f"p_{label}"]), abs=2e-5
            )


def test_a_finished_fold_is_not_computed_again(evaluated):
    quick, data, out, results = evaluated
    before = (out / "seed-0/fold-1/model.keras").stat().st_mtime_ns
    evaluate.evaluate(quick, data, out, seeds=[0], folds=[1], results=results)
    assert (out / "seed-0/fold-1/model.keras").stat().st_mtime_ns == before


def test_another_config_does_not_reuse_the_folder(evaluated):
    quick, data, out, _ = evaluated
    other = config.parse({**quick.to_dict(), "recipe": {"epochs": 3}})
    with pytest.raises(RunError, match="trained with another config"):
        evaluate.evaluate(other, data, out, seeds=[0], folds=[1], results=out / "none")


def test_a_run_that_saw_a_test_speaker_is_not_scored(evaluated, trained):
    run, features = trained  # learned from speaker 09, whom fold 3 tests
    leaky = runs.Run(**{**vars(run), "fold": 3})
    with pytest.raises(ProtocolError, match="emodb/09"):
        evaluate.score_fold(leaky, features, {})


def test_seeds_are_added_to_the_published_ones(evaluated, tmp_path):
    quick, data, _, before = evaluated
    results = shutil.copytree(before, tmp_path / "results")
    folder, out = results / "trial", tmp_path / "out"
    asked = {"seeds": [1], "folds": [1], "results": results, "add": True}
    evaluate.evaluate(quick, data, out, **asked)
    assert not (out / "judges").exists()
    evaluate.publish(quick, out, [1], [1], results, add=True)
    _, old = report.read_predictions(before / "trial" / "predictions.csv")
    _, new = report.read_predictions(folder / "predictions.csv")
    assert [row for row in new if row["seed"] == "0"] == old
    first = {row["clip"] for row in old if row["fold"] == "1"}
    assert {row["clip"] for row in new if row["seed"] == "1"} == first
    assert ",1,0 1," in (results / "ledger.csv").read_text().splitlines()[-1]
    for fold in (1, 2):
        kept = (before / "trial" / f"fold-{fold}.tflite").read_bytes()
        assert (folder / f"fold-{fold}.tflite").read_bytes() == kept
    temperature = bundle.read(folder / "fold-1.tflite").card.temperature
    assert runs.load(out / "seed-1/fold-1").temperature == temperature
    with pytest.raises(ProtocolError, match="holds seed 1 already"):
        evaluate.evaluate(quick, data, out, **asked)
    other = dataclasses.replace(quick, name="other")
    with pytest.raises(ProtocolError, match="nothing is published"):
        evaluate.evaluate(other, data, out / "none", **asked)


def test_report_recomputes_the_figures_from_the_files(evaluated, capsys):
    _, _, _, results = evaluated
    assert main(["report", str(results / "trial")]) == 0
    printed = capsys.readouterr().out
    _, rows = report.read_predictions(results / "trial" / "predictions.csv")
    figures = report.figures(report.by_variant(rows)["int8"])
    assert f"| int8 | {100 * figures['UA'].value:.1f} [" in printed
    assert "acted \\ heard" in printed


@pytest.mark.parametrize(
    "damage", ["header", "cut", "label", "share", "twice", "binary"]
)
def test_damaged_predictions_are_refused(evaluated, tmp_path, capsys, damage):
    _, _, _, results = evaluated
    source = results / "trial"
    lines = (source / "predictions.csv").read_text().splitlines()
    damaged = {
        "header": lines[:1],
        "cut": [*lines[:-1], lines[-1][:20]],
        "label": [*lines[:-1], re.sub(r"[a-z]+(?=,0\.)", "gloomy", lines[-1], count=1)],
        "share": [*lines[:-1], re.sub(r"0\.\d+$", "none", lines[-1])],
        "twice": [*lines, lines[-1]],
        "binary": lines,
    }[damage]
    (tmp_path / "config.json").write_text((source / "config.json").read_text())
    file = tmp_path / "predictions.csv"
    file.write_text("\n".join(damaged) + "\n")
    if damage == "binary":
        file.write_bytes(b"\xff\xfe" + file.read_bytes())
    assert main(["report", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_report_without_predictions(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    assert "no predictions" in capsys.readouterr().err


def test_a_folds_temperature_comes_from_who_never_heard_its_speakers(evaluated):
    quick, data, out, results = evaluated
    features = stages.load_features(quick, data, out / "cache")
    judge = runs.load(out / "judges/folds-1-2")
    shipped = Classifier.load(judge.folder / "bundles/int8-pruned.tflite")
    for fold, other in ((1, 2), (2, 1)):
        asked = np.load(judge.folder / f"answers-int8-pruned-{other}.npz")
        strange = stages.split(features, quick, other)[1].clips
        shares = predict.clip_means(predict.softmax(asked["logits"]), asked["windows"])
        assert len(asked["truth"]) == len(shares) == len(strange)
        # What ships answers, not the network before it was pruned and quantized.
        for clip, expected in zip(strange[:3], shares, strict=False):
            answer = shipped.classify(read_clip(clip.path, 16000), 16000)
            assert [*answer.probabilities.values()] == pytest.approx(expected, abs=1e-5)
        fitted = confidence.fit_temperature(**asked)
        assert fitted != 1
        assert runs.load(out / f"seed-0/fold-{fold}").temperature == fitted
        card = bundle.read(results / f"trial/fold-{fold}.tflite").card
        assert card.temperature == fitted
        tested = stages.split(features, quick, fold)[1].clips
        heard = {c.speaker for c in features.clips if judge.has_heard(c)}
        assert heard and not heard & {clip.speaker for clip in tested}


def test_another_temperature_leaves_the_networks_alone(evaluated, tmp_path):
    _, _, out, _ = evaluated
    run = runs.load(shutil.copytree(out / "seed-0/fold-2", tmp_path / "fold-2"))
    file = run.folder / "bundles/int8-pruned.tflite"
    before = bundle.read(file)
    renewed = runs.with_temperature(run, run.temperature + 0.5)
    after = bundle.read(file)
    assert after.card.temperature == renewed.temperature == run.temperature + 0.5
    assert after.model == before.model
    assert not (run.folder / "predictions.csv").exists()


def test_damaged_answers_are_named(evaluated, tmp_path):
    _, _, out, _ = evaluated
    whole = (out / "judges/folds-1-2/answers-int8-pruned-2.npz").read_bytes()
    file = evaluate.judge_folder(tmp_path, (1, 2)) / "answers-int8-pruned-2.npz"
    file.parent.mkdir(parents=True)
    for damaged in (b"", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(RunError, match=r"-2\.npz is damaged; remove it"):
            evaluate.temperature(tmp_path, [(1, 2)], 1)


def test_a_fold_of_other_recordings_is_not_taken_up(evaluated):
    quick, data, out, _ = evaluated
    features = stages.load_features(quick, data, out / "cache")
    fewer = features.subset(range(len(features.clips) - 1))
    with pytest.raises(ProtocolError, match="other recordings"):
        evaluate.train_fold(quick, fewer, data, out, 0, 1)


def test_a_fold_without_partner_has_no_temperature(tmp_path):
    assert evaluate.temperature(tmp_path, [(1, 2)], 3) == 1
