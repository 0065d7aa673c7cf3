"""The one switch that stops all listening."""

from __future__ import annotations

import threading
from collections.abc import Callable


class MuteSwitch:
    """Whether the listener is muted; any thread may ask and switch.

    >>> switch = MuteSwitch()
    >>> switch.watch(print)
    >>> switch.set(True)
    True
    >>> switch.set(True)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._muted = False
        self._watchers: list[Callable[[bool], object]] = []

    @property
    def muted(self) -> bool:
        """Whether nothing is heard now."""
        return self._muted

    def watch(self, watcher: Callable[[bool], object]) -> None:
        """Call this with the new state after every change, from whatever thread."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[bool], object]) -> None:
        """Call it no more; a second time does nothing."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def set(self, muted: bool) -> None:
        """Mute or unmute."""
        with self._lock:
            if muted == self._muted:
                return
            self._muted = muted
        for watcher in list(self._watchers):
            watcher(muted)

    def toggle(self) -> None:
        """The other state."""
        self.set(not self._muted)
