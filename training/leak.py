"""How famous figures are made, beside the honest one: what a leak is worth.

Ten random folds put clips of every speaker on both sides, and the epoch is chosen on
the test fold itself. Nothing of this may stand as a result; it shows why figures of
other publications are not to be compared with ours.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from training import evaluate, ledger, report, runs, stages
from training import protocol as protocols
from training.config import Config
from training.dataset import FeatureSet
from training.errors import ProtocolError

HONEST, RANDOM_FOLDS = report.HONEST, report.LEAKY
FOLDS = 10


def leaky_config(config: Config, protocol: protocols.Protocol) -> Config:
    """The config on the protocol's corpus alone, its best epoch taken."""
    return dataclasses.replace(
        honest_config(config, protocol),
        recipe=dataclasses.replace(
            config.recipe,
            validation_every=1,
            early_stopping_epochs=config.recipe.epochs,
        ),
    )


def honest_config(config: Config, protocol: protocols.Protocol) -> Config:
    """The config on the protocol's corpus alone."""
    return dataclasses.replace(
        config,
        name=f"{config.name}-leak-{protocol.name}",
        corpora=protocol.corpora,
        labels=protocol.classes,
        protocol=protocol.name,
    )


def random_folds(labels: list[str], seed: int) -> list[int]:
    """A fold for each clip, labels spread evenly, speakers not looked at."""
    random = np.random.default_rng(seed)
    folds = np.zeros(len(labels), int)
    for label in sorted(set(labels)):
        clips = random.permutation([i for i, one in enumerate(labels) if one == label])
        folds[clips] = (np.arange(len(clips)) + random.integers(FOLDS)) % FOLDS
    return [int(fold) for fold in folds]


def compare(
    config: Config,
    data: pathlib.Path,
    out: pathlib.Path,
    *,
    seed: int = 0,
    results: pathlib.Path = report.RESULTS,
    skip_bad: bool = False,
) -> str:
    """Train both ways, score the same clips, and say what the leak is worth.

    Finished folds are not computed again, and an unfinished one goes on. The figures
    are the float model's. The ledger gets a line.

    Args:
        config: its protocol gives the corpus and the honest folds.

    Returns:
        Both figures and the warning, as Markdown.

    Raises:
        ProtocolError: folds of several corpora; a folder, or evidence, of another
            config.
    """
    single = f"{RANDOM_FOLDS} needs --honest folds of a single corpus"
    if config.protocol in protocols.ACROSS_CORPORA:
        raise ProtocolError(single)
    # Corpus and classes first: the config's own may be others.
    of_speakers = protocols.load(config.protocol.removesuffix(protocols.SENTENCES))
    if len(of_speakers.corpora) > 1:
        raise ProtocolError(single)
    clips = stages.usable_clips(honest_config(config, of_speakers), data)
    protocol = protocols.load(config.protocol, clips)
    honest, leaky = honest_config(config, protocol), leaky_config(config, protocol)
    evaluate.check_published(honest, results)
    _claim(out, honest, seed)
    features = stages.load_features(honest, data, out / "cache", skip_bad=skip_bad)
    rows: list[dict[str, Any]] = []
    for fold in protocol.test_speakers:
        rows += _scored(honest, features, data, out / f"honest-{fold}", seed, fold)
    chosen = random_folds([clip.emotion for clip in features.clips], seed)
    for fold in range(FOLDS):
        rows += _leaky_fold(leaky, features, out / f"leaky-{fold}", seed, fold, chosen)
    return publish(honest, rows, seed, results)


def _claim(out: pathlib.Path, config: Config, seed: int) -> None:
    """Finished folds are taken as they are, so they must be of the same asking."""
    file, asked = out / "asked.json", json.dumps(f"{config.digest} {seed}")
    if not file.exists():
        runs.write(file, asked)
    if file.read_text() != asked:
        raise ProtocolError(
            f"{out} was trained with another config or seed; choose another --out"
        )


def _kept(folder: pathlib.Path, tested: FeatureSet) -> list[dict[str, str]] | None:
    """A finished fold's predictions, unless the recordings are others now."""
    file = folder / "predictions.csv"
    if not file.exists():
        return None
    rows = report.read_predictions(file)[1]
    return rows if {r["clip"] for r in rows} == {c.name for c in tested.clips} else None


def _keep(
    folder: pathlib.Path, rows: list[dict[str, Any]], config: Config
) -> list[dict[str, str]]:
    report.write_predictions(folder / "predictions.csv", rows, config.labels)
    return report.read_predictions(folder / "predictions.csv")[1]


def _scored(
    config: Config,
    features: FeatureSet,
    data: pathlib.Path,
    folder: pathlib.Path,
    seed: int,
    fold: int,
) -> list[dict[str, str]]:
    """An honest fold: strangers, and the last epoch."""
    _, tested = stages.split(features, config, fold)
    kept = _kept(folder, tested)
    if kept is not None:
        return kept
    run = stages.train_run(config, features, data, folder, seed=seed, fold=fold)
    rows = evaluate.keras_rows(run.model(), run.spec, config, tested, seed, fold)
    return _keep(folder, [{**row, "variant": HONEST} for row in rows], config)


def _leaky_fold(
    config: Config,
    features: FeatureSet,
    folder: pathlib.Path,
    seed: int,
    fold: int,
    chosen: list[int],
) -> list[dict[str, str]]:
    """A random fold, scored by the epoch that scores it best."""
    from training.train import train

    learned = features.subset([i for i, k in enumerate(chosen) if k != fold])
    tested = features.subset([i for i, k in enumerate(chosen) if k == fold])
    kept = _kept(folder, tested)
    if kept is not None:
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / runs.CHECKPOINT
    model, spec, _ = train(learned, config, seed, tested, checkpoint=checkpoint)
    rows = evaluate.keras_rows(model, spec, config, tested, seed, fold)
    rows = [{**row, "variant": RANDOM_FOLDS} for row in rows]
    saved = _keep(folder, rows, config)
    checkpoint.unlink(missing_ok=True)
    return saved


def publish(
    config: Config, rows: list[dict[str, Any]], seed: int, results: pathlib.Path
) -> str:
    """Save both sides' predictions and a line of the ledger; returns what to print."""
    table = report.figures_table(rows, config.protocol)
    figures = {row["variant"]: row for row in table}
    results.mkdir(parents=True, exist_ok=True)
    ledger.append(
        results / "ledger.csv",
        f"{config.name} {config.digest}",
        config.protocol,
        sorted({int(row["fold"]) for row in rows if row["variant"] == HONEST}),
        [seed],
        figures[HONEST],
        note=f"beside {RANDOM_FOLDS}, to show what a leak is worth",
    )
    with evaluate.evidence(config, rows, table, results):
        pass
    return report.markdown(config.name, table)
