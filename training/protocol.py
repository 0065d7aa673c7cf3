"""Folds, and the rule that test speakers are strangers to everything that learns."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence

from training.corpora import Clip
from training.errors import ProtocolError

_FOLDS_FILE = pathlib.Path(__file__).parent / "folds.json"
# Protocols whose name is not that of their corpus.
_CORPUS_OF = {"emodb4": "emodb"}

LEAVE_ONE_CORPUS_OUT = "leave-one-corpus-out"
ONE_CORPUS = "one-corpus"
"""What the former is compared with: a fold learns from one corpus, tests all others."""
ACROSS_CORPORA = (LEAVE_ONE_CORPUS_OUT, ONE_CORPUS)
COMMON_CLASSES = ("angry", "happy", "neutral", "sad")
"""Of all corpora."""
SENTENCES = "-sentences"
"""Ends the name of folds that keep sentences apart, too."""
TOGETHER = "+"
"""Joins protocols of several corpora, see `load`."""
_MOST_SENTENCES = 4


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What each fold tests, and what stays out of its training.

    A fold tests some speakers; all others train. With `test_sentences` it tests one
    sentence of its speakers, and nobody's clips of that sentence train.
    """

    name: str
    classes_of: dict[str, tuple[str, ...]]
    """Of each tested corpus; its clips are asked about these alone."""
    test_speakers: dict[int, tuple[str, ...]]
    """By fold, as ``corpus/speaker``."""
    test_sentences: dict[int, str] = dataclasses.field(default_factory=dict)

    @property
    def corpora(self) -> tuple[str, ...]:
        """The tested ones."""
        return tuple(self.classes_of)

    @property
    def classes(self) -> tuple[str, ...]:
        """Of all tested corpora together."""
        every = (each for classes in self.classes_of.values() for each in classes)
        return tuple(dict.fromkeys(every))

    def is_test(self, clip: Clip, fold: int) -> bool:
        """Whether the fold tests on this clip."""
        if clip.speaker_key not in self.test_speakers[fold]:
            return False
        if clip.emotion not in self.classes_of[clip.corpus]:
            return False
        return clip.sentence == self.test_sentences.get(fold, clip.sentence)

    def stays_out(self, clip: Clip, fold: int) -> bool:
        """Whether the clip may not take part in the fold's training."""
        if clip.speaker_key in self.test_speakers[fold]:
            return True
        same_text = clip.sentence == self.test_sentences.get(fold)
        return clip.corpus in self.corpora and same_text

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Folds two by two, so that one training can leave out what both test.

        No pair shares test speakers, or lacks other speakers and texts to learn from.
        The last of an odd number goes with one that has a partner; a fold that fits no
        other is in no pair.
        """
        pairs: list[tuple[int, int]] = []
        alone = list(self.test_speakers)
        while alone:
            fold = alone.pop(0)
            others = [*alone, *(each for pair in pairs for each in pair)]
            partner = next((o for o in others if self._go_together(fold, o)), None)
            if partner is None:
                continue
            pairs.append((fold, partner))
            if partner in alone:
                alone.remove(partner)
        return tuple(pairs)

    def _go_together(self, fold: int, other: int) -> bool:
        if {*self.test_speakers[fold]} & {*self.test_speakers[other]}:
            return False
        same_text = self.test_sentences.get(fold) == self.test_sentences.get(other)
        return same_text and len(set(self.test_speakers.values())) > 2


def needs_clips(name: str) -> bool:
    """Whether the folds follow from the clips, see `load`."""
    return name in ACROSS_CORPORA or name.endswith(SENTENCES)


def in_a_name(name: str) -> str:
    """A protocol as part of a configuration's name.

    >>> in_a_name("emodb4+emovo+nemo")
    'emodb4-emovo-nemo'
    """
    return name.replace(TOGETHER, "-")


def load(name: str, clips: Iterable[Clip] | None = None) -> Protocol:
    """The folds of a protocol.

    Args:
        name: a key of ``training/folds.json``; such a key with ``-sentences``, which
            keeps speakers and sentences apart; several keys joined by ``+``, of which
            each fold leaves out what all of them test in the fold of its number; or
            one of `ACROSS_CORPORA`.
        clips: if given, every speaker that the folds name must be among them. Sentences
            and `ACROSS_CORPORA` need them.

    Raises:
        ProtocolError: an unknown protocol, two of one corpus, a speaker in two folds,
            or one unknown to the clips; clips of one corpus or of too many sentences.
    """
    known = None if clips is None else list(clips)
    if name in ACROSS_CORPORA:
        return _corpora_apart(name, known or [])
    base = name.removesuffix(SENTENCES)
    protocol = _together(name, [_of_speakers(part) for part in base.split(TOGETHER)])
    if known is not None:
        named = {key for keys in protocol.test_speakers.values() for key in keys}
        missing = sorted(named - {clip.speaker_key for clip in known})
        if missing:
            raise ProtocolError(
                f"{name}: the folds name speakers that the data lacks: "
                f"{', '.join(missing)}"
            )
    return _sentences_apart(protocol, known or []) if base != name else protocol


def _of_speakers(name: str) -> Protocol:
    """The folds of one corpus."""
    table = json.loads(_FOLDS_FILE.read_text())
    if name not in table:
        raise ProtocolError(
            f"unknown protocol {name!r}; valid: {', '.join(table)}, one of these with "
            f"{SENTENCES}, several joined by {TOGETHER}, {', '.join(ACROSS_CORPORA)}"
        )
    entry = table[name]
    corpus = _CORPUS_OF.get(name, name)
    tested = {
        int(fold): tuple(f"{corpus}/{speaker}" for speaker in speakers)
        for fold, speakers in entry["test_speakers"].items()
    }
    named = [key for keys in tested.values() for key in keys]
    if len(named) != len(set(named)):
        raise ProtocolError(f"{name}: a speaker is tested in two folds")
    return Protocol(name, {corpus: tuple(entry["classes"])}, tested)


def _together(name: str, parts: Sequence[Protocol]) -> Protocol:
    """Fold by fold, what all parts test; one with fewer folds tests none in the last.

    Raises:
        ProtocolError: two parts of one corpus.
    """
    corpora = [corpus for part in parts for corpus in part.corpora]
    if len(corpora) != len(set(corpora)):
        raise ProtocolError(f"{name}: one corpus twice")
    folds = sorted({fold for part in parts for fold in part.test_speakers})
    return Protocol(
        name,
        {corpus: c for part in parts for corpus, c in part.classes_of.items()},
        {
            fold: tuple(
                key for part in parts for key in part.test_speakers.get(fold, ())
            )
            for fold in folds
        },
    )


def _sentences_apart(protocol: Protocol, clips: Sequence[Clip]) -> Protocol:
    """Each fold once for every sentence."""
    texts = sorted({c.sentence for c in clips if c.corpus in protocol.corpora})
    if not 2 <= len(texts) <= _MOST_SENTENCES:
        raise ProtocolError(
            f"{protocol.name}: {', '.join(protocol.corpora)} has {len(texts)} "
            f"sentences; valid: a corpus of 2 to {_MOST_SENTENCES}"
        )
    pairs = [
        (speakers, text)
        for text in texts
        for _, speakers in sorted(protocol.test_speakers.items())
    ]
    return dataclasses.replace(
        protocol,
        test_speakers={number: pair[0] for number, pair in enumerate(pairs, 1)},
        test_sentences={number: pair[1] for number, pair in enumerate(pairs, 1)},
    )


def _corpora_apart(name: str, clips: Sequence[Clip]) -> Protocol:
    """A fold for every corpus, in the order of their names."""
    names = sorted({clip.corpus for clip in clips})
    if len(names) < 2:
        raise ProtocolError(f"{name} needs clips of two corpora; there are {names}")
    return Protocol(
        name,
        dict.fromkeys(names, COMMON_CLASSES),
        {
            number: tuple(
                sorted(
                    {
                        clip.speaker_key
                        for clip in clips
                        if (clip.corpus == own) != (name == ONE_CORPUS)
                    }
                )
            )
            for number, own in enumerate(names, 1)
        },
    )


def assert_strangers(learned: Sequence[Clip], tested: Sequence[Clip]) -> None:
    """Refuse to go on if a test speaker or test clip took part in learning.

    Args:
        learned: clips of training, validation, statistics, calibration or tuning.

    Raises:
        ProtocolError: names the speakers.
    """
    shared = {c.speaker_key for c in learned} & {c.speaker_key for c in tested}
    if shared:
        raise ProtocolError(
            f"test speakers took part in learning: {', '.join(sorted(shared))}"
        )
