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
_MOST_SENTENCES = 4


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What each fold tests, and what stays out of its training.

    Mostly the test speakers of one corpus; all other speakers train. With
    `test_sentences` a fold tests one sentence of its speakers, and nobody's clips of
    that sentence train. With `test_corpora` a fold tests whole corpora.
    """

    name: str
    corpus: str
    """Empty where folds are whole corpora."""
    classes: tuple[str, ...]
    test_speakers: dict[int, tuple[str, ...]]
    test_sentences: dict[int, str] = dataclasses.field(default_factory=dict)
    test_corpora: dict[int, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def is_test(self, clip: Clip, fold: int) -> bool:
        """Whether the fold tests on this clip."""
        if not self._is_test_speaker(clip, fold) or clip.emotion not in self.classes:
            return False
        return clip.sentence == self.test_sentences.get(fold, clip.sentence)

    def stays_out(self, clip: Clip, fold: int) -> bool:
        """Whether the clip may not take part in the fold's training."""
        if self._is_test_speaker(clip, fold):
            return True
        same_text = clip.sentence == self.test_sentences.get(fold)
        return clip.corpus == self.corpus and same_text

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
        if self.test_corpora:
            tested = {*self.test_corpora[fold]} & {*self.test_corpora[other]}
            return not tested and len(self.test_corpora) > 2
        same_text = self.test_sentences.get(fold) == self.test_sentences.get(other)
        return same_text and len(set(self.test_speakers.values())) > 2

    def _is_test_speaker(self, clip: Clip, fold: int) -> bool:
        if self.test_corpora:
            return clip.corpus in self.test_corpora[fold]
        return clip.corpus == self.corpus and clip.speaker in self.test_speakers[fold]


def needs_clips(name: str) -> bool:
    """Whether the folds follow from the clips, see `load`."""
    return name in ACROSS_CORPORA or name.endswith(SENTENCES)


def load(name: str, clips: Iterable[Clip] | None = None) -> Protocol:
    """The folds of a protocol.

    Args:
        name: a key of ``training/folds.json``; such a key with ``-sentences``, which
            keeps speakers and sentences apart; or one of `ACROSS_CORPORA`.
        clips: if given, every speaker that the folds name must be among them. The last
            two kinds need them.

    Raises:
        ProtocolError: an unknown protocol, a speaker in two folds, or one unknown to
            the clips; clips of one corpus or of too many sentences.
    """
    known = None if clips is None else list(clips)
    if name in ACROSS_CORPORA:
        return _corpora_apart(name, known or [])
    base = name.removesuffix(SENTENCES)
    table = json.loads(_FOLDS_FILE.read_text())
    if base not in table:
        raise ProtocolError(
            f"unknown protocol {name!r}; valid: {', '.join(table)}, one of these with "
            f"{SENTENCES}, {', '.join(ACROSS_CORPORA)}"
        )
    entry = table[base]
    protocol = Protocol(
        name=name,
        corpus=_CORPUS_OF.get(base, base),
        classes=tuple(entry["classes"]),
        test_speakers={
            int(fold): tuple(speakers)
            for fold, speakers in entry["test_speakers"].items()
        },
    )
    named = [s for speakers in protocol.test_speakers.values() for s in speakers]
    if len(named) != len(set(named)):
        raise ProtocolError(f"{name}: a speaker is tested in two folds")
    if known is not None:
        present = {clip.speaker for clip in known if clip.corpus == protocol.corpus}
        missing = sorted(set(named) - present)
        if missing:
            raise ProtocolError(
                f"{name}: the folds name speakers that the data lacks: "
                f"{', '.join(missing)}"
            )
    return _sentences_apart(protocol, known or []) if base != name else protocol


def _sentences_apart(protocol: Protocol, clips: Sequence[Clip]) -> Protocol:
    """Each fold once for every sentence."""
    texts = sorted({c.sentence for c in clips if c.corpus == protocol.corpus})
    if not 2 <= len(texts) <= _MOST_SENTENCES:
        raise ProtocolError(
            f"{protocol.name}: {protocol.corpus} has {len(texts)} sentences; valid: a "
            f"corpus of 2 to {_MOST_SENTENCES}"
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
    tested = {
        number: tuple(n for n in names if (n == own) != (name == ONE_CORPUS))
        for number, own in enumerate(names, 1)
    }
    return Protocol(
        name=name,
        corpus="",
        classes=COMMON_CLASSES,
        test_speakers={
            number: tuple(sorted({c.speaker for c in clips if c.corpus in corpora}))
            for number, corpora in tested.items()
        },
        test_corpora=tested,
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
