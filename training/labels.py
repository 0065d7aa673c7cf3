"""The one vocabulary that every corpus maps to."""

from __future__ import annotations

VOCABULARY = (
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fear",
    "disgust",
    "surprise",
    "bored",
)
