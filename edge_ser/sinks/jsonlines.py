"""Events as JSON, one object a line."""

from __future__ import annotations

from typing import TextIO

from edge_ser.errors import SinkError
from edge_ser.event import Event


class JsonLinesSink:
    """JSON lines on an open text stream, each flushed at once.

    Args:
        stream: it stays open when the sink is closed.
    """

    def __init__(self, stream: TextIO, *, name: str = "standard output") -> None:
        self.name = name
        self._stream = stream

    def send(self, event: Event) -> None:
        """See `Sink.send`."""
        try:
            self._stream.write(event.to_json() + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:
            raise SinkError(f"{self.name}: {error}") from error

    def close(self) -> None:
        """See `Sink.close`."""
