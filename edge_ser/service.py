"""The listener as a long-running process: settings, signals, systemd, a clean end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import types
from collections.abc import Callable

from edge_ser.assembly import load_classifier, make_sinks, make_source
from edge_ser.classifier import Classifier
from edge_ser.config import Config
from edge_ser.errors import EdgeSerError
from edge_ser.listener import Listener
from edge_ser.mute import MuteSwitch
from edge_ser.notify import Notifier

_log = logging.getLogger(__name__)


class Service:
    """Runs a listener under signals and reads its settings again when told to.

    SIGTERM and SIGINT end it, SIGHUP reads the settings again (wrong ones are refused
    and the old ones stay) or, if the terminal it was started from is gone, ends it;
    SIGUSR1 mutes and unmutes.

    Args:
        load: reads the settings; called at the start and on every SIGHUP.
        load_model: the classifier that the settings ask for.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        *,
        load_model: Callable[[Config], Classifier] = load_classifier,
    ) -> None:
        self._load = load
        self._load_model = load_model
        self._notifier = Notifier(os.environ)
        self._mute = MuteSwitch()
        self._listener: Listener | None = None
        self._next: tuple[Config, Classifier] | None = None
        self.left_behind = False
        """After `run`: a thread hangs, so leave the process by ``os._exit``."""
        # Signal handlers only leave a note: they may interrupt anything.
        self._end_wanted = False
        self._reload_wanted = False
        self._mute_wanted = False
        self._terminals = [each for each in (0, 1, 2) if os.isatty(each)]

    def run(self) -> None:
        """Serve until a signal, or until the source ends.

        Raises:
            EdgeSerError: the start failed, or the source for good.
        """
        self._take_orders()
        config = self._load()
        classifier = self._load_model(config)
        listener = self._build(config, classifier)
        self._catch_the_end()
        while True:
            self._listener = listener
            self._notifier.ready()
            try:
                listener.run()
            finally:
                self.left_behind = self.left_behind or listener.left_behind
                if self._next is None or self._end_wanted:
                    # Not for a reload: systemd takes the word, and kills what goes on.
                    self._notifier.stopping()
            if self._end_wanted:
                _log.info("ended: %s", listener.counters())
                return
            if self._next is None:
                return
            fresh, self._next = self._next, None
            try:
                listener = self._build(*fresh)
                config, classifier = fresh
                _log.info("settings read again; model %s", classifier.card.title)
            except EdgeSerError as error:
                _log.error("settings refused, the old ones stay: %s", error)
                listener = self._build(config, classifier)

    def _build(self, config: Config, classifier: Classifier) -> Listener:
        return Listener(
            classifier,
            make_source(config.source),
            make_sinks(config, classifier, self._mute, self._status),
            device=config.device_name,
            gate=config.gate,
            decision=config.decision,
            adaptation=config.adaptation,
            mute=self._mute,
            wait=config.source.wait,
            hang_s=config.source.hang_s,
            notifier=self._notifier,
            poll=self._follow_notes,
        )

    def _status(self) -> str:
        return self._listener.status() if self._listener is not None else "starting"

    def _follow_notes(self) -> None:
        """Do what signals have asked for; called by the listener all the time."""
        if self._end_wanted and self._listener is not None:
            self._listener.stop()
        if self._mute_wanted:
            self._mute_wanted = False
            self._mute.toggle()
            _log.info("muted" if self._mute.muted else "not muted any more")
        if self._reload_wanted and self._listener is not None:
            self._reload_wanted = False
            if any(not os.isatty(each) for each in self._terminals):
                # The kernel's SIGHUP: whoever started it has left, and nobody would
                # know that it listens.
                self._end_wanted = True
                self._listener.stop()
            else:
                self._read_again()

    def _read_again(self) -> None:
        """Check new settings while the old ones are still in use."""
        assert self._listener is not None
        self._notifier.reloading()
        try:
            config = self._load()
            self._next = config, self._load_model(config)
            self._listener.stop()
        except EdgeSerError as error:
            _log.error("settings refused, the old ones stay: %s", error)
            self._notifier.ready()

    def _take_orders(self) -> None:
        """Before the model is loaded: an early order must not kill the process."""

        def read_again(_number: int, _frame: types.FrameType | None) -> None:
            self._reload_wanted = True

        def mute(_number: int, _frame: types.FrameType | None) -> None:
            self._mute_wanted = True

        signal.signal(signal.SIGHUP, read_again)
        signal.signal(signal.SIGUSR1, mute)

    def _catch_the_end(self) -> None:
        def end(_number: int, _frame: types.FrameType | None) -> None:
            self._end_wanted = True

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)


class _LogFormat(logging.Formatter):
    """One line a message; with systemd's level prefix where the journal reads it."""

    _levels = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).replace("\n", " | ")
        if "JOURNAL_STREAM" not in os.environ:
            return f"edge-ser: {text}"
        for least, level in self._levels:
            if record.levelno >= least:
                return f"<{level}>{text}"
        return f"<7>{text}"


def set_up_logging(*, verbose: bool) -> None:
    """Messages of edge-ser go to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LogFormat())
    log = logging.getLogger("edge_ser")
    log.handlers[:] = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.propagate = False
