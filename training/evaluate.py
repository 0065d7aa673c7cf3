"""The folds of a protocol, trained, converted and scored by the device runtime."""

from __future__ import annotations

import concurrent.futures
import csv
import datetime
import json
import multiprocessing
import os
import pathlib
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

import numpy as np

from conversion.bundles import VARIANTS
from edge_ser.classifier import Classifier
from training import protocol as protocols
from training import report, runs, stages
from training.config import Config
from training.dataset import FeatureSet, read_clip
from training.errors import ProtocolError

RESULTS = pathlib.Path(__file__).parent / "results"
SHIPPED_VARIANT = "int8-pruned"


def evaluate(
    config: Config,
    data: pathlib.Path,
    out: pathlib.Path,
    *,
    seeds: Sequence[int],
    folds: Sequence[int] | None = None,
    jobs: int = 1,
    results: pathlib.Path = RESULTS,
) -> None:
    """Train, convert and score every fold and seed; publish if all folds are done.

    Finished folds are not computed again. Scoring all folds appends a line to the
    ledger; a part of the folds is a trial and publishes nothing.

    Args:
        out: holds a run folder a fold; not for publication.
        folds: a part of the protocol's folds, or None for all.
        jobs: folds trained at the same time, one thread each.
        results: the published evidence goes to ``results/NAME``.
    """
    clips = stages.usable_clips(config, data)
    protocol = protocols.load(config.protocol, clips)
    wanted = tuple(folds) if folds else tuple(protocol.test_speakers)
    tasks = [(seed, fold) for seed in seeds for fold in wanted]
    stages.load_features(config, data, out / "cache")  # once, before the processes
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        jobs, mp_context=context, max_tasks_per_child=1
    ) as pool:
        pending = {
            pool.submit(_fold_alone, config, data, out, seed, fold): (seed, fold)
            for seed, fold in tasks
        }
        for done in concurrent.futures.as_completed(pending):
            seed, fold = pending[done]
            print(f"seed {seed} fold {fold}: {done.result()}", flush=True)
    if set(wanted) == set(protocol.test_speakers):
        publish(config, out, seeds, wanted, results)


def _fold_alone(
    config: Config, data: pathlib.Path, out: pathlib.Path, seed: int, fold: int
) -> str:
    from training.keras import limit_threads

    limit_threads(1)
    features = stages.load_features(config, data, out / "cache")
    return evaluate_fold(config, features, data, out, seed=seed, fold=fold)


def fold_folder(out: pathlib.Path, seed: int, fold: int) -> pathlib.Path:
    """The run folder of one fold."""
    return out / f"seed-{seed}" / f"fold-{fold}"


def evaluate_fold(
    config: Config,
    features: FeatureSet,
    data: pathlib.Path,
    out: pathlib.Path,
    *,
    seed: int,
    fold: int,
) -> str:
    """Train, convert and score one fold, going on from what is there already.

    Returns:
        One line that says what came out.
    """
    folder = fold_folder(out, seed, fold)
    if not (folder / "run.json").exists():
        stages.train_run(config, features, data, folder, seed=seed, fold=fold)
    run = runs.load(folder)
    if run.config.digest != config.digest:
        raise ProtocolError(
            f"{folder} was trained with another config; choose another --out"
        )
    bundles = folder / "bundles"
    if not all((bundles / f"{v}.tflite").exists() for v in VARIANTS):
        stages.convert_run(run, features, bundles)
    scores = folder / "predictions.csv"
    if not scores.exists():
        rows = score_fold(run, features)
        partial = folder / ".predictions.partial"
        report.write_predictions(partial, rows, config.labels)
        os.replace(partial, scores)
    _, variants = report.read_predictions(scores)
    return ", ".join(
        f"{variant} UA {report.figures(scored)['UA'].value:.3f}"
        for variant, scored in report.by_variant(variants).items()
    )


def score_fold(run: runs.Run, features: FeatureSet) -> list[dict[str, Any]]:
    """Predictions of every variant on the fold's test clips.

    Keras gets the features that training computed; each bundle is run by the device
    runtime on the audio itself.
    """
    from training.train import keras_probabilities, predict_clips

    _, tested = stages.split(features, run.config, run.fold)
    # What the run really learned from, not what a split says it should have.
    learned_clips = [clip for clip in features.clips if run.trained_on(clip)]
    protocols.assert_strangers(learned_clips, tested.clips)
    rows = []

    def add(variant: str, index: int, probabilities: Any) -> None:
        clip = tested.clips[index]
        rows.append(
            {
                "corpus": clip.corpus,
                "clip": clip.name,
                "speaker": clip.speaker,
                "fold": run.fold,
                "seed": run.seed,
                "variant": variant,
                "label": clip.emotion,
                "predicted": run.config.labels[int(np.argmax(probabilities))],
                **{
                    f"p_{label}": f"{p:.5f}"
                    for label, p in zip(run.config.labels, probabilities, strict=True)
                },
            }
        )

    scores = predict_clips(
        keras_probabilities(run.model()),
        tested.with_spec(run.spec),
        run.config.hop_frames,
    )
    for index, probabilities in enumerate(scores):
        add("keras", index, probabilities)
    for variant in VARIANTS:
        classifier = Classifier.load(run.folder / "bundles" / f"{variant}.tflite")
        for index, clip in enumerate(tested.clips):
            samples = read_clip(clip.path, classifier.sample_rate_hz)
            answer = classifier.classify(samples, classifier.sample_rate_hz)
            add(variant, index, list(answer.probabilities.values()))
    return rows


def publish(
    config: Config,
    out: pathlib.Path,
    seeds: Sequence[int],
    folds: Sequence[int],
    results: pathlib.Path = RESULTS,
) -> None:
    """Write the evidence: predictions, fold bundles of seed 0, figures, ledger."""
    folder = results / config.name
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str]] = []
    for seed in seeds:
        for fold in folds:
            source = fold_folder(out, seed, fold)
            rows += report.read_predictions(source / "predictions.csv")[1]
            if seed == 0:
                shutil.copyfile(
                    source / "bundles" / f"{SHIPPED_VARIANT}.tflite",
                    folder / f"fold-{fold}.tflite",
                )
                shutil.copyfile(
                    source / "learning-curve.png",
                    folder / f"learning-curve-fold-{fold}.png",
                )
    report.write_predictions(folder / "predictions.csv", rows, config.labels)
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n")
    shown = report.figures_table(rows, config.protocol)
    (folder / "figures.json").write_text(json.dumps(shown, indent=1) + "\n")
    _append_ledger(results / "ledger.csv", config, seeds, shown)


def _append_ledger(
    ledger: pathlib.Path,
    config: Config,
    seeds: Sequence[int],
    shown: Sequence[dict[str, Any]],
) -> None:
    """One line for each time that test folds were scored."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
        cwd=pathlib.Path(__file__).parent,
    ).stdout.strip()
    new = not ledger.exists()
    with ledger.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(
                ["date", "commit", "config", "protocol", "seeds", "variant", "ua"]
            )
        for row in shown:
            writer.writerow(
                [
                    datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
                    commit or "unknown",
                    f"{config.name} {config.digest}",
                    config.protocol,
                    " ".join(map(str, seeds)),
                    row["variant"],
                    f"{row['ua']:.4f}",
                ]
            )
