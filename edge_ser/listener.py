"""The loop that joins a source, the model and the sinks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from edge_ser.adaptation import AdaptationSettings
from edge_ser.audio import capture as captures
from edge_ser.audio.capture import Capture, Chunk
from edge_ser.audio.source import Source
from edge_ser.classifier import Classifier
from edge_ser.decision import DecisionSettings
from edge_ser.errors import CaptureHungError, SinkError
from edge_ser.event import Event
from edge_ser.mute import MuteSwitch
from edge_ser.notify import Notifier
from edge_ser.pipeline import Decided, Pipeline
from edge_ser.sinks.outlet import Outlet
from edge_ser.sinks.sink import Sink
from edge_ser.vad import GateSettings

_log = logging.getLogger(__name__)

_POLL_S = 0.1
_STATUS_EVERY_S = 1.0
_STALLED_S = 2.0
_SILENT_S = 10.0
# For capture and sinks to end, all at the same time: a second is all there is.
_FAREWELL_S = 0.5
# For brokers and the like after a recording.
_PATIENCE_S = 5.0


class Listener:
    """Hears a source until it ends and tells the sinks every change of state.

    A source that fails is opened again; a sink that fails or is slow delays nothing.

    Args:
        classifier: the model.
        source: where sound comes from.
        sinks: where events go; closed at the end.
        device: the name that events carry.
        mute: while it is on, nothing is heard and microphones are let go.
        wait: begin without the source, and wait for it.
        hang_s: a source that does not return for so long is given up.
        notifier: tells systemd.
        poll: called several times a second by the thread of `run`.
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
        adaptation: AdaptationSettings | None = None,
        mute: MuteSwitch | None = None,
        wait: bool = False,
        hang_s: float = 10.0,
        notifier: Notifier | None = None,
        poll: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.mute = mute or MuteSwitch()
        self.events = 0
        self.left_behind = False
        """After `run`: a thread hangs, so leave the process by ``os._exit``."""
        self._classifier = classifier
        self._source = source
        self._sinks = list(sinks)
        self._outlets: list[Outlet] = []
        self._device = device
        self._hang_s = hang_s
        self._notifier = notifier or Notifier({})
        self._poll = poll
        self._clock = clock
        self._pipeline = Pipeline(
            classifier, gate=gate, decision=decision, adaptation=adaptation
        )
        self._capture = Capture(source, classifier.sample_rate_hz, wait=wait)
        self._stopped = False
        self._started_s = 0.0
        self._status_at_s = 0.0
        self._fed_at_s = 0.0
        self._trouble = "starting"

    def stop(self) -> None:
        """End `run` soon; any thread or signal handler may call."""
        self._stopped = True

    def run(self) -> None:
        """Listen until the source ends or `stop` is called.

        Raises:
            MicrophoneError, AudioError: the source cannot be opened, or fails for good.
            CaptureHungError: the source hangs; leave the process.
            SinkError: the source has ended, and not every event was delivered.
        """
        self._outlets = [Outlet(sink) for sink in self._sinks]
        self._started_s = self._clock()
        # Before the start: what is muted must not open a microphone even for a moment.
        self._follow_mute()
        self._capture.start()
        try:
            while not self._stopped and not self._capture.ended:
                self._poll()
                self._follow_mute()
                chunk = self._capture.get(_POLL_S)
                if chunk is not None:
                    self._hear(chunk)
                elif self._capture.state == captures.WAITING or self._stalled:
                    # Nobody knows how long: the last emotion must not stand till then.
                    self._announce(self._pipeline.end())
                self._keep_house(heard=chunk is not None)
                if self._outlets and all(each.gone for each in self._outlets):
                    break
            self._announce(self._pipeline.end())
        finally:
            self._end()
        if self._capture.error is not None and not self._stopped:
            raise self._capture.error
        lost = sum(outlet.lost for outlet in self._outlets)
        if lost and self._capture.ended and not self._stopped:
            # A run that ends by itself must tell by its exit code; a service goes on.
            raise SinkError(f"{lost} deliveries of events were lost")

    def _follow_mute(self) -> None:
        if self.mute.muted:
            self._capture.pause()
            self._announce(self._pipeline.forget())
        else:
            self._capture.resume()

    def _hear(self, chunk: Chunk) -> None:
        if self.mute.muted:
            return  # what was on its way when the switch was turned
        if chunk.gap:
            # What came before says nothing about what comes now.
            self._announce(self._pipeline.end())
        self._announce(self._pipeline.push_checked(chunk.samples))

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
            self.events += 1
            for outlet in self._outlets:
                outlet.put(event, wait=self._may_wait)

    def _may_wait(self) -> bool:
        """Whether the source can wait for a slow sink, and nobody wants the end."""
        self._poll()
        return not (self._source.live or self._stopped)

    def _keep_house(self, *, heard: bool) -> None:
        """Feed the watchdog, tell the status, and notice what is wrong."""
        now_s = time.monotonic()
        capture = self._capture
        if capture.stuck_s > self._hang_s:
            raise CaptureHungError(
                f"{self._source.name} has not returned for {self._hang_s:g} s; "
                "the sound system hangs"
            )
        # A listener that listens is alive when it hears; otherwise when it loops.
        listening = capture.state == captures.LISTENING and not self._stalled
        watchdog_s = self._notifier.watchdog_s
        if watchdog_s is not None and now_s - self._fed_at_s > watchdog_s / 4:
            stuck = capture.stuck_s > 1.0
            if heard if listening else not stuck:
                self._notifier.alive()
                self._fed_at_s = now_s
        if now_s - self._status_at_s >= _STATUS_EVERY_S:
            self._status_at_s = now_s
            self._notifier.status(self.status())
            self._tell_trouble()

    @property
    def _stalled(self) -> bool:
        return self._capture.stalled_s > _STALLED_S

    def trouble(self) -> str:
        """What is wrong with the source now; empty if nothing is."""
        capture = self._capture
        if capture.state == captures.WAITING:
            return str(capture.error or f"{self._source.name} is not open yet")
        if capture.state != captures.LISTENING:
            return ""
        if self._stalled:
            return f"{self._source.name} gives no audio"
        if capture.silent_s > _SILENT_S:
            return f"{self._source.name} gives digital silence; is it switched off?"
        return ""

    def _tell_trouble(self) -> None:
        trouble = self.trouble()
        if trouble == self._trouble:
            return
        if self._capture.state == captures.LISTENING:
            if trouble:
                _log.warning("%s", trouble)
            elif self._source.live:
                _log.info("listening to %s", self._source.name)
        self._trouble = trouble

    def status(self) -> str:
        """One line: what it does, and the counters."""
        capture, trouble = self._capture, self.trouble()
        if self.mute.muted:
            doing = "muted"
        elif capture.state == captures.WAITING or self._stalled:
            doing = f"waiting for microphone ({trouble})"
        elif trouble:
            doing = f"listening ({trouble})"
        else:
            doing = f"listening, {self._pipeline.state}"
        return f"{doing}; {self.counters()}"

    def counters(self) -> str:
        """What has come of the events and of the audio."""
        counters = self._capture.counters
        events = [f"{self.events} events"]
        for each in self._outlets:
            waiting = each.taken - each.delivered - each.lost
            events += [f"{waiting} waiting at {each.name}"] if waiting > 0 else []
            events += [f"{each.lost} lost at {each.name}"] if each.lost else []
        return (
            f"{', '.join(events)}; {counters.heard_s:.0f} s heard, "
            f"{counters.lost_s + counters.dropped_s:.1f} s lost, "
            f"{counters.failures} failures"
        )

    def _end(self) -> None:
        """Let go of everything; once told to stop, within `_FAREWELL_S`."""
        self._capture.stop()
        # Nobody waits for the end of a recording: slow sinks may finish.
        hurried = self._stopped or not self._capture.ended
        for outlet in self._outlets:
            outlet.finish(patience_s=0.0 if hurried else _PATIENCE_S)
        if not hurried:
            for outlet in self._outlets:
                while not (outlet.join(time.monotonic() + _POLL_S) or self._stopped):
                    self._poll()
        deadline_s = time.monotonic() + _FAREWELL_S
        ended = [outlet.join(deadline_s) for outlet in self._outlets]
        ended.append(self._capture.join(deadline_s))
        self.left_behind = not all(ended)
        for outlet in self._outlets:
            level = logging.WARNING if outlet.lost else logging.DEBUG
            _log.log(
                level,
                "%s: %d of %d events delivered, %d lost",
                *(outlet.name, outlet.delivered, outlet.taken, outlet.lost),
            )
        self._notifier.status(self.status())
