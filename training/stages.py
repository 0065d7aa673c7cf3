"""What the commands join: data, training, pruning, bundles."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import edge_ser
from conversion.bundles import Job, Outcome, convert
from conversion.calibrate import spread
from conversion.errors import ConversionError
from conversion.variants import SHIPPED, chosen
from conversion.verify import all_problems
from edge_ser import bundle
from edge_ser.adaptation import spectral_shape
from edge_ser.bundle import Card
from training import protocol as protocols
from training import runs, zoo
from training.config import Config, parse
from training.corpora import Clip, corpus_name, find_clips, terms
from training.dataset import FeatureSet
from training.errors import CorpusError, ProtocolError, RunError
from training.extraction import extract
from training.predict import clip_windows
from training.recordings import told_on_the_card, training_recordings
from training.report import RESULTS
from training.teaching import assert_has_not_heard, find_teachers, teach
from training.train import find_start, fit, train

Float32 = npt.NDArray[np.float32]

INTENDED_USE = (
    "Coarse vocal emotion of one adult speaker near a microphone, for hobby, research "
    "and assistive devices that their users control. Acted speech taught it: its "
    "answers are guesses about how a voice sounds, not about what a person feels. Not "
    "for decisions about people. Emotion recognition at work and in schools is banned "
    "in the EU (AI Act, article 5) and regulated elsewhere."
)
CALIBRATION_CLIPS = 256
PROOF_WINDOWS = 200


def usable_clips(config: Config, data: pathlib.Path) -> list[Clip]:
    """The corpora's clips whose emotion is one of the config's labels.

    Raises:
        CorpusError: see `find_clips`; or a label without a single clip.
    """
    clips = find_clips(data, config.corpora, config.label_map)
    usable = [clip for clip in clips if clip.emotion in config.labels]
    missing = set(config.labels) - {clip.emotion for clip in usable}
    if missing:
        raise CorpusError(f"no clip of {', '.join(sorted(missing))} in {data}")
    return usable


def load_features(
    config: Config,
    data: pathlib.Path,
    cache: pathlib.Path,
    *,
    skip_bad: bool = False,
) -> FeatureSet:
    """Frames of every usable clip, free of duplicates, and what varies them.

    Args:
        skip_bad: leave unreadable clips out, instead of refusing all.

    Raises:
        CorpusError: see `usable_clips`, `extract` and `training_recordings`.
    """
    rooms, noise = config.copies.rooms, config.augmentation.noise_folder
    return extract(
        usable_clips(config, data),
        config.features,
        cache,
        copies=config.copies,
        rooms=training_recordings(rooms, data) if rooms else (),
        noises=training_recordings(noise, data) if noise else (),
        skip_bad=skip_bad,
        samples=zoo.takes_samples(config.architecture),
    )


def run_features(
    run: runs.Run,
    data: pathlib.Path | None = None,
    cache: pathlib.Path | None = None,
) -> FeatureSet:
    """The features of a run's data, which may have moved."""
    return load_features(
        run.config,
        data or run.data,
        cache or run.folder.parent / "cache",
        skip_bad=run.skip_bad,
    )


def split(
    features: FeatureSet, config: Config, fold: int | None
) -> tuple[FeatureSet, FeatureSet]:
    """Training and test clips of a fold; None trains on all and tests on none.

    Raises:
        ProtocolError: an unknown fold or speaker, or a leak.
    """
    clips = features.clips
    if fold is None:
        return features, features.subset([])
    protocol = protocols.load(config.protocol, clips)
    if fold not in protocol.test_speakers:
        raise ProtocolError(
            f"{protocol.name} has no fold {fold}; valid: "
            f"{', '.join(map(str, protocol.test_speakers))}"
        )
    learn = [i for i, c in enumerate(clips) if not protocol.stays_out(c, fold)]
    test = [i for i, c in enumerate(clips) if protocol.is_test(c, fold)]
    learned, tested = features.subset(learn), features.subset(test)
    protocols.assert_strangers(learned.clips, tested.clips)
    return learned, tested


def hold_out(
    features: FeatureSet, speakers: Sequence[str]
) -> tuple[FeatureSet, FeatureSet | None]:
    """Take validation speakers (``corpus/speaker``) out of the training clips.

    Raises:
        ProtocolError: no clip of a speaker.
    """
    if not speakers:
        return features, None
    present = {clip.speaker_key for clip in features.clips}
    missing = sorted(set(speakers) - present)
    if missing:
        raise ProtocolError(
            f"no training clip of validation speaker {', '.join(missing)}; valid: "
            f"{', '.join(sorted(present))}"
        )
    chosen = [clip.speaker_key in speakers for clip in features.clips]
    keep = [i for i, out in enumerate(chosen) if not out]
    held = [i for i, out in enumerate(chosen) if out]
    return features.subset(keep), features.subset(held)


def train_run(
    config: Config,
    features: FeatureSet,
    data: pathlib.Path,
    folder: pathlib.Path,
    *,
    seed: int,
    fold: int | None,
    validation_speakers: Sequence[str] = (),
) -> runs.Run:
    """Train one model and write its run folder."""
    learned, tested = split(features, config, fold)
    learned, validation = hold_out(learned, validation_speakers)
    if not learned.clips:
        raise ProtocolError("no clip is left to train on")
    lost = set(config.labels) - {clip.emotion for clip in learned.clips}
    if lost:
        raise ProtocolError(
            f"no training clip of {', '.join(sorted(lost))} is left: only test or "
            "validation speakers have it"
        )
    watched = validation.clips if validation else ()
    protocols.assert_strangers([*learned.clips, *watched], tested.clips)
    strangers = [*watched, *tested.clips]
    teachers = find_teachers(config, seed, fold, features.clips, strangers)
    started = find_start(config)
    for run in started:
        assert_has_not_heard(run, features.clips, strangers)
    folder.mkdir(parents=True, exist_ok=True)
    model, spec, history = train(
        learned,
        config,
        seed,
        validation,
        teachers=teachers,
        checkpoint=folder / runs.CHECKPOINT,
    )
    return runs.save(
        folder,
        model=model,
        config=config,
        seed=seed,
        fold=fold,
        spec=spec,
        data=data,
        clips=learned.clips,
        history=history,
        forebears=[*teachers, *started],
        skip_bad=features.skip_bad,
    )


def training_features(run: runs.Run, features: FeatureSet) -> FeatureSet:
    """The run's own training clips, under its fitted spec."""
    kept = [i for i, clip in enumerate(features.clips) if run.trained_on(clip)]
    return features.subset(kept).with_spec(run.spec)


@dataclasses.dataclass(frozen=True)
class FineTuner:
    """Fits a model on a run's own training clips, as its recipe has it for pruning.

    Can be pickled: conversion calls it in a process of its own.
    """

    run: pathlib.Path
    data: pathlib.Path
    cache: pathlib.Path

    def __call__(self, model: Any, callbacks: tuple[Any, ...]) -> None:
        """Fit in place."""
        run = runs.load(self.run)
        features = run_features(run, self.data, self.cache)
        learned = training_features(run, features)
        teachers = find_teachers(run.config, run.seed, run.fold, (), ())
        recipe = run.config.recipe
        fit(
            model,
            learned,
            run.config,
            run.seed + 1000,
            epochs=recipe.prune_epochs,
            learning_rate=recipe.prune_learning_rate,
            callbacks=callbacks,
            teaching=teach(run.config, teachers, learned),
        )


def calibration_windows(
    learned: FeatureSet, hop_frames: int, seed: int
) -> tuple[Float32, list[str]]:
    """Windows that show the quantizer what to expect, and the clips they are from.

    Training clips only, spread evenly over corpora and labels; one window each.
    """
    kinds = [(clip.corpus, clip.emotion) for clip in learned.clips]
    chosen = spread(kinds, CALIBRATION_CLIPS, seed)
    random = np.random.default_rng(seed)
    windows = []
    for index in chosen:
        of_clip = clip_windows(learned, index, hop_frames)
        windows.append(of_clip[random.integers(len(of_clip))])
    names = [runs.clip_key(learned.clips[index]) for index in chosen]
    return np.stack(windows), names


def card_of(run: runs.Run, learned: FeatureSet, recordings: pathlib.Path) -> Card:
    """The card of the run's bundles, with the figures of its configuration if any.

    Args:
        recordings: the folder of the corpora, with noise and rooms if they were used.
    """
    data: list[dict[str, Any]] = []
    for corpus in run.config.corpora:
        name = corpus_name(corpus)
        clips = [clip for clip in learned.clips if clip.corpus == name]
        data.append(
            {
                "corpus": name,
                "clips": len(clips),
                "speakers": len({clip.speaker for clip in clips}),
                "licence": terms(corpus)[0],
            }
        )
    licences = sorted({entry["licence"] for entry in data})
    rooms, noise = run.config.copies.rooms, run.config.augmentation.noise_folder
    for use, folder in (("rooms", rooms), ("noise", noise)):
        if folder:
            data.append(told_on_the_card(use, folder, recordings))
    restricted = [c for c in run.config.corpora if not terms(c)[1]]
    return Card(
        name=f"edge-ser-{run.config.name}",
        version=edge_ser.__version__,
        labels=run.config.labels,
        features=run.spec,
        hop_frames=run.config.hop_frames,
        quantization="",
        temperature=run.temperature
        if run.fold is not None
        else measured_temperature(run.config),
        training_data=tuple(data),
        speakers=speaker_statistics(learned, run.config.hop_frames),
        measured=measured_figures(run.config) if run.fold is None else (),
        intended_use=INTENDED_USE,
        licence=("non-commercial: " if restricted else "")
        + f"as its training data: {'; '.join(licences)}",
    )


LEAST_SPEAKERS = 5
"""Of two, statistics made the studio worse; from five on they did not."""


def speaker_statistics(learned: FeatureSet, hop_frames: int) -> dict[str, Any]:
    """Mean and spread of `spectral_shape` over training speakers, for the card.

    Each speaker counts once: the mean over the windows of the clips. Nothing of few
    speakers, whose spread is not that of people, and where the window's own mean is
    taken off already.

    Args:
        learned: with the model's own FeatureSpec.
    """
    if learned.spec.normalisation in ("window", "window_mean"):
        return {}
    by_speaker: dict[str, list[Float32]] = {}
    for index, clip in enumerate(learned.clips):
        windows = clip_windows(learned, index, hop_frames)
        shapes = [spectral_shape(window, learned.spec) for window in windows]
        by_speaker.setdefault(clip.speaker_key, []).append(np.mean(shapes, 0))
    if len(by_speaker) < LEAST_SPEAKERS:
        return {}
    means = np.array([np.mean(of_one, 0) for of_one in by_speaker.values()])
    statistics = {"mean": means.mean(0), "spread": means.std(0)}
    # Four digits: a hundredth of what speakers differ by.
    return {
        name: [round(float(value), 4) for value in values]
        for name, values in statistics.items()
    }


def published_config(name: str, results: pathlib.Path = RESULTS) -> Config | None:
    """The configuration whose evidence is published under a name, if any."""
    file = results / name / "config.json"
    return parse(json.loads(file.read_text())) if file.exists() else None


def measured_figures(config: Config) -> tuple[dict[str, Any], ...]:
    """What ``evaluate`` found for exactly this configuration, for the card."""
    if published_config(config.name) != config:
        return ()
    file = RESULTS / config.name / "figures.json"
    return tuple(json.loads(file.read_text()))


def measured_temperature(config: Config) -> float:
    """The median temperature of the published fold models of this configuration."""
    if published_config(config.name) != config:
        return 1.0
    files = (RESULTS / config.name).glob("fold-*.tflite")
    found = [bundle.read(file).card.temperature for file in files]
    return round(float(np.median(found)), 2) if found else 1.0


def renew_card(file: pathlib.Path) -> Card:
    """Put the published figures into the card of a bundle of all speakers.

    For more seeds: figures and temperature change, the network does not.

    Raises:
        BundleError: the file is no bundle, or cannot be written.
        RunError: it is signed; it has no figures, as a fold's model has none; nothing
            is published under its name, or of other labels, features or hop.
    """
    found = bundle.read(file)
    card = found.card
    config = published_config(card.name.removeprefix("edge-ser-"))
    if found.signature:
        raise RunError(f"{file} is signed: renew the card first, then sign it")
    if not card.measured:
        raise RunError(
            f"{file}: has no figures to renew: a fold's model, or unpublished"
        )
    features = dataclasses.replace(card.features, mean=None, std=None)  # of each run
    of_card = (card.labels, features, card.hop_frames)
    if config is None or of_card != (config.labels, config.features, config.hop_frames):
        raise RunError(f"{file}: nothing is published of {card.name} as it is")
    renewed = dataclasses.replace(
        card,
        measured=measured_figures(config),
        temperature=measured_temperature(config),
    )
    bundle.write(file, renewed, found.model)
    return renewed


def conversion_job(
    run: runs.Run, features: FeatureSet, data: pathlib.Path, cache: pathlib.Path
) -> Job:
    """What conversion needs to know of a run.

    Raises:
        ConversionError: its network takes samples.
    """
    if zoo.takes_samples(run.config.architecture):
        raise ConversionError(
            f"{run.config.architecture} takes samples; valid: an architecture that "
            "takes the features which the device computes, log-mel or MFCC"
        )
    learned = training_features(run, features)
    windows, names = calibration_windows(learned, run.config.hop_frames, run.seed)
    labelled = sorted((runs.clip_key(clip), clip.emotion) for clip in learned.clips)
    return Job(
        model=run.folder / "model.keras",
        card=card_of(run, learned, data),
        calibration=windows,
        calibration_clips=tuple(names),
        fine_tune=FineTuner(run.folder, data, cache),
        recipe=repr((run.config.digest, run.seed, labelled)),
        sparsity=run.config.recipe.prune_sparsity,
    )


def proof_windows(run: runs.Run, features: FeatureSet) -> tuple[Float32, str]:
    """Windows that the run did not learn from, if there are any, and what they are."""
    strange = [i for i, clip in enumerate(features.clips) if not run.trained_on(clip)]
    told = "unseen clips" if strange else "training clips (the run left nobody out)"
    clips = features.subset(strange) if strange else features
    clips = clips.with_spec(run.spec)
    step = max(1, len(clips.clips) // PROOF_WINDOWS)
    first = [
        clip_windows(clips, index, run.config.hop_frames)[:1]
        for index in range(0, len(clips.clips), step)
    ]
    return np.concatenate(first), told


def convert_run(
    run: runs.Run,
    features: FeatureSet,
    data: pathlib.Path,
    cache: pathlib.Path,
    out: pathlib.Path,
    names: Sequence[str] = SHIPPED,
) -> dict[str, pathlib.Path]:
    """Bundles of a run, by variant.

    Raises:
        ConversionError: one of them cannot be made.
    """
    outcomes = convert_variants(run, features, data, cache, out, names)
    failed = [f"{o.variant}: {o.error}" for o in outcomes if o.error]
    if failed:
        raise ConversionError("; ".join(failed))
    return {o.variant: o.path for o in outcomes if o.path}


def convert_variants(
    run: runs.Run,
    features: FeatureSet,
    data: pathlib.Path,
    cache: pathlib.Path,
    out: pathlib.Path,
    names: Sequence[str],
    tell: Callable[[str], None] = print,
) -> list[Outcome]:
    """What became of each variant of a run; one that fails stops no other."""
    job = conversion_job(run, features, data, cache)
    windows, _ = proof_windows(run, features)
    # A broken promise is told here, and stops `python -m conversion` alone: a fold is
    # scored as it is, and its figure shows what that costs.
    outcomes = convert(job, chosen(list(names)), out, windows, tell, keep_broken=True)
    for problem in all_problems([o.proof for o in outcomes if o.proof]):
        print(f"warning: {problem}", file=sys.stderr, flush=True)
    return outcomes
