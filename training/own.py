"""From a folder of one's own recordings to a bundle, in one go."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_ser.classifier import Classifier
from edge_ser.errors import ConfigError
from training import config as configs
from training import evaluate, report, runs, stages
from training.config import Config
from training.corpora import Clip, find_clips
from training.errors import CorpusError
from training.labels import VOCABULARY

CONFIG = pathlib.Path(__file__).parent / "configs" / "standard.toml"
LEAST_CLIPS = 10
"""Of a label; with fewer nothing is learned and nothing measured."""
_HELD_OUT_SHARE = 0.2
SPEAKERS_APART = "speakers-kept-out"
CLIPS_APART = "clips-kept-out"
"""What reports call the split, where all speakers are known and where not."""
UNKNOWN_SPEAKERS = """
************************************************************************
WARNING: the speakers are not known. The clips that measure this model
may be of people it was trained on: the figure below will be too good,
often by tens of points. Sort the recordings into label/speaker/clip, or
give a table with a column speaker, to learn what strangers will get.
************************************************************************"""


def configuration(
    folder: pathlib.Path,
    corpora: Sequence[str],
    label_map: Mapping[str, str],
    *,
    epochs: int | None = None,
    start_from: pathlib.Path | None = None,
    base: pathlib.Path = CONFIG,
) -> tuple[Config, list[Clip]]:
    """A config for recordings, and the clips found.

    Args:
        start_from: a run whose network and features are taken, to go on from it.
        base: the TOML file that says the rest.

    Raises:
        CorpusError: see `find_clips`; one label only, or a label with too few clips; a
            single speaker.
        ConfigError: early stopping, which would choose by the speakers that measure.
    """
    clips = find_clips(folder, corpora, label_map)
    counts = collections.Counter(clip.emotion for clip in clips)
    words = [*VOCABULARY, *dict.fromkeys(label_map.values())]
    labels = tuple(w for w in dict.fromkeys(words) if counts[w])
    if len(labels) < 2:
        raise CorpusError(f"{folder}: all clips are {labels[0]}; valid: two labels")
    few = [f"{word} ({counts[word]})" for word in labels if counts[word] < LEAST_CLIPS]
    if few:
        raise CorpusError(
            f"{folder}: too few clips of {', '.join(few)}; valid: {LEAST_CLIPS} and "
            "more of each label"
        )
    known = {clip.speaker_key for clip in clips if clip.speaker_known}
    all_known = all(clip.speaker_known for clip in clips)
    if len(known) == 1 and all_known:
        raise CorpusError(
            f"{folder}: a single speaker ({known.pop()}): how well strangers are heard "
            "could not be measured; valid: recordings of two people and more"
        )
    config = configs.load(base)
    # Neither noise recordings nor a processor with bfloat16 come with somebody's
    # folder, and no corpus there outweighs another.
    augmentation = dataclasses.replace(config.augmentation, noise_folder="")
    recipe = dataclasses.replace(config.recipe, compute="float32", clips_per_speaker=0)
    if recipe.early_stopping_epochs:
        raise ConfigError(
            f"{base}: early_stopping_epochs is {recipe.early_stopping_epochs}; valid "
            "here: 0. The epoch would be chosen by the speakers that measure the model"
        )
    if start_from is not None:
        started = runs.load(start_from).config
        config = dataclasses.replace(
            config,
            architecture=started.architecture,
            model=started.model,
            features=started.features,
            decision_hop_s=started.decision_hop_s,
        )
        # Little is to be learned anew: a few epochs, at a tenth of the rate.
        recipe = dataclasses.replace(
            recipe, epochs=20, learning_rate=recipe.learning_rate / 10
        )
    if epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs)
    config = dataclasses.replace(
        config,
        name="own",
        protocol=SPEAKERS_APART if all_known else CLIPS_APART,
        corpora=tuple(corpora),
        labels=labels,
        label_map=dict(label_map),
        augmentation=augmentation,
        recipe=dataclasses.replace(recipe, start_from=str(start_from or "")),
    )
    return config, clips


def held_out_speakers(clips: Sequence[Clip], seed: int = 0) -> list[str]:
    """Speakers to measure on: a fifth of the clips or more, by chance, whole speakers.

    Every label must be left on the training side, and half of the clips unless that
    leaves nobody to measure on.

    Raises:
        CorpusError: no choice of speakers leaves every label to train on.
    """
    spoken: dict[str, collections.Counter[str]] = {}
    for clip in clips:
        spoken.setdefault(clip.speaker_key, collections.Counter())[clip.emotion] += 1
    left = labels = collections.Counter(clip.emotion for clip in clips)
    # What counters subtract to nothing is no longer in them.
    able = [who for who in sorted(spoken) if len(labels - spoken[who]) == len(labels)]
    if not able:
        raise CorpusError(
            "each speaker is the only one of some label: none can be kept for "
            "measuring; valid: two speakers for every label"
        )
    chosen = []
    for index in np.random.default_rng(seed).permutation(len(able)):
        fewer = left - spoken[able[index]]
        if len(fewer) == len(labels) and 2 * fewer.total() >= len(clips):
            chosen.append(able[index])
            left = fewer
        if left.total() <= (1 - _HELD_OUT_SHARE) * len(clips):
            break
    return sorted(chosen) or [min(able, key=lambda name: spoken[name].total())]


def make(
    folder: pathlib.Path,
    out: pathlib.Path,
    config: Config,
    *,
    seed: int = 0,
    skip_bad: bool = False,
) -> str:
    """Train, prune, quantize, measure; the bundle is ``out/model.tflite``.

    Returns:
        What to print: the figures by label.
    """
    features = stages.load_features(config, folder, out / "cache", skip_bad=skip_bad)
    held_out = held_out_speakers(features.clips, seed)
    learned, _ = stages.hold_out(features, held_out)
    run = _finished(out / "run", config, seed, learned.clips)
    if run is None:
        run = stages.train_run(
            config,
            features,
            folder,
            out / "run",
            seed=seed,
            fold=None,
            validation_speakers=held_out,
        )
    (bundle,) = stages.convert_run(
        run,
        features,
        folder,
        out / "cache",
        out / "bundles",
        [evaluate.SHIPPED_VARIANT],
    ).values()
    tested = [clip for clip in features.clips if clip.speaker_key in held_out]
    rows = _score(bundle, tested, config, seed)
    report.write_predictions(out / "predictions.csv", rows, config.labels)
    report.write_clips(out, tested)
    (out / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n")
    partial = out / ".model.partial"
    shutil.copyfile(bundle, partial)
    os.replace(partial, out / "model.tflite")
    return _told(out, rows, config, held_out, features.clips)


def _finished(
    folder: pathlib.Path, config: Config, seed: int, learned: Sequence[Clip]
) -> runs.Run | None:
    """The run that a former command finished, if this one asks for the same."""
    if not (folder / "run.json").exists():
        return None
    run = runs.load(folder)
    # With recordings added since, other speakers are kept out.
    asked = (config, seed, {runs.clip_key(clip) for clip in learned})
    return run if (run.config, run.seed, run.clips) == asked else None


def _score(
    bundle: pathlib.Path, tested: Sequence[Clip], config: Config, seed: int
) -> list[dict[str, Any]]:
    answers = evaluate.bundle_answers(Classifier.load(bundle), tested)
    told = {"fold": 0, "seed": seed, "variant": evaluate.SHIPPED_VARIANT}
    labels = config.labels
    return [
        {**evaluate.row(clip, config, list(a.probabilities.values()), labels), **told}
        for clip, a in answers
    ]


def _told(
    out: pathlib.Path,
    rows: list[dict[str, Any]],
    config: Config,
    held_out: Sequence[str],
    clips: Sequence[Clip],
) -> str:
    saved = report.read_predictions(out / "predictions.csv")[1]
    both = report.figures(saved)
    ua, wa = both["UA"], both["WA"]
    who = f"{len(held_out)} speaker(s) kept out of training: {', '.join(held_out)}"
    lines = []
    spread = f"[{100 * ua.low:.1f}, {100 * ua.high:.1f}]"
    if len(held_out) == 1:
        spread = "(of one speaker: what others will get may be far from it)"
    if not all(clip.speaker_known for clip in clips):
        lines.append(UNKNOWN_SPEAKERS)
        who = "clips kept out of training, of speakers that may have trained"
    silent = sorted(set(config.labels) - {row["label"] for row in saved})
    if silent:
        who += f"; {', '.join(silent)} not measured, as they have no clip of it"
    return "\n".join(
        [
            *lines,
            f"Measured on {len(rows)} clips, {who}",
            f"UA {100 * ua.value:.1f} % {spread}, "
            f"WA {100 * wa.value:.1f} %; chance is {100 / len(config.labels):.1f} %",
            "",
            report.confusion_markdown(saved, config.labels),
            "",
            f"{out / 'model.tflite'}: try edge-ser classify --model "
            f"{out / 'model.tflite'} CLIP.wav",
        ]
    )
