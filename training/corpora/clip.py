"""One labelled recording, as a corpus adapter reads it from its file name."""

from __future__ import annotations

import dataclasses
import pathlib

UNKNOWN = "unknown:"
"""Begins the code of a speaker whom the corpus does not tell."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A recording with what its corpus says of it."""

    path: pathlib.Path
    corpus: str
    speaker: str
    """The corpus's own code of the speaker; see `speaker_key`."""
    gender: str
    """``female``, ``male``, or empty if not known."""
    emotion: str
    """A word of `training.labels.VOCABULARY`, or of a config's ``label_map``."""
    sentence: str
    """A code of the spoken text, unique within the corpus."""
    language: str
    intensity: str = ""
    known_as: str = ""
    """The clip's name, if the file's stem is not unique within the corpus."""

    @property
    def name(self) -> str:
        """The clip's name in prediction files: mostly the file's stem."""
        return self.known_as or self.path.stem

    @property
    def speaker_known(self) -> bool:
        """Whether the corpus says who speaks; else each clip stands for itself."""
        return not self.speaker.startswith(UNKNOWN)

    @property
    def speaker_key(self) -> str:
        """The speaker, unique over all corpora."""
        return f"{self.corpus}/{self.speaker}"
