"""Classifier and Stream: the same answers for every split, thread and rate."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ser import bundle
from edge_ser.classifier import Classifier, Prediction, softmax
from edge_ser.errors import AudioError, ConfigError
from edge_ser.interpreter import Interpreter
from tiny_model import TINY_MODEL
from voice import hiss, voice

CLASSIFIER = Classifier.load(TINY_MODEL)
SOUND = np.concatenate([voice(100, 3), hiss(1), voice(320, 3), voice(180, 4)])


def whole(samples: np.ndarray) -> list[Prediction]:
    return CLASSIFIER.stream().push(samples)


@settings(deadline=None)
@given(
    sizes=st.lists(
        st.one_of(st.integers(1, 700), st.integers(1, 160_000)), min_size=1, max_size=10
    )
)
def test_every_split_gives_the_same_bits(sizes):
    stream, got, start = CLASSIFIER.stream(), [], 0
    for size in sizes:
        got += stream.push(SOUND[start : start + size])
        start += size
    assert got == whole(SOUND[:start])
    if start >= 400:
        other = CLASSIFIER.stream()
        other.push(SOUND[:start])
        assert stream.finish() == other.finish()


def test_one_sample_at_a_time():
    stream, got = CLASSIFIER.stream(), []
    for sample in SOUND[:20000]:
        got += stream.push(sample[None])
    assert got == whole(SOUND[:20000])


def test_a_prediction_comes_with_the_sample_that_completes_its_window():
    card = CLASSIFIER.card
    hop = card.hop_frames * card.features.hop_samples
    for count in range(3):
        end = card.features.model_samples + count * hop
        assert len(whole(SOUND[: end - 1])) == count
        assert len(whole(SOUND[:end])) == count + 1


@pytest.mark.parametrize("hop_s", [0.01, 0.1, 0.33, 0.5, 0.64])
def test_another_hop_gives_other_places_and_the_same_answers(hop_s):
    predictions = CLASSIFIER.stream(hop_s).push(SOUND[:48000])
    window_s = CLASSIFIER.card.window_s
    expected = int((3 - CLASSIFIER.card.features.model_samples / 16000) / hop_s + 1e-6)
    assert len(predictions) == expected + 1
    own = {round(each.start_s, 3): each for each in whole(SOUND[:48000])}
    for index, each in enumerate(predictions):
        assert each.start_s == pytest.approx(index * hop_s)
        assert each.duration_s == pytest.approx(window_s)
        same_place = own.get(round(each.start_s, 3))
        assert same_place is None or same_place == each


@pytest.mark.parametrize("hop_s", [0.0, -1, 0.004, 60, float("nan")])
def test_a_hop_beyond_frame_and_window_is_refused(hop_s):
    with pytest.raises(ConfigError, match=r"hop_s is .*valid: 0\.01 to"):
        CLASSIFIER.stream(hop_s)


def test_predictions_name_their_place():
    predictions = whole(SOUND)
    starts = [round(each.start_s, 6) for each in predictions]
    assert starts == [round(0.25 * i, 6) for i in range(len(starts))]
    for each in predictions:
        assert each.label == max(each.probabilities, key=each.probabilities.get)
        assert each.confidence == each.probabilities[each.label]
        assert sum(each.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert each.duration_s == pytest.approx(CLASSIFIER.card.window_s)


@pytest.mark.parametrize(("pitch_hz", "label"), [(100, "low"), (320, "high")])
@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_a_clip(pitch_hz, label, rate_hz):
    sound = np.repeat(voice(pitch_hz, 2), rate_hz // 16000)
    prediction = CLASSIFIER.classify(sound, rate_hz)
    assert prediction.label == label
    assert prediction.start_s == 0
    assert prediction.duration_s == pytest.approx(2, abs=0.001)


def test_a_clip_is_the_mean_over_its_windows():
    stream = CLASSIFIER.stream()
    windows = stream.push(SOUND) + stream.finish()
    mean = np.mean([list(each.probabilities.values()) for each in windows], 0)
    got = list(CLASSIFIER.classify(SOUND, 16000).probabilities.values())
    assert np.allclose(got, mean, atol=1e-6)
    blocks = (SOUND[i : i + 999] for i in range(0, len(SOUND), 999))
    assert list(CLASSIFIER.classify_blocks(blocks).probabilities.values()) == got


@pytest.mark.parametrize("block", [0.5, None, [[0.0], [0.0]], "text"])
def test_a_block_that_is_none(block):
    with pytest.raises(AudioError, match="valid"):
        CLASSIFIER.classify_blocks(iter([SOUND[:999], block]))


def test_blocks_may_be_lists():
    blocks = [SOUND[:999].tolist(), SOUND[999:]]
    assert CLASSIFIER.classify_blocks(iter(blocks)).duration_s == len(SOUND) / 16000


def test_a_short_clip_is_completed_with_silence():
    prediction = CLASSIFIER.classify(SOUND[:800], 16000)
    assert prediction.duration_s == 0.05
    with pytest.raises(AudioError, match="25 ms"):
        CLASSIFIER.classify(SOUND[:399], 16000)
    with pytest.raises(AudioError, match="25 ms"):
        CLASSIFIER.classify(SOUND[:0], 16000)


def test_bad_audio_leaves_the_stream_as_it_was():
    stream = CLASSIFIER.stream()
    got = stream.push(SOUND[:7000])
    for bad in (np.full(100, np.nan), np.zeros((2, 2)), np.zeros(9, np.int64)):
        with pytest.raises(AudioError):
            stream.push(bad)
    assert got + stream.push(SOUND[7000:]) == whole(SOUND)


def test_reset_forgets():
    stream = CLASSIFIER.stream()
    stream.push(SOUND[:12345])
    stream.reset()
    assert stream.push(SOUND) == whole(SOUND)


def test_softmax():
    assert softmax(np.array([0, 0], np.float32)).tolist() == [0.5, 0.5]
    assert softmax(np.array([1e4, -1e4], np.float32)).tolist() == [1, 0]
    assert softmax(np.array([2, 0], np.float32), 2.0)[0] == pytest.approx(0.7310586)


def test_temperature_is_applied():
    card = dataclasses.replace(CLASSIFIER.card, temperature=10.0)
    warm = Classifier(
        bundle.Bundle(card, CLASSIFIER.bundle.model),
        Interpreter(CLASSIFIER.bundle.model),
    )
    window = SOUND[: CLASSIFIER.card.features.model_samples]
    warm_confidence = warm.classify(window, 16000).confidence
    assert warm_confidence < CLASSIFIER.classify(window, 16000).confidence


def test_threads_share_a_classifier():
    """Eight threads with a stream each, one classifier: the answers of one thread."""
    clips = [np.roll(SOUND, 7919 * i) for i in range(8)]
    alone = [whole(clip) for clip in clips]
    wrong = []

    def work(index: int) -> None:
        for _ in range(3):
            stream, got = CLASSIFIER.stream(), []
            for start in range(0, len(SOUND), 4000):
                got += stream.push(clips[index][start : start + 4000])
            if got != alone[index]:
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("scale", [32768.0, 1e19, 1e30, 1e39])
@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_no_label_for_samples_of_another_unit(classifier, scale, rate_hz):
    """Their features would overflow, or be far from all that was trained on."""
    samples = hiss(3).astype(np.float64) / np.abs(hiss(3)).max() * scale
    with pytest.raises(AudioError, match="samples reach"):
        classifier.classify(samples, rate_hz)
    with pytest.raises(AudioError, match="samples reach"):
        classifier.stream().push(samples)


@pytest.mark.parametrize("rate_hz", [None, "16000", 44100.0, 0])
def test_no_label_at_a_rate_that_is_none(classifier, rate_hz):
    with pytest.raises(AudioError, match="sample rate"):
        classifier.classify(hiss(3), rate_hz)


def numbers_kept(stream) -> int:
    """How many numbers other than 0 a stream holds of what it heard."""
    held = [*vars(stream).values(), *vars(stream._features).values()]
    return sum(np.count_nonzero(a) for a in held if isinstance(a, np.ndarray))


def test_nothing_of_the_audio_stays_in_memory_after_a_reset():
    stream = CLASSIFIER.stream()
    assert numbers_kept(stream) == 0
    stream.push(SOUND)
    assert numbers_kept(stream) > 1000
    stream.reset()
    assert numbers_kept(stream) == 0


def test_features_of_ones_own():
    spec = CLASSIFIER.card.features
    frames = np.zeros((spec.frames_per_window, spec.n_static), np.float32)
    same = CLASSIFIER.probabilities(frames)
    assert np.array_equal(CLASSIFIER.probabilities(frames.tolist()), same)
    for bad in (np.nan, np.inf):
        frames[3, 1] = bad
        with pytest.raises(AudioError, match="NaN or infinity"):
            CLASSIFIER.probabilities(frames)
