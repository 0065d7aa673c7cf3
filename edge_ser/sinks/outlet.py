"""A sink in a thread of its own, so that it can delay or break nothing but itself."""

from __future__ import annotations

import logging
import queue
import threading
import time

from edge_ser.errors import SinkError
from edge_ser.event import Event
from edge_ser.sinks.sink import Sink

_log = logging.getLogger(__name__)

_CAPACITY = 256


class Outlet:
    """Hands events to a sink, and counts what it loses.

    When the sink is too slow, the oldest events go: the newest state matters most.

    Args:
        sink: only the outlet's thread sends to it.
        capacity: events that may wait.
    """

    def __init__(self, sink: Sink, *, capacity: int = _CAPACITY) -> None:
        self.name = sink.name
        self.delivered = 0
        self.lost = 0
        self.gone = False
        """Whether nobody will ever take events again (a closed pipe)."""
        self._sink = sink
        self._queue: queue.Queue[Event | None] = queue.Queue(capacity)
        self._failing = False
        self._thread = threading.Thread(
            target=self._run, name=f"sink {sink.name}", daemon=True
        )
        self._thread.start()

    def put(self, event: Event, *, wait: bool = False) -> None:
        """Hand over an event.

        Args:
            wait: until there is room, for sources that can wait; otherwise never.
        """
        if wait:
            while self._thread.is_alive() and not self.gone:
                try:
                    self._queue.put(event, timeout=0.2)
                    return
                except queue.Full:
                    continue
        while True:
            try:
                self._queue.put_nowait(event)
                return
            except queue.Full:
                self._drop_oldest()

    def close(self, deadline_s: float) -> None:
        """Deliver what waits, until this monotonic time; the rest is lost.

        Returns in time even if the sink hangs.
        """
        while True:
            try:
                self._queue.put(None, timeout=max(0.001, deadline_s - time.monotonic()))
                break
            except queue.Full:
                self._drop_oldest()
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        if self._thread.is_alive():
            waiting = self._queue.qsize()
            self.lost += waiting
            _log.warning("%s hangs; %d events lost", self.name, waiting)

    def _drop_oldest(self) -> None:
        try:
            dropped = self._queue.get_nowait()
        except queue.Empty:
            return
        if dropped is not None:
            self._count_loss("too slow")

    def _count_loss(self, reason: str) -> None:
        self.lost += 1
        # One line when it begins to fail, one when it works again: a broken sink must
        # not fill the journal.
        if not self._failing:
            self._failing = True
            _log.warning("event lost: %s", reason)

    def _run(self) -> None:
        while True:
            event = self._queue.get()
            if event is None:
                break
            try:
                self._sink.send(event)
            except SinkError as error:
                self.gone = self.gone or error.final
                self._count_loss(str(error))
            except Exception:
                # A fault in a sink must not end the other sinks or the capture.
                self._count_loss("internal error")
                _log.exception("%s failed", self.name)
            else:
                self.delivered += 1
                if self._failing:
                    self._failing = False
                    _log.info("%s works again; %d lost so far", self.name, self.lost)
        self._sink.close()
        self.lost += self._sink.undelivered
        self.delivered -= self._sink.undelivered
