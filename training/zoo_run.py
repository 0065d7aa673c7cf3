"""Rows of the zoo, one after the other: trials, choice of recipe, folds, evidence.

What is finished is not computed again, so a run that was ended goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import numpy as np

from conversion.errors import ConversionError
from conversion.macs import macs
from conversion.tflite import convert
from edge_ser import bundle
from training import config as configs
from training import evaluate, plots, report, runs, stages, workers, zoo, zoo_results
from training import protocol as protocols
from training.augment import Augmentation
from training.baselines.run import BASELINES
from training.baselines.run import evaluate as evaluate_baseline
from training.config import Config
from training.errors import RunError

CONFIGS = pathlib.Path(__file__).parent / "configs"
PROTOCOLS = ("ravdess", "emodb4")
TRIAL_PROTOCOL = "ravdess"
TRIAL_FOLD = 1
TRIAL_SPEAKERS = ("ravdess/04", "ravdess/09", "ravdess/10", "ravdess/23")
"""Judge the trials; fold 1's test speakers have no part in them either."""
SEED = 0
"""Of trials; folds are trained with this one, or with several."""
MOST_DOUBLINGS = 2
RISE = 0.02
"""A median validation UA that rose by more than this from the third to the last quarter
of a training says that it may be too short."""
NETWORKS = (
    "light-sernet",
    "tim-net",
    "lstm-stacked",
    "cnn1d-lstm",
    "transformer",
    "res-lstm",
    "lstm-attention",
    "cnn1d",
    "cnn2d",
    "bilstm",
    "bigru",
    "lstm3",
    "cnn2d-lstm",
    "spectrogram-transformer",
    "waveform",
)
"""The most telling six first."""
ROWS = (*zoo_results.OWN, *BASELINES, *NETWORKS)
_VARIANTS = ("int8",)
_RECIPES = {"paper": "the paper's recipe", "ours": "our recipe"}
_COST = "cost.json"


def recipes(name: str) -> dict[str, Config]:
    """A network's ``paper`` and ``ours`` configurations, on RAVDESS.

    Ours keeps the paper's network and features and takes augmentation and recipe of
    `small`, which learns from the tested corpus alone as well; that one has no other,
    nor has ``standard-alone``, the network of `standard` by the recipe of `small`.
    Masks last as long there and span the same share of the bands or coefficients; what
    else there is varies log-mel frames, of which MFCC are made afterwards. Of samples
    only tempo (and pitch with it), masks and mixtures are varied.
    """
    small = configs.load(CONFIGS / "small.toml")
    if name == "small":
        return {"ours": small}
    if name == "standard-alone":
        model = configs.load(CONFIGS / "standard.toml").model
        return {"ours": dataclasses.replace(small, name=name, model=model)}
    paper = configs.load(CONFIGS / "zoo" / f"{name}.toml")
    masks = small.augmentation
    frames = masks.time_mask_frames * _hop_s(small) / _hop_s(paper)
    share = masks.frequency_mask_bands / small.features.n_features
    augmentation = dataclasses.replace(
        masks,
        time_mask_frames=round(frames),
        frequency_mask_bands=round(share * paper.features.n_features),
    )
    if zoo.takes_samples(paper.architecture):
        augmentation = Augmentation(
            time_warp=augmentation.time_warp,
            time_masks=augmentation.time_masks,
            time_mask_frames=augmentation.time_mask_frames,
            mixup=augmentation.mixup,
        )
    ours = dataclasses.replace(
        paper,
        name=f"{name}-ours",
        augmentation=augmentation,
        recipe=small.recipe,
    )
    return {"paper": paper, "ours": ours}


def _hop_s(config: Config) -> float:
    return config.features.hop_samples / config.features.sample_rate_hz


def for_protocol(config: Config, name: str) -> Config:
    """The same training for another protocol: its corpus, and its classes."""
    if name == config.protocol:
        return config
    protocol = protocols.load(name)
    return dataclasses.replace(
        config,
        name=f"{config.name}-{protocols.in_a_name(name)}",
        protocol=name,
        labels=protocol.classes,
        corpora=protocol.corpora,
    )


def as_many_steps(config: Config, clips: int, of_trial: int) -> Config:
    """With more epochs, if there are fewer clips than the trial chose the epochs for.

    Else there would be fewer steps, and the training would be too short.
    """
    return _with_epochs(config, config.recipe.epochs * max(1, round(of_trial / clips)))


def still_rising(validation_ua: Sequence[float]) -> bool:
    """Whether a validation curve says that training may end too early, see `RISE`.

    >>> still_rising([0.2, 0.3, 0.4, 0.5, 0.5, 0.6, 0.7, 0.8])
    True
    >>> still_rising([0.2, 0.4, 0.5, 0.6, 0.61, 0.6, 0.62, 0.6])
    False

    One epoch that went wrong, as happens at a high learning rate, does not count:

    >>> still_rising([0.2, 0.3, 0.4, 0.5, 0.2, 0.6, 0.6, 0.61, 0.6, 0.6, 0.61, 0.6])
    False
    """
    quarter = max(1, len(validation_ua) // 4)
    last = validation_ua[-quarter:]
    before = validation_ua[-2 * quarter : -quarter]
    return not before or float(np.median(last) - np.median(before)) > RISE


def long_enough(curves: Sequence[Sequence[float]]) -> int | None:
    """Which of several trainings was long enough; None if none was, as far as is known.

    Args:
        curves: validation UA by look; each training is twice as long as the one before.

    The last, if its curve no longer rises; the one before, if twice as long did not end
    higher, whatever the curve of the shorter one said.

    >>> rises = [0.2, 0.3, 0.4, 0.5]
    >>> long_enough([rises]), long_enough([rises, [0.2, 0.4, 0.45, 0.5]])
    (None, 0)
    """
    if len(curves) > 1 and curves[-1][-1] <= curves[-2][-1]:
        return len(curves) - 2
    return None if still_rising(curves[-1]) else len(curves) - 1


def describe(config: Config) -> dict[str, Any]:
    """Parameters, MACs, size and whether it converts, of the untrained network."""
    spec = config.features
    shape = (spec.frames_per_window, spec.n_features)
    model = zoo.build(config.architecture, *shape, len(config.labels), config.model)
    learned = [int(np.prod(weight.shape)) for weight in model.trainable_weights]
    random = np.random.default_rng(SEED)
    windows = random.normal(size=(16, *shape)).astype(np.float32)
    told: dict[str, Any] = {"parameters": sum(learned), "converts": "full int8"}
    try:
        flatbuffer = convert(model, windows)
        told["int8_bytes"] = len(flatbuffer)
        told["edge_tpu"] = zoo_results.on_edge_tpu(flatbuffer)
        if zoo.takes_samples(config.architecture):
            told["converts"] = "full int8, but no bundle: the device computes features"
    except ConversionError as error:
        told["converts"] = f"no: {error}"
        flatbuffer = convert(model, None)
    told["macs"] = macs(flatbuffer)
    return told


def check(names: Sequence[str]) -> None:
    """Refuse names that are not among `ROWS`.

    Raises:
        RunError: names the first.
    """
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise RunError(f"the zoo has no row {unknown[0]!r}; valid: {', '.join(ROWS)}")


def run(
    names: Sequence[str],
    data: pathlib.Path,
    out: pathlib.Path,
    *,
    protocol_names: Sequence[str] = PROTOCOLS,
    seeds: Sequence[int] = (SEED,),
    jobs: int = 1,
    results: pathlib.Path = zoo_results.RESULTS,
    scale_epochs: float = 1.0,
) -> None:
    """Make rows in the given order; rows that are published already are left alone.

    Args:
        names: out of `ROWS`.
        out: run folders and caches; not for publication.
        seeds: of the folds' trainings; a row that lacks some gets them beside those
            that it has.
        jobs: trials, then folds, trained at the same time, one thread each.
        scale_epochs: below 1 for a try of the machinery.

    Raises:
        RunError: an unknown row, a seed given twice, a protocol of folds that are not
            speakers alone, a damaged row, or a try that would be published as evidence.
    """
    check(names)
    if len(set(seeds)) != len(seeds):
        raise RunError(f"a seed is given twice: {' '.join(map(str, seeds))}")
    if not 0 < scale_epochs <= 1:
        raise RunError(f"--scale-epochs is {scale_epochs}; valid: above 0, at most 1")
    if scale_epochs != 1 and results == zoo_results.RESULTS:
        raise RunError("--scale-epochs is for a try: give it other --results")
    apart = [name for name in protocol_names if protocols.needs_clips(name)]
    if apart:
        raise RunError(
            f"no row of the zoo is scored by {apart[0]}: whole corpora or "
            f"texts apart; valid: {', '.join(PROTOCOLS)}"
        )
    for name in names:
        for protocol_name in protocol_names:
            folder = results / f"{name}-{protocol_name}"
            wanted = set() if name in BASELINES else set(seeds)  # those draw no lots
            is_made = (folder / "row.json").exists()
            if is_made and wanted <= set(zoo_results.read(folder)[0]["seeds"]):
                print(f"{name} {protocol_name}: published already", flush=True)
            elif name in BASELINES:
                evaluate_baseline(
                    BASELINES[name], protocol_name, data, out / "cache", results
                )
            else:
                _network(
                    name, protocol_name, data, out, seeds, jobs, results, scale_epochs
                )


def _network(
    name: str,
    protocol_name: str,
    data: pathlib.Path,
    out: pathlib.Path,
    seeds: Sequence[int],
    jobs: int,
    results: pathlib.Path,
    scale_epochs: float,
) -> None:
    runs_folder = out / name / protocol_name
    published = results / f"{name}-{protocol_name}"
    # What is wrong with the protocol or the corpus shows before hours of trials.
    asked = for_protocol(recipes(name)["ours"], protocol_name)
    clips = stages.usable_clips(asked, data)
    protocol = protocols.load(protocol_name, clips)
    rows: list[dict[str, Any]] = []
    before = published_row(name, protocol_name, results)
    if before is not None:
        row, config = before
        rows += report.read_predictions(published / "predictions.csv")[1]
    else:
        row = {"name": name, "kind": "network"}
        row |= _kept(runs_folder / "network.json", lambda: describe(asked))
        kind, config = choice(name, data, out, jobs, results, scale_epochs)
        of_trial = len(stages.usable_clips(config, data))
        config = for_protocol(config, protocol_name)
        config = as_many_steps(config, len(clips), of_trial)
        row |= {"recipe": kind, "epochs": config.recipe.epochs}
    stages.load_features(config, data, out / "cache")  # once, before the processes
    variants = _VARIANTS if row["converts"] == "full int8" else ()
    scored = row.get("seeds", [])
    further = [seed for seed in seeds if seed not in scored]
    tasks = [(seed, fold) for seed in further for fold in protocol.test_speakers]
    with workers.pool(jobs) as pool:
        pending = [
            pool.submit(
                _fold, config, data, out / "cache", runs_folder, *task, variants
            )
            for task in tasks
        ]
        for done in workers.completed(pending):
            seed, fold = done.result()
            print(f"{name} {protocol_name} seed {seed} fold {fold}: done", flush=True)
    folders = [evaluate.fold_folder(runs_folder, *task) for task in tasks]
    for of_fold in folders:
        rows += report.read_predictions(of_fold / "predictions.csv")[1]
    each_s = mean_cost_s(folders)
    if each_s is not None:
        row["training_cpu_s"] = round(each_s * len(protocol.test_speakers), 1)
    if variants:
        file = folders[0] / "bundles" / "int8.tflite"
        row["int8_bytes"] = len(bundle.read(file).model)
    zoo_results.publish(
        name,
        protocol_name,
        config.to_dict(),
        config.digest,
        config.labels,
        rows,
        row,
        seeds=sorted([*scored, *further]),
        results=results,
    )


def published_row(
    name: str, protocol_name: str, results: pathlib.Path
) -> tuple[dict[str, Any], Config] | None:
    """A published row and its configuration; None if there is none.

    Raises:
        RunError: it is damaged, or was trained otherwise than the row would be now.
    """
    folder = results / f"{name}-{protocol_name}"
    if not (folder / "row.json").exists():
        return None
    row, values = zoo_results.read(folder)
    return row, _of_today(name, protocol_name, row, values, folder)


def _of_today(
    name: str,
    protocol_name: str,
    told: dict[str, Any],
    values: dict[str, Any],
    folder: pathlib.Path,
) -> Config:
    """The configuration of evidence, if it is what it would be now."""
    config = configs.parse(values)
    now = for_protocol(recipes(name)[told["recipe"]], protocol_name)
    if config != _with_epochs(now, told["epochs"]):
        raise RunError(
            f"{folder}: trained with another configuration than today's; remove it "
            "to make it anew"
        )
    return config


def choice(
    name: str,
    data: pathlib.Path,
    out: pathlib.Path,
    jobs: int,
    results: pathlib.Path,
    scale_epochs: float,
) -> tuple[str, Config]:
    """Which recipe the network takes, and its config on RAVDESS, after its trials.

    The trials are published as soon as they are made, and not made again.
    """
    published = zoo_results.trial_folder(name, results)
    if not published.exists():
        folder = out / name / "trials"
        pending = {}
        with futures.ThreadPoolExecutor(jobs) as pool:  # each waits for a process
            for kind, config in recipes(name).items():
                stages.load_features(config, data, out / "cache")
                config = _with_epochs(
                    config, max(2, round(config.recipe.epochs * scale_epochs))
                )
                pending[kind] = pool.submit(trial, config, data, out, folder)
        trials = {kind: done.result() for kind, done in pending.items()}
        kind = max(trials, key=lambda kind: trials[kind]["validation_ua"])
        chosen = trials[kind]["config"]
        for reached in trials.values():
            del reached["config"]
        told = {
            "recipe": kind,
            "epochs": trials[kind]["epochs"],
            "still_rising": trials[kind]["still_rising"],
            "trials": trials,
        }
        curve = _picture(folder, trials, folder / zoo_results.CURVE)
        zoo_results.publish_trial(name, chosen, told, curve, results)
    told, values = zoo_results.read(published, "trial")
    config = _of_today(name, TRIAL_PROTOCOL, told, values, published)
    return told["recipe"], config


def trial(
    config: Config, data: pathlib.Path, out: pathlib.Path, folder: pathlib.Path
) -> dict[str, Any]:
    """What a recipe reaches on validation speakers, with as many epochs as it needs.

    Epochs are doubled, at most `MOST_DOUBLINGS` times, until they are `long_enough`.
    """
    tried: list[dict[str, Any]] = []
    curves: list[list[float]] = []
    for doubling in range(MOST_DOUBLINGS + 1):
        longer = _with_epochs(config, config.recipe.epochs * 2**doubling)
        run_folder = folder / f"{config.name}-{longer.recipe.epochs}"
        if not (run_folder / "run.json").exists():
            with workers.pool(1) as pool:
                task = pool.submit(_trial, longer, data, out / "cache", run_folder)
                list(workers.completed([task]))
        runs.load_of(run_folder, longer)
        rows = runs.read_history(run_folder / "history.csv")
        looks = [row["validation_ua"] for row in rows if "validation_ua" in row]
        curves.append(looks)
        tried.append(
            {
                "validation_ua": round(looks[-1], 4),
                "epochs": longer.recipe.epochs,
                "run": run_folder.name,
                "config": longer.to_dict(),
            }
        )
        chosen = long_enough(curves)
        rising = " and still rises" if still_rising(looks) else ""
        print(
            f"{config.name}: validation UA {looks[-1]:.3f} after "
            f"{longer.recipe.epochs} epochs{rising}",
            flush=True,
        )
        if chosen is not None:
            break
    counts = tried[-1 if chosen is None else chosen]
    counts["still_rising"] = chosen is None
    if tried[-1] is not counts:
        told = ("validation_ua", "epochs", "run")
        counts["in_vain"] = {key: tried[-1][key] for key in told}
    return counts


def mean_cost_s(folders: Sequence[pathlib.Path]) -> float | None:
    """Processor time of a fold's training: the mean over those never interrupted."""
    files = [folder / _COST for folder in folders if (folder / _COST).exists()]
    costs = [float(json.loads(file.read_text())["cpu_s"]) for file in files]
    return float(np.mean(costs)) if costs else None


def _picture(
    folder: pathlib.Path, trials: dict[str, dict[str, Any]], path: pathlib.Path
) -> pathlib.Path:
    """Validation UA and training loss by epoch, of the trials that count."""
    names = {}
    for kind, told in trials.items():
        names[_RECIPES[kind]] = told["run"]
        if "in_vain" in told:
            names[f"{_RECIPES[kind]}, twice as long"] = told["in_vain"]["run"]
    curves = {
        label: runs.read_history(folder / run / "history.csv")
        for label, run in names.items()
    }
    plots.trial_curves(curves, path)
    return path


def _with_epochs(config: Config, epochs: int) -> Config:
    recipe = dataclasses.replace(config.recipe, epochs=epochs)
    return dataclasses.replace(config, recipe=recipe)


def _kept(file: pathlib.Path, make: Any) -> dict[str, Any]:
    """What a JSON file holds; made and written if it is missing."""
    if not file.exists():
        runs.write(file, json.dumps(make(), indent=1) + "\n")
    values: dict[str, Any] = json.loads(file.read_text())
    return values


def _trial(
    config: Config, data: pathlib.Path, cache: pathlib.Path, folder: pathlib.Path
) -> None:
    stages.train_run(
        config,
        stages.load_features(config, data, cache),
        data,
        folder,
        seed=SEED,
        fold=TRIAL_FOLD,
        validation_speakers=TRIAL_SPEAKERS,
    )


def _fold(
    config: Config,
    data: pathlib.Path,
    cache: pathlib.Path,
    out: pathlib.Path,
    seed: int,
    fold: int,
    variants: Sequence[str],
) -> tuple[int, int]:
    features = stages.load_features(config, data, cache)
    folder = evaluate.fold_folder(out, seed, fold)
    started = time.process_time()
    if not (folder / "run.json").exists():
        whole = not (folder / runs.CHECKPOINT).exists()
        stages.train_run(config, features, data, folder, seed=seed, fold=fold)
        if whole:
            cost = {"cpu_s": round(time.process_time() - started, 1)}
            runs.write(folder / _COST, json.dumps(cost) + "\n")
    else:
        runs.load_of(folder, config)
    evaluate.convert_and_score(
        config, features, data, out, seed=seed, fold=fold, variants=variants
    )
    return seed, fold
