"""Events as lines for a person to read, coloured on a terminal."""

from __future__ import annotations

import datetime
import os
from typing import TextIO

from edge_ser.decision import IDLE, UNCERTAIN
from edge_ser.event import Event
from edge_ser.sinks.jsonlines import write_line

_BOLD, _DIM, _RESET = "\033[1m", "\033[2m", "\033[0m"
_COLOURS = {
    "angry": "\033[31m",
    "disgust": "\033[33m",
    "fear": "\033[35m",
    "happy": "\033[32m",
    "sad": "\033[34m",
    "surprise": "\033[36m",
}


class TextSink:
    """One aligned line an event, with the local time.

    Args:
        stream: it stays open when the sink is closed.
        width: of the longest label.
    """

    undelivered = 0

    def __init__(self, stream: TextIO, *, width: int = len(UNCERTAIN)) -> None:
        self.name = "standard output"
        self._stream = stream
        self._width = max(width, len(UNCERTAIN))
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ

    def line(self, event: Event) -> str:
        """What stands for an event."""
        moment = datetime.datetime.fromtimestamp(event.time_s).strftime("%H:%M:%S")
        label = event.label.ljust(self._width)
        if event.label == IDLE:
            text = f"after {event.duration_s:.1f} s of speech"
        else:
            runners = sorted(event.probabilities.items(), key=lambda pair: -pair[1])
            others = ", ".join(
                f"{name} {value:.0%}" for name, value in runners[:3] if value >= 0.1
            )
            text = f"{event.confidence:4.0%}  {event.duration_s:5.1f} s  {others}"
        if not self._coloured:
            return f"{moment}  {label}  {text}"
        quiet = event.label in (IDLE, UNCERTAIN)
        style = _DIM if quiet else _BOLD + _COLOURS.get(event.label, "")
        return f"{_DIM}{moment}{_RESET}  {style}{label}{_RESET}  {text}"

    def send(self, event: Event) -> None:
        """See `Sink.send`."""
        write_line(self._stream, self.line(event), self.name)

    def close(self) -> None:
        """See `Sink.close`."""
