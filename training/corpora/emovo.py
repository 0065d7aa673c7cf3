"""EMOVO, Italian, acted.

Costantini et al. 2014, "EMOVO Corpus: an Italian Emotional Speech Database", LREC.
File names: emotion (three letters), speaker (f1-f3, m1-m3), sentence, as in dis-f1-b1.
"""

from __future__ import annotations

import pathlib
import re

from training.corpora.clip import Clip

NAME = "emovo"
LICENCE = "research use (no standard licence)"
COMMERCIAL_USE = False
PATTERN = re.compile(r"([a-z]{3})-([fm]\d)-([a-z]\d)")
EMOTIONS = {
    "dis": "disgust",  # disgusto
    "gio": "happy",  # gioia
    "neu": "neutral",
    "pau": "fear",  # paura
    "rab": "angry",  # rabbia
    "sor": "surprise",  # sorpresa
    "tri": "sad",  # tristezza
}


def clip(path: pathlib.Path, match: re.Match[str]) -> Clip:
    """The clip that a matching file name describes."""
    emotion, speaker, sentence = match.groups()
    return Clip(
        path=path,
        corpus=NAME,
        speaker=speaker,
        gender="female" if speaker[0] == "f" else "male",
        emotion=EMOTIONS[emotion],
        sentence=sentence,
        language="it",
    )
