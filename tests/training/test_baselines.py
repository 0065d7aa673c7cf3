"""The classical baselines: what they hear, and that they learn from strangers alone."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("opensmile", reason="needs the extra train, so Python 3.11 or 3.12")
pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from training import report
from training.baselines import classifiers, functionals
from training.baselines.run import BASELINES, evaluate

RATE_HZ = functionals.SAMPLE_RATE_HZ


def sung(f0_hz: float, seconds: float = 1.0) -> np.ndarray:
    """Harmonics that fall by 12 dB an octave, with a little noise."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    harmonics = [np.sin(2 * np.pi * n * f0_hz * time_s) / n**2 for n in range(1, 20)]
    noise = np.random.default_rng(0).normal(size=len(time_s)) * 1e-3
    return (0.2 * np.sum(harmonics, 0) + noise).astype(np.float32)


@pytest.mark.parametrize("f0_hz", [120.0, 240.0])
def test_both_pitch_trackers_hear_the_note(f0_hz):
    by_praat = functionals.voice(sung(f0_hz))
    semitones = by_praat[3]  # mean, deviation, percentiles 5, 50, 95, range
    assert semitones == pytest.approx(12 * np.log2(f0_hz / 100), abs=0.2)
    by_opensmile = functionals.opensmile_set("eGeMAPSv02")(sung(f0_hz))
    assert by_opensmile.shape == (88,)
    # F0semitoneFrom27.5Hz_sma3nz_amean
    assert by_opensmile[0] == pytest.approx(12 * np.log2(f0_hz / 27.5), abs=0.5)


def test_a_leap_of_pitch_over_a_gap_is_no_slope():
    gap = np.zeros(RATE_HZ // 4, np.float32)
    clip = np.concatenate([sung(120.0), gap, sung(240.0), gap, sung(120.0)])
    slopes = functionals.voice(clip)[6:12]  # semitones from frame to frame
    assert np.abs(slopes).max() < 0.5  # the leaps are 12


def test_a_voice_without_pitch_gives_finite_numbers():
    whisper = np.random.default_rng(0).normal(size=RATE_HZ).astype(np.float32) * 0.05
    vectors = [functionals.voice(clip) for clip in (whisper, 0 * whisper, sung(200))]
    assert len({len(vector) for vector in vectors}) == 1
    assert np.isfinite(vectors).all()


def groups(kind: str) -> tuple[list, np.ndarray, np.ndarray]:
    """Three classes, by ten speakers who each shift everything a little."""
    random = np.random.default_rng(1)
    rows, labels, speakers = [], [], []
    for number in range(120):
        label, speaker = number % 3, number % 10
        centre = 3.0 * np.eye(6)[label] + 0.1 * speaker
        shape = (25, 6) if kind == "hmm" else (6,)
        rows.append(random.normal(size=shape) + centre)
        labels.append("abc"[label])
        speakers.append(f"s{speaker}")
    return rows, np.array(labels), np.array(speakers)


@pytest.mark.parametrize("kind", [k for k in classifiers.KINDS if k != "forest"])
def test_each_classifier_finds_what_can_be_found(kind):
    rows, labels, speakers = groups(kind)
    strange = speakers == "s9"
    learn, test = np.flatnonzero(~strange), np.flatnonzero(strange)
    options = {} if kind == "hmm" else {"reductions": tuple(classifiers.REDUCTIONS)}
    fitted = classifiers.fitted(
        kind, [rows[i] for i in learn], labels[learn], speakers[learn], **options
    )
    asked = [rows[i] for i in test]
    scores = classifiers.scores(fitted, asked)
    assert scores.shape == (len(test), 3)
    np.testing.assert_allclose(scores.sum(1), 1)
    predicted = np.array(list(fitted.classes_))[scores.argmax(1)]
    np.testing.assert_array_equal(predicted, fitted.predict(asked))
    assert (predicted == labels[test]).mean() > 0.8


def test_functionals_are_kept_by_content(corpora_folder, tmp_path, monkeypatch):
    from training.corpora import find_clips

    clips = find_clips(corpora_folder / "emodb", ["emodb"])[:3]
    made = functionals.extract(clips, "egemaps", tmp_path)
    monkeypatch.setitem(functionals.FUNCTIONALS, "egemaps", lambda: None)
    again = functionals.extract(clips, "egemaps", tmp_path)
    np.testing.assert_array_equal(made.values, again.values)
    assert made.clips == again.clips == tuple(clips)
    longer = dataclasses.replace(clips[0], path=clips[1].path)
    with pytest.raises(TypeError):  # other files: computed anew, by what is None now
        functionals.extract([longer], "egemaps", tmp_path)


@pytest.mark.long
def test_a_baseline_is_published_with_its_evidence(corpora_folder, tmp_path):
    row = BASELINES["egemaps-knn"]
    folder = evaluate(row, "emodb4", corpora_folder, tmp_path / "cache", tmp_path)
    labels, predictions = report.read_predictions(folder / "predictions.csv")
    assert set(labels) == {"angry", "happy", "neutral", "sad"}
    assert {p["variant"] for p in predictions} == {"scikit-learn"}
    figures = json.loads((folder / "figures.json").read_text())
    assert figures == report.rounded(report.figures_table(predictions, "emodb4"))
    assert figures[0]["ua"] > 0.6  # chance is 0.25
    ledger = (tmp_path / "ledger.csv").read_text().splitlines()
    assert len(ledger) == 2
    assert f"egemaps-knn {row.digest},emodb4" in ledger[1]
