"""The loop that joins a source, the model and the sinks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from edge_ser.audio.source import Source
from edge_ser.classifier import Classifier
from edge_ser.decision import DecisionSettings
from edge_ser.errors import SinkError
from edge_ser.event import Event
from edge_ser.pipeline import Decided, Pipeline
from edge_ser.sinks.sink import Sink
from edge_ser.vad import GateSettings

_log = logging.getLogger(__name__)


class Listener:
    """Hears a source until it ends and tells the sinks every change of state.

    Args:
        classifier: the model.
        source: where sound comes from.
        sinks: where events go.
        device: the name that events carry.
        clock: seconds since 1970. Events of a live source carry its time; those of
            any other source the time of the start plus the position in the stream.
    """

    def __init__(
        self,
        classifier: Classifier,
        source: Source,
        sinks: Sequence[Sink],
        *,
        device: str,
        gate: GateSettings | None = None,
        decision: DecisionSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._classifier = classifier
        self._source = source
        self._sinks = list(sinks)
        self._device = device
        self._clock = clock
        self._pipeline = Pipeline(classifier, gate=gate, decision=decision)
        self._stopped = False

    def stop(self) -> None:
        """End `run` after the current block; any thread or signal handler may call."""
        self._stopped = True

    def run(self) -> None:
        """Listen until the source ends or `stop` is called.

        Raises:
            MicrophoneError, AudioError: the source cannot be opened, or fails.
        """
        self._source.open(self._classifier.sample_rate_hz)
        self._started_s = self._clock()
        try:
            while not self._stopped:
                block = self._source.read()
                if block is None:
                    break
                self._announce(self._pipeline.push(block))
            self._announce(self._pipeline.end())
        finally:
            self._source.close()
            for sink in self._sinks:
                sink.close()

    def _announce(self, decided: list[Decided]) -> None:
        for each in decided:
            if self._source.live:
                time_s = self._clock()
            else:
                time_s = self._started_s + each.position_s
            decision = each.decision
            event = Event(
                time_s=time_s,
                label=decision.label,
                confidence=decision.confidence,
                probabilities=decision.probabilities,
                duration_s=decision.duration_s,
                device=self._device,
                model=self._classifier.card.title,
            )
            for sink in self._sinks:
                try:
                    sink.send(event)
                except SinkError as error:
                    _log.warning("event lost: %s", error)
