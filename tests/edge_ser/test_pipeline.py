import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ser import bundle
from edge_ser.classifier import Classifier
from edge_ser.errors import AudioError
from edge_ser.pipeline import Pipeline
from edge_ser.vad import GateSettings
from voice import hiss

ANY_SOUND = GateSettings(speech=0)


def labels_at(pipeline, blocks):
    decided = [each for block in blocks for each in pipeline.push(block)]
    decided += pipeline.end()
    return [(each.position_s, each.decision.label) for each in decided]


def test_a_conversation(classifier, conversation):
    pipeline = Pipeline(classifier, gate=ANY_SOUND)
    decided = labels_at(pipeline, [conversation])
    assert [label for _, label in decided] == ["low", "idle", "high", "idle"]
    (low, _), (idle, _), (high, _), _ = decided
    assert 2 < low < 4
    assert 5 < idle < 9
    assert 9 < high < 11


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 40000), min_size=1, max_size=8))
def test_block_sizes_do_not_matter(classifier, conversation, sizes):
    blocks, start = [], 0
    while start < len(conversation):
        size = sizes[len(blocks) % len(sizes)]
        if size < 500:
            size += 500
        blocks.append(conversation[start : start + size])
        start += size
    whole = labels_at(Pipeline(classifier, gate=ANY_SOUND), [conversation])
    assert labels_at(Pipeline(classifier, gate=ANY_SOUND), blocks) == whole


def test_whole_numbers_are_heard_alike_and_bad_blocks_change_nothing(
    classifier, conversation
):
    whole = (conversation * 32767).astype(np.int16)
    expected = labels_at(Pipeline(classifier, gate=ANY_SOUND), [whole / 32768])
    pipeline = Pipeline(classifier, gate=ANY_SOUND)
    decided = pipeline.push(whole[:50_001])
    for bad in (np.array([0, np.nan]), np.zeros((9, 2)), np.zeros(9, np.int32)):
        with pytest.raises(AudioError):
            pipeline.push(bad)
    decided += pipeline.push(whole[50_001:]) + pipeline.end()
    found = [(each.position_s, each.decision.label) for each in decided]
    assert found == expected != []


def test_no_inference_in_silence(classifier):
    pipeline = Pipeline(classifier)
    assert labels_at(pipeline, [hiss(60, 3e-4)]) == []
    assert pipeline.windows == 0


@pytest.mark.parametrize("kind", ["white", "tone", "clicks"])
def test_the_speech_model_refuses_noise(classifier, kind):
    count = 20 * 16000
    if kind == "white":
        sound = hiss(20, 0.05)
    elif kind == "tone":
        sound = 0.1 * np.sin(np.arange(count) * 2 * np.pi * 440 / 16000)
    else:
        sound = hiss(20, 1e-3)
        sound[:: 16000 // 3] = 0.9
    pipeline = Pipeline(classifier)
    assert labels_at(pipeline, [np.asarray(sound, np.float32)]) == []
    assert pipeline.windows == 0


def test_the_speech_model_hears_a_synthetic_voice(classifier, repository):
    from edge_ser.audio.file import read_blocks

    blocks = list(read_blocks(repository / "examples/audio/kitchen.wav", 16000))
    pipeline = Pipeline(classifier)
    assert labels_at(pipeline, blocks)[-1][1] == "idle"
    assert pipeline.windows > 0


def test_real_speech_of_unseen_corpora_is_heard(classifier, corpora_folder):
    """The speech model was trained on EMO-DB alone."""
    from edge_ser.audio.file import read_blocks

    clips = sorted((corpora_folder / "emovo").glob("*.flac"))[::40]
    heard = 0
    for clip in clips:
        pipeline = Pipeline(classifier)
        list(map(pipeline.push, read_blocks(clip, 16000)))
        pipeline.push(hiss(2))
        heard += pipeline.windows > 0
    assert heard >= 0.9 * len(clips)


def test_nothing_is_kept_over_a_gap(classifier, conversation):
    pipeline = Pipeline(classifier, gate=ANY_SOUND)
    speech = conversation[: 4 * 16000 + 500]
    assert [each.decision.label for each in pipeline.push(speech)] == ["low"]
    assert pipeline._pre_roll(len(speech)).any()
    assert [each.decision.label for each in pipeline.end()] == ["idle"]
    assert not pipeline._pre_roll(len(speech)).any()
    assert not len(pipeline._rest)
    assert pipeline.push(hiss(3, 3e-4)) == []  # not even for the time of the hold


@pytest.mark.parametrize("rate_hz", [11_025, 22_050, 44_100])
def test_rates_of_a_model_that_hold_no_whole_frames(classifier, rate_hz):
    features = dataclasses.replace(
        classifier.card.features, sample_rate_hz=rate_hz, f_max_hz=5000.0, n_fft=2048
    )
    card = dataclasses.replace(classifier.card, features=features)
    packed = bundle.unpack(bundle.pack(card, classifier.bundle.model))
    unusual = Classifier(packed, classifier.interpreter)
    pipeline = Pipeline(unusual, gate=GateSettings(speech=0))
    pipeline.push(hiss(3)[: 3 * rate_hz])
    assert 0 < pipeline.position_s <= 3
