"""The folds of a protocol, trained, converted and scored by the device runtime."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from conversion.variants import SHIPPED
from edge_ser import bundle
from edge_ser.classifier import Classifier
from edge_ser.features import FeatureSpec
from edge_ser.interpreter import Interpreter
from training import confidence, ledger, progress, report, runs, stages, workers
from training import protocol as protocols
from training.batches import label_indices
from training.config import Config
from training.corpora import Clip
from training.dataset import FeatureSet, read_clip
from training.errors import ProtocolError, RunError
from training.predict import (
    clip_windows,
    keras_probabilities,
    predict_clips,
)

SHIPPED_VARIANT = "int8-pruned"
_JUDGE_SEED = 0
"""One judge serves all seeds."""


def under_protocol(config: Config, name: str) -> Config:
    """The config judged by other folds, under a name of its own.

    Tests across corpora are a task of the four labels that all have.
    """
    labels = config.labels
    if name in protocols.ACROSS_CORPORA:
        labels = protocols.COMMON_CLASSES
    return dataclasses.replace(
        config,
        name=f"{config.name}-{protocols.in_a_name(name)}",
        protocol=name,
        labels=labels,
    )


def evaluate(
    config: Config,
    data: pathlib.Path,
    out: pathlib.Path,
    *,
    seeds: Sequence[int],
    folds: Sequence[int] | None = None,
    jobs: int = 1,
    results: pathlib.Path = report.RESULTS,
    skip_bad: bool = False,
    add: bool = False,
) -> None:
    """Train, convert and score every fold and seed; publish if all folds are done.

    Finished folds are not computed again. Scoring all folds appends a line to the
    ledger. A part of the folds is computed without showing any figure: what nobody
    has seen, nobody can choose by.

    Args:
        out: holds a run folder a fold; not for publication.
        folds: a part of the protocol's folds, or None for all.
        jobs: folds trained at the same time, one thread each.
        results: the published evidence goes to ``results/NAME``.
        add: the seeds come beside those of the published evidence, which need not be
            trained again; its folds' temperatures, which are every seed's, are taken.

    Raises:
        ProtocolError: unknown or repeated folds or seeds, evidence of another config
            under this name, labels that lack a class, nothing to add to.
        RunError: a folder of another config.
    """
    clips = stages.usable_clips(config, data)
    protocol = protocols.load(config.protocol, clips)
    wanted = tuple(folds) if folds else tuple(protocol.test_speakers)
    _check_request(config, protocol, out, seeds, wanted, results)
    known = _published_temperatures(config, seeds, wanted, results) if add else {}
    tasks = [(seed, fold) for seed in seeds for fold in wanted]
    pairs = [
        pair for pair in _pairs(config, protocol) if {*pair} & {*wanted} - {*known}
    ]
    # Once, before the processes.
    stages.load_features(config, data, out / "cache", skip_bad=skip_bad)
    given = (config, data, out, skip_bad)
    # Judges first: they take the longest, and nobody waits for the last of them alone.
    steps = [_Step("judge folds {} and {}", judge, pair) for pair in pairs]
    steps += [_Step("train seed {} fold {}", train_fold, task) for task in tasks]
    _each_alone(steps, given, jobs)
    score = functools.partial(_calibrate_and_score, known)
    steps = [_Step("score seed {} fold {}", score, task) for task in tasks]
    _each_alone(steps, given, jobs)
    if set(wanted) == set(protocol.test_speakers):
        publish(config, out, seeds, wanted, results, add=add)


class _Step(NamedTuple):
    """A piece of work, and how it is told."""

    told: str
    work: Callable[..., None]
    numbers: tuple[int, int]


def _each_alone(
    steps: Sequence[_Step],
    given: tuple[Config, pathlib.Path, pathlib.Path, bool],
    jobs: int,
) -> None:
    """Do every step, each in a process of its own."""
    with workers.pool(jobs) as pool:
        pending = {
            pool.submit(_alone, step.work, *given, *step.numbers): step
            for step in steps
        }
        started = time.monotonic()
        for number, done in enumerate(workers.completed(pending), 1):
            each = (time.monotonic() - started) / number
            left = each * (len(steps) - number) / 60
            print(
                f"{pending[done].told.format(*pending[done].numbers)}: done, {number} "
                f"of {len(steps)}, about {left:.0f} min left",
                flush=True,
            )


def _check_request(
    config: Config,
    protocol: protocols.Protocol,
    out: pathlib.Path,
    seeds: Sequence[int],
    folds: Sequence[int],
    results: pathlib.Path,
) -> None:
    """What would otherwise show only after hours."""
    for name, values in (("seed", seeds), ("fold", folds)):
        if len(set(values)) != len(values):
            raise ProtocolError(f"a {name} is given twice: {values}")
    unknown = sorted(set(folds) - set(protocol.test_speakers))
    if unknown:
        raise ProtocolError(
            f"{protocol.name} has no fold {unknown[0]}; valid: "
            f"{', '.join(map(str, protocol.test_speakers))}"
        )
    missing = [label for label in protocol.classes if label not in config.labels]
    if missing:
        raise ProtocolError(
            f"the protocol {protocol.name} tests {', '.join(missing)}, which the "
            "config's labels lack: its figures would be of an easier task"
        )
    check_published(config, results)
    for seed in seeds:
        for fold in folds:
            folder = fold_folder(out, seed, fold)
            if (folder / "run.json").exists():
                runs.load_of(folder, config)


def check_published(config: Config, results: pathlib.Path) -> None:
    """Refuse to overwrite evidence.

    Raises:
        ProtocolError: it is of another config of the same name.
    """
    published = stages.published_config(config.name, results)
    if published is not None and published != config:
        raise ProtocolError(
            f"{results / config.name} holds the evidence of another config of the "
            "same name; choose another name, or remove it"
        )


def _alone(
    work: Callable[..., None],
    config: Config,
    data: pathlib.Path,
    out: pathlib.Path,
    skip_bad: bool,
    *task: int,
) -> None:
    features = stages.load_features(config, data, out / "cache", skip_bad=skip_bad)
    work(config, features, data, out, *task)


def fold_folder(out: pathlib.Path, seed: int, fold: int) -> pathlib.Path:
    """The run folder of one fold."""
    return out / f"seed-{seed}" / f"fold-{fold}"


def train_fold(
    config: Config,
    features: FeatureSet,
    data: pathlib.Path,
    out: pathlib.Path,
    seed: int,
    fold: int,
) -> None:
    """Train a fold unless it is trained."""
    folder = fold_folder(out, seed, fold)
    if not (folder / "run.json").exists():
        stages.train_run(config, features, data, folder, seed=seed, fold=fold)
        return
    learned, _ = stages.split(features, config, fold)
    _check_learned(folder, learned, config)


def _check_learned(folder: pathlib.Path, learned: FeatureSet, config: Config) -> None:
    run = runs.load_of(folder, config)
    if run.clips != set(map(runs.clip_key, learned.clips)):
        raise ProtocolError(
            f"{folder} was trained on other recordings; choose another --out"
        )


def _pairs(config: Config, protocol: protocols.Protocol) -> tuple[tuple[int, int], ...]:
    """The folds that get judges: none where teachers know the other's speakers."""
    return () if config.distillation.teachers else protocol.pairs()


def judge_folder(out: pathlib.Path, pair: tuple[int, int]) -> pathlib.Path:
    """The run folder of the training that leaves out what two folds test."""
    return out / "judges" / f"folds-{pair[0]}-{pair[1]}"


def judge(
    config: Config,
    features: FeatureSet,
    data: pathlib.Path,
    out: pathlib.Path,
    fold: int,
    other: int,
) -> None:
    """Train a model that is a stranger to two folds, and save what it answers to each.

    Its answers to the one's test clips give the other's temperature, see `temperature`.
    Its shipped variant answers: pruning changes how sure a network is.
    """
    # The speakers left out stop nothing: the folds' models are trained without them.
    recipe = dataclasses.replace(config.recipe, early_stopping_epochs=0)
    config = dataclasses.replace(config, recipe=recipe)
    folder = judge_folder(out, (fold, other))
    learned, tested = stages.split(features, config, fold)
    _, tested_by_other = stages.split(features, config, other)
    left_out = tuple(sorted({clip.speaker_key for clip in tested_by_other.clips}))
    if (folder / "run.json").exists():
        _check_learned(folder, stages.hold_out(learned, left_out)[0], config)
    else:
        for number in (fold, other):
            _answers_file(folder, number).unlink(missing_ok=True)
        stages.train_run(
            config,
            features,
            data,
            folder,
            seed=_JUDGE_SEED,
            fold=fold,
            validation_speakers=left_out,
        )
    run = runs.load(folder)
    for number, asked in ((fold, tested), (other, tested_by_other)):
        file = _answers_file(folder, number)
        if not file.exists():
            shipped = folder / "bundles" / f"{SHIPPED_VARIANT}.tflite"
            if not shipped.exists():
                stages.convert_run(
                    run,
                    features,
                    data,
                    out / "cache",
                    shipped.parent,
                    [SHIPPED_VARIANT],
                )
            _save_answers(file, run, shipped, asked, features)


def _answers_file(folder: pathlib.Path, fold: int) -> pathlib.Path:
    return folder / f"answers-{SHIPPED_VARIANT}-{fold}.npz"


def _save_answers(
    file: pathlib.Path,
    run: runs.Run,
    shipped: pathlib.Path,
    asked: FeatureSet,
    features: FeatureSet,
) -> None:
    """A run's bundle's logits for every window of clips of strangers."""
    heard = [clip for clip in features.clips if run.has_heard(clip)]
    protocols.assert_strangers(heard, asked.clips)
    asked = asked.with_spec(run.spec)
    clips = [
        clip_windows(asked, index, run.config.hop_frames)
        for index in range(len(asked.clips))
    ]
    interpreter = Interpreter(bundle.read(shipped).model)
    partial = file.with_name(f"partial-{file.name}")
    np.savez(
        partial,
        logits=[interpreter.logits(window) for clip in clips for window in clip],
        windows=[len(clip) for clip in clips],
        truth=label_indices(asked, run.config.labels),
    )
    os.replace(partial, file)


def temperature(
    out: pathlib.Path, pairs: Iterable[tuple[int, int]], fold: int
) -> float:
    """The temperature of a fold's models, fitted where its test speakers have no part.

    A model of the same configuration that knows neither the fold's test speakers nor
    another fold's answers the latter's test clips: what suits it best. 1 for a fold
    that is in no pair.

    Args:
        pairs: see `Protocol.pairs`.
    """
    pair = next((pair for pair in pairs if fold in pair), None)
    if pair is None:
        return 1.0
    (other,) = {*pair} - {fold}
    file = _answers_file(judge_folder(out, pair), other)
    try:
        with file.open("rb") as opened, np.load(opened) as stored:
            answers = [stored[name] for name in ("logits", "windows", "truth")]
    except progress.DAMAGE as error:
        raise RunError(f"{file} is damaged; remove it, and try again") from error
    return confidence.fit_temperature(*answers)


def _calibrate_and_score(
    known: Mapping[int, float],
    config: Config,
    features: FeatureSet,
    data: pathlib.Path,
    out: pathlib.Path,
    seed: int,
    fold: int,
) -> None:
    pairs = _pairs(config, protocols.load(config.protocol, features.clips))
    run = runs.load(fold_folder(out, seed, fold))
    fitted = known[fold] if fold in known else temperature(out, pairs, fold)
    runs.with_temperature(run, fitted)
    convert_and_score(config, features, data, out, seed=seed, fold=fold)


def _published_temperatures(
    config: Config, seeds: Sequence[int], folds: Sequence[int], results: pathlib.Path
) -> dict[int, float]:
    """Of the published fold bundles, by fold.

    Raises:
        ProtocolError: there are none, or a seed is published already.
    """
    folder = results / config.name
    if not folder.is_dir():
        raise ProtocolError(
            f"{folder}: nothing is published that seeds could be added to"
        )
    _, rows = report.read_predictions(folder / "predictions.csv")
    again = sorted({int(row["seed"]) for row in rows} & {*seeds})
    if again:
        raise ProtocolError(f"{folder}: holds seed {again[0]} already")
    paths = {fold: folder / f"fold-{fold}.tflite" for fold in folds}
    return {fold: bundle.read(path).card.temperature for fold, path in paths.items()}


def convert_and_score(
    config: Config,
    features: FeatureSet,
    data: pathlib.Path,
    out: pathlib.Path,
    *,
    seed: int,
    fold: int,
    variants: Sequence[str] = SHIPPED,
) -> None:
    """Convert and score a trained fold, going on from what is there already."""
    folder = fold_folder(out, seed, fold)
    run = runs.load(folder)
    bundles = folder / "bundles"
    if not all((bundles / f"{v}.tflite").exists() for v in variants):
        stages.convert_run(run, features, data, out / "cache", bundles, variants)
    scores = folder / "predictions.csv"
    if not scores.exists():
        paths = {variant: bundles / f"{variant}.tflite" for variant in variants}
        rows = score_fold(run, features, paths)
        report.write_predictions(scores, rows, config.labels)


def score_fold(
    run: runs.Run, features: FeatureSet, bundles: Mapping[str, pathlib.Path]
) -> list[dict[str, Any]]:
    """Predictions of Keras and of every bundle on the fold's test clips.

    Keras gets the features that training computed; each bundle is run by the device
    runtime on the audio itself.
    """
    tested = _strangers(run, features)
    rows = keras_rows(
        run.model(),
        run.spec,
        run.config,
        tested,
        run.seed,
        run.fold,
        run.temperature,
        _classes_of(run, features),
    )
    for variant, path in bundles.items():
        rows += bundle_rows(run, features, variant, path)
    return rows


def bundle_rows(
    run: runs.Run, features: FeatureSet, variant: str, path: pathlib.Path
) -> list[dict[str, Any]]:
    """Predictions of one bundle on the fold's test clips, by the device runtime."""
    tested = _strangers(run, features)
    classes_of = _classes_of(run, features)
    return [
        {
            **row(
                clip,
                run.config,
                list(answer.probabilities.values()),
                classes_of[clip.corpus],
            ),
            "fold": run.fold,
            "seed": run.seed,
            "variant": variant,
        }
        for clip, answer in bundle_answers(Classifier.load(path), tested.clips)
    ]


def _classes_of(run: runs.Run, features: FeatureSet) -> Mapping[str, Sequence[str]]:
    """What each tested corpus is asked about."""
    return protocols.load(run.config.protocol, features.clips).classes_of


def _strangers(run: runs.Run, features: FeatureSet) -> FeatureSet:
    """The clips that the run's fold tests.

    Raises:
        ProtocolError: the run knows one of their speakers.
    """
    _, tested = stages.split(features, run.config, run.fold)
    # What the run really learned from, not what a split says it should have.
    learned_clips = [clip for clip in features.clips if run.has_heard(clip)]
    protocols.assert_strangers(learned_clips, tested.clips)
    return tested


def bundle_answers(
    classifier: Classifier, clips: Sequence[Clip]
) -> Iterator[tuple[Clip, Any]]:
    """What a bundle answers to each clip's audio, by the device runtime."""
    for clip in clips:
        samples = read_clip(clip.path, classifier.sample_rate_hz)
        yield clip, classifier.classify(samples, classifier.sample_rate_hz)


def keras_rows(
    model: Any,
    spec: FeatureSpec,
    config: Config,
    tested: FeatureSet,
    seed: int,
    fold: int | None,
    temperature: float = 1.0,
    classes_of: Mapping[str, Sequence[str]] | None = None,
) -> list[dict[str, Any]]:
    """Predictions of a Keras model for each clip.

    Args:
        classes_of: what clips of a corpus are asked about, if not about every label.
    """
    scores = predict_clips(
        keras_probabilities(model, temperature),
        tested.with_spec(spec),
        config.hop_frames,
    )
    asked = classes_of or {}
    return [
        {
            **row(clip, config, shares, asked.get(clip.corpus, config.labels)),
            "fold": fold,
            "seed": seed,
            "variant": "keras",
        }
        for clip, shares in zip(tested.clips, scores, strict=True)
    ]


def row(
    clip: Clip, config: Config, probabilities: Any, classes: Sequence[str]
) -> dict[str, Any]:
    """What a prediction file says of a clip; without fold, seed and variant.

    Args:
        probabilities: of all the config's labels.
        classes: what the clip is asked about; what other labels got goes to these in
            proportion.
    """
    asked = np.array([label in classes for label in config.labels])
    shares = np.where(asked, probabilities, 0.0)
    if not asked.all():  # else rounded figures of a bundle stay as they are
        # If other labels leave nothing, nothing is known of these.
        shares = shares / shares.sum() if shares.sum() else asked / asked.sum()
    return {
        "corpus": clip.corpus,
        "clip": clip.name,
        "speaker": clip.speaker,
        "label": clip.emotion,
        "predicted": config.labels[int(np.argmax(shares))],
        **{
            f"p_{label}": f"{share:.5f}"
            for label, share in zip(config.labels, shares, strict=True)
        },
    }


def publish(
    config: Config,
    out: pathlib.Path,
    seeds: Sequence[int],
    folds: Sequence[int],
    results: pathlib.Path = report.RESULTS,
    *,
    add: bool = False,
) -> None:
    """Write the evidence: predictions, fold bundles of seed 0, figures, ledger.

    The ledger comes first, so that no figure is seen without its line.

    Args:
        add: to what is published under the name, of other seeds.
    """
    published = results / config.name
    rows: list[dict[str, str]] = []
    if add:
        rows += report.read_predictions(published / "predictions.csv")[1]
    for seed in seeds:
        for fold in folds:
            source = fold_folder(out, seed, fold)
            rows += report.read_predictions(source / "predictions.csv")[1]
    shown = report.figures_table(rows, config.protocol)
    results.mkdir(parents=True, exist_ok=True)
    shipped = next(one for one in shown if one["variant"] == SHIPPED_VARIANT)
    ledger.append(
        results / "ledger.csv",
        f"{config.name} {config.digest}",
        config.protocol,
        folds,
        sorted({int(row["seed"]) for row in rows}),
        shipped,
    )
    with evidence(config, rows, shown, results) as folder:
        for fold in folds if 0 in seeds else ():
            source = fold_folder(out, 0, fold)
            shutil.copyfile(
                source / "bundles" / f"{SHIPPED_VARIANT}.tflite",
                folder / f"fold-{fold}.tflite",
            )
            for name in ("learning-curve.png", "history.csv"):
                stem, dot, ending = name.partition(".")
                copy = folder / f"{stem}-fold-{fold}{dot}{ending}"
                shutil.copyfile(source / name, copy)
        # Of a seed 0 that is published: bundles, curves and histories of its folds.
        for path in published.glob("*-*") if add else ():
            shutil.copyfile(path, folder / path.name)


@contextlib.contextmanager
def evidence(
    config: Config,
    rows: Iterable[dict[str, Any]],
    shown: Sequence[dict[str, Any]],
    results: pathlib.Path,
) -> Iterator[pathlib.Path]:
    """Publish predictions and figures under the config's name, all at once.

    Gives a folder for what else is evidence; it takes the former one's place at the
    end, and on an error that stays as it was.
    """
    folder, partial = results / config.name, results / f".{config.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    report.write_predictions(partial / "predictions.csv", rows, config.labels)
    (partial / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n")
    figures = json.dumps(report.rounded(shown), indent=1)
    (partial / "figures.json").write_text(figures + "\n")
    yield partial
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
