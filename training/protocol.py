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


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A corpus's folds: the test speakers of each; all other speakers train."""

    name: str
    corpus: str
    classes: tuple[str, ...]
    test_speakers: dict[int, tuple[str, ...]]

    def is_test(self, clip: Clip, fold: int) -> bool:
        """Whether the fold tests on this clip."""
        return (
            clip.corpus == self.corpus
            and clip.speaker in self.test_speakers[fold]
            and clip.emotion in self.classes
        )

    def is_test_speaker(self, clip: Clip, fold: int) -> bool:
        """Whether the clip's speaker is tested in the fold, whatever the emotion."""
        return clip.corpus == self.corpus and clip.speaker in self.test_speakers[fold]


def load(name: str, clips: Iterable[Clip] | None = None) -> Protocol:
    """Read the folds of a protocol.

    Args:
        name: a key of ``training/folds.json``.
        clips: if given, every speaker that the folds name must be among them.

    Raises:
        ProtocolError: an unknown protocol, a speaker in two folds, or one unknown to
            the clips.
    """
    table = json.loads(_FOLDS_FILE.read_text())
    if name not in table:
        raise ProtocolError(f"unknown protocol {name!r}; valid: {', '.join(table)}")
    entry = table[name]
    protocol = Protocol(
        name=name,
        corpus=_CORPUS_OF.get(name, name),
        classes=tuple(entry["classes"]),
        test_speakers={
            int(fold): tuple(speakers)
            for fold, speakers in entry["test_speakers"].items()
        },
    )
    named = [s for speakers in protocol.test_speakers.values() for s in speakers]
    if len(named) != len(set(named)):
        raise ProtocolError(f"{name}: a speaker is tested in two folds")
    if clips is not None:
        present = {clip.speaker for clip in clips if clip.corpus == protocol.corpus}
        missing = sorted(set(named) - present)
        if missing:
            raise ProtocolError(
                f"{name}: the folds name speakers that the data lacks: "
                f"{', '.join(missing)}"
            )
    return protocol


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
