"""A baseline under the folds of a protocol, published as a row of the zoo."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import time
from typing import Any

import numpy as np

from edge_ser.features import FeatureSpec
from training import protocol as protocols
from training import zoo_results
from training.baselines import classifiers, functionals
from training.corpora import Clip, find_clips
from training.errors import ProtocolError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline:
    """A classical recogniser: what it hears, and what decides."""

    name: str
    features: str
    """Out of `functionals.FUNCTIONALS`; ``frames`` for sequences of MFCC."""
    classifier: str
    """Out of `classifiers.KINDS`."""
    reductions: tuple[str, ...] = ("none",)
    """Out of `classifiers.REDUCTIONS`; with several the search by speaker chooses."""

    @property
    def digest(self) -> str:
        """A hash of everything in it, for the ledger."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


_VOICE = ("none", "pca", "half")

BASELINES = {
    row.name: row
    for row in (
        Baseline(name="egemaps-svm", features="egemaps", classifier="svm"),
        Baseline(
            name="compare-svm",
            features="compare",
            classifier="svm",
            reductions=("none", "tenth"),
        ),
        Baseline(
            name="voice-svm", features="voice", classifier="svm", reductions=_VOICE
        ),
        Baseline(name="mfcc-hmm", features="frames", classifier="hmm"),
        Baseline(name="egemaps-forest", features="egemaps", classifier="forest"),
        Baseline(name="voice-forest", features="voice", classifier="forest"),
        Baseline(
            name="egemaps-knn",
            features="egemaps",
            classifier="knn",
            reductions=("pca",),
        ),
        Baseline(
            name="voice-knn", features="voice", classifier="knn", reductions=_VOICE
        ),
        Baseline(
            name="egemaps-gmm",
            features="egemaps",
            classifier="gmm",
            reductions=("pca",),
        ),
        Baseline(
            name="voice-gmm", features="voice", classifier="gmm", reductions=_VOICE
        ),
    )
}

_HMM_SPEC = FeatureSpec(n_mfcc=13)


def rows_of(
    kind: str, clips: list[Clip], cache: pathlib.Path
) -> tuple[tuple[Clip, ...], Any]:
    """Clips without duplicates, and a vector or a sequence for each."""
    if kind != "frames":
        vectors = functionals.extract(clips, kind, cache)
        return vectors.clips, vectors.values
    from edge_ser.dsp import deltas
    from training.dataset import coefficients
    from training.extraction import extract

    frames = extract(clips, _HMM_SPEC, cache)
    sequences = []
    for index in range(len(frames.clips)):
        log_mel = frames.clip_frames(index)[::2]  # neighbours say much the same
        static = coefficients(log_mel, _HMM_SPEC)
        both = np.concatenate([static, deltas(static)], 1)
        sequences.append((both - both.mean(0)) / (both.std(0) + 1e-5))
    return frames.clips, sequences


def evaluate(
    baseline: Baseline,
    protocol_name: str,
    data: pathlib.Path,
    cache: pathlib.Path,
    results: pathlib.Path = zoo_results.RESULTS,
) -> pathlib.Path:
    """Fit and score every fold, and publish.

    Args:
        data: folder of the corpora; the tested corpora alone are used.
        cache: keeps the features.

    Raises:
        CorpusError, ProtocolError: the corpus is missing or incomplete, or a leak.
    """
    protocol = protocols.load(protocol_name)
    if len(protocol.corpora) > 1:
        raise ProtocolError(f"{protocol_name}: baselines learn from a single corpus")
    labels = protocol.classes
    found = find_clips(data, protocol.corpora)
    usable = [clip for clip in found if clip.emotion in labels]
    protocol = protocols.load(protocol_name, usable)
    clips, rows = rows_of(baseline.features, usable, cache)
    emotions = np.array([clip.emotion for clip in clips])
    speakers = np.array([clip.speaker_key for clip in clips])
    predictions: list[dict[str, Any]] = []
    chosen = {}
    started = time.process_time()
    for fold in protocol.test_speakers:
        learn = [i for i, c in enumerate(clips) if not protocol.stays_out(c, fold)]
        test = [i for i, c in enumerate(clips) if protocol.is_test(c, fold)]
        protocols.assert_strangers([clips[i] for i in learn], [clips[i] for i in test])
        if set(emotions[learn]) != set(labels):
            raise ProtocolError(f"fold {fold}: a class has no training clip")
        classifier = classifiers.fitted(
            baseline.classifier,
            [rows[i] for i in learn],
            emotions[learn],
            speakers[learn],
            reductions=baseline.reductions,
        )
        chosen[fold] = classifiers.chosen(classifier)
        scored = classifiers.scores(classifier, [rows[i] for i in test])
        classes = list(classifier.classes_)
        for index, scores in zip(test, scored, strict=True):
            clip = clips[index]
            predictions.append(
                {
                    "corpus": clip.corpus,
                    "clip": clip.name,
                    "speaker": clip.speaker,
                    "fold": fold,
                    "seed": 0,
                    "variant": "scikit-learn",
                    "label": clip.emotion,
                    "predicted": classes[int(np.argmax(scores))],
                    **{f"p_{c}": f"{scores[classes.index(c)]:.5f}" for c in labels},
                }
            )
        print(f"{baseline.name} {protocol_name} fold {fold}: done", flush=True)
    row = {
        "name": baseline.name,
        "kind": "baseline",
        "converts": "no: no network",
        "recipe": "grid search by speaker" if any(chosen.values()) else "no search",
        "chosen": chosen,
        "training_cpu_s": round(time.process_time() - started, 1),
    }
    config = {**dataclasses.asdict(baseline), "protocol": protocol_name}
    return zoo_results.publish(
        baseline.name,
        protocol_name,
        config,
        baseline.digest,
        labels,
        predictions,
        row,
        results=results,
    )
