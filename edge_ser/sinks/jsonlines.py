"""Events as JSON, one object a line: to a stream, or to a file that rotates."""

from __future__ import annotations

import json
import os
import pathlib
from typing import TextIO

from edge_ser.errors import SinkError
from edge_ser.event import Event


class JsonLinesSink:
    """JSON lines on an open text stream, each flushed at once.

    Args:
        stream: it stays open when the sink is closed.
    """

    undelivered = 0

    def __init__(self, stream: TextIO, *, name: str = "standard output") -> None:
        self.name = name
        self._stream = stream

    def send(self, event: Event) -> None:
        """See `Sink.send`."""
        # Escapes, since the stream's encoding is that of the user's locale.
        write_line(self._stream, json.dumps(event.to_dict()), self.name)

    def close(self) -> None:
        """See `Sink.close`."""


def write_line(stream: TextIO, line: str, name: str) -> None:
    """Write and flush a line.

    Raises:
        SinkError: it cannot be written; final if nobody reads any more.
    """
    try:
        stream.write(line + "\n")
        stream.flush()
    except (OSError, ValueError) as error:
        final = isinstance(error, BrokenPipeError | ValueError)
        raise SinkError(f"{name}: {error}", final=final) from error


class JsonFileSink:
    """JSON lines in a file; full files are kept as ``name.1`` (the newest) and so on.

    A line is written whole or not at all, also when the disk is full.

    Args:
        path: created if need be.
        max_bytes: a file that would grow beyond it is put aside.
        keep: how many files are put aside.
    """

    undelivered = 0

    def __init__(
        self, path: str | os.PathLike[str], *, max_bytes: int = 1 << 20, keep: int = 3
    ) -> None:
        self._path = pathlib.Path(path)
        self.name = f"file {self._path}"
        self._max_bytes = max_bytes
        self._keep = keep

    def send(self, event: Event) -> None:
        """See `Sink.send`.

        The file is opened for each event: events are rare, and whoever moves or
        removes the file needs to tell nobody.
        """
        line = event.to_json().encode() + b"\n"
        try:
            self._rotate(len(line))
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o640)
            try:
                size = os.fstat(descriptor).st_size
                try:
                    written = os.write(descriptor, line)
                except OSError:
                    written = -1
                    raise
                finally:
                    if written != len(line):
                        os.ftruncate(descriptor, size)
                if written != len(line):
                    raise SinkError(f"{self.name}: no space left")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SinkError(f"{self.name}: {error.strerror}") from error

    def _rotate(self, more_bytes: int) -> None:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return
        if not size or size + more_bytes <= self._max_bytes:
            return
        if not self._keep:
            self._path.unlink()
            return
        for number in range(self._keep - 1, 0, -1):
            older = self._aside(number)
            if older.exists():
                older.replace(self._aside(number + 1))
        self._path.replace(self._aside(1))

    def _aside(self, number: int) -> pathlib.Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def close(self) -> None:
        """See `Sink.close`."""
