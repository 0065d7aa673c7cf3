import dataclasses
import pathlib

import pytest

from training import protocol
from training.corpora import Clip
from training.errors import ProtocolError


def clip(speaker: str, emotion: str = "happy", corpus: str = "ravdess") -> Clip:
    return Clip(
        path=pathlib.Path(f"{speaker}.wav"),
        corpus=corpus,
        speaker=speaker,
        gender="male",
        emotion=emotion,
        sentence="01",
        language="en",
    )


ACTORS = [clip(f"{number:02d}") for number in range(1, 25)]


def test_ravdess_has_six_folds_of_four_strangers():
    ravdess = protocol.load("ravdess", ACTORS)
    folds = ravdess.test_speakers
    assert [len(speakers) for speakers in folds.values()] == [4] * 6
    assert len({s for speakers in folds.values() for s in speakers}) == 24
    assert ravdess.is_test(clip("01"), 1)
    assert not ravdess.is_test(clip("01"), 2)
    assert not ravdess.is_test(clip("01", corpus="emovo"), 1)


def test_folds_go_two_by_two():
    folds = protocol.load("ravdess", ACTORS)
    assert folds.pairs() == ((1, 2), (3, 4), (5, 6))
    two = dataclasses.replace(
        folds, test_speakers={1: ("ravdess/01",), 2: ("ravdess/02",)}
    )
    assert two.pairs() == ()  # nobody would be left to learn from


def test_a_class_outside_of_the_protocol_is_kept_from_both_sides():
    emodb = protocol.load("emodb4")
    bored = clip("03", "bored", "emodb")
    assert not emodb.is_test(bored, 1)
    assert emodb.stays_out(bored, 1)


def test_a_leak_is_refused_by_name():
    learned = [clip("01"), clip("02"), clip("03", corpus="emodb")]
    protocol.assert_strangers(learned, [clip("03")])
    with pytest.raises(ProtocolError, match="ravdess/02"):
        protocol.assert_strangers(learned, [clip("02", "sad")])


def test_folds_that_name_unknown_speakers_are_refused():
    with pytest.raises(ProtocolError, match="the data lacks: ravdess/24"):
        protocol.load("ravdess", ACTORS[:-1])


def test_unknown_protocol():
    with pytest.raises(ProtocolError, match="unknown protocol 'random'"):
        protocol.load("random")


def test_protocol_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        protocol.load("ravdess").name = "other"


def spoken(speaker: str, sentence: str, corpus: str = "ravdess") -> Clip:
    return dataclasses.replace(clip(speaker, corpus=corpus), sentence=sentence)


def test_sentences_and_speakers_are_kept_apart():
    clips = [spoken(c.speaker, text) for c in ACTORS for text in ("01", "02")]
    apart = protocol.load("ravdess-sentences", clips)
    assert list(apart.test_speakers) == list(range(1, 13))
    tested = [(c, f) for f in apart.test_speakers for c in clips if apart.is_test(c, f)]
    assert len(tested) == len(clips)  # each clip once
    for fold in apart.test_speakers:
        test = [c for c in clips if apart.is_test(c, fold)]
        learn = [c for c in clips if not apart.stays_out(c, fold)]
        assert not {c.speaker for c in test} & {c.speaker for c in learn}
        assert not {c.sentence for c in test} & {c.sentence for c in learn}
    assert apart.pairs()[:3] == ((1, 2), (3, 4), (5, 6))  # of the same text
    for pair in apart.pairs():
        learn = [c for c in clips if not any(apart.stays_out(c, f) for f in pair)]
        test = [c for c in clips if any(apart.is_test(c, f) for f in pair)]
        assert not {c.speaker for c in test} & {c.speaker for c in learn}
        assert not {c.sentence for c in test} & {c.sentence for c in learn}
        assert learn
    assert not apart.stays_out(spoken("01", "01", "emovo"), 1)
    with pytest.raises(ProtocolError, match="has 1 sentences"):
        protocol.load("ravdess-sentences", ACTORS)


def test_one_corpus_is_left_out_at_a_time():
    clips = [spoken("01", "a", corpus) for corpus in ("nemo", "emodb", "ravdess")]
    apart = protocol.load("leave-one-corpus-out", clips)
    assert list(apart.test_speakers.values()) == [
        ("emodb/01",),
        ("nemo/01",),
        ("ravdess/01",),
    ]
    assert [apart.is_test(c, 2) for c in clips] == [True, False, False]
    assert [apart.stays_out(c, 2) for c in clips] == [True, False, False]
    assert not apart.is_test(dataclasses.replace(clips[0], emotion="calm"), 2)
    assert apart.pairs() == ((1, 2), (3, 1))
    with pytest.raises(ProtocolError, match="two corpora"):
        protocol.load("leave-one-corpus-out", clips[:1])


def test_one_corpus_teaches_at_a_time():
    clips = [spoken("01", "a", corpus) for corpus in ("nemo", "emodb", "ravdess")]
    apart = protocol.load("one-corpus", clips)
    assert apart.test_speakers[2] == ("emodb/01", "ravdess/01")
    assert [apart.is_test(c, 2) for c in clips] == [False, True, True]
    assert [apart.stays_out(c, 2) for c in clips] == [False, True, True]
    assert apart.pairs() == ()  # all test what another does
    with pytest.raises(ProtocolError, match="two corpora"):
        protocol.load("one-corpus", clips[:1])


def test_folds_of_several_corpora_leave_out_a_speaker_of_each():
    joined = protocol.load("emodb4+emovo+nemo")
    assert list(joined.test_speakers) == list(range(1, 11))
    assert joined.test_speakers[1] == ("emodb/03", "emovo/f1", "nemo/EB0")
    assert joined.test_speakers[7] == ("emodb/13", "nemo/SM0")  # EMOVO has six
    assert joined.test_speakers[10] == ("emodb/16",)
    assert joined.stays_out(clip("f1", "happy", "emovo"), 1)
    assert not joined.is_test(clip("03", "fear", "emodb"), 1)
    assert joined.is_test(clip("EB0", "fear", "nemo"), 1)
    assert not joined.is_test(clip("EB0", "disgust", "nemo"), 1)
    assert not joined.stays_out(clip("03"), 1)  # of RAVDESS
    assert len(joined.pairs()) == 5
    with pytest.raises(ProtocolError, match="one corpus twice"):
        protocol.load("emodb4+emodb4")
    with pytest.raises(ProtocolError, match="unknown protocol 'emodb'"):
        protocol.load("emodb4+emodb")
