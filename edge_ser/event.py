"""What the listener announces."""

from __future__ import annotations

import dataclasses
import datetime
import json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """A change of state, with what a program or a person needs to act on it.

    Holds nothing from which speech could be reconstructed.

    >>> event = Event(time_s=0.5, label="happy", confidence=0.8125,
    ...               probabilities={"happy": 0.8125, "sad": 0.1875},
    ...               duration_s=2.5, device="kitchen", model="demo 1")
    >>> print(event.to_json()[:60])
    {"time": "1970-01-01T00:00:00.500Z", "label": "happy", "conf
    """

    time_s: float
    """When, in seconds since 1970 (UTC)."""
    label: str
    """A label of the model, ``uncertain`` (speech, no clear winner) or ``idle``."""
    confidence: float
    """Probability of the label, of the leader if uncertain, 0 if idle."""
    probabilities: dict[str, float]
    """By label; empty if idle."""
    duration_s: float
    """Speech that it rests on; if idle, how long the utterance was."""
    device: str
    """Which listener."""
    model: str
    """Name and version of the bundle."""

    @property
    def time(self) -> str:
        """ISO 8601 in UTC with milliseconds."""
        moment = datetime.datetime.fromtimestamp(self.time_s, datetime.UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def to_dict(self) -> dict[str, object]:
        """As the plain values of its JSON object, rounded to four digits."""
        return {
            "time": self.time,
            "label": self.label,
            "confidence": round(self.confidence, 4),
            "probabilities": {
                label: round(value, 4) for label, value in self.probabilities.items()
            },
            "duration_s": round(self.duration_s, 2),
            "device": self.device,
            "model": self.model,
        }

    def to_json(self) -> str:
        """One line, without the line break."""
        return json.dumps(self.to_dict(), ensure_ascii=False)
