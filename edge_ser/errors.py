"""The exceptions of edge-ser, and the exit code that the command line gives each."""

from __future__ import annotations


class EdgeSerError(Exception):
    """Base of every error that edge-ser raises on purpose.

    The message says in one line what was given, what is valid and what to do.
    """

    exit_code = 1


class ConfigError(EdgeSerError):
    """A setting, a flag or a FeatureSpec is wrong."""

    exit_code = 2


class BundleError(EdgeSerError):
    """A model file cannot be trusted: cut, altered, unknown or inconsistent."""

    exit_code = 3


class InterpreterError(EdgeSerError):
    """No TFLite runtime is installed, or the one asked for refuses to work."""

    exit_code = 1


class AudioError(EdgeSerError):
    """Audio cannot be read or used: missing, truncated, empty, NaN, wrong rate."""

    exit_code = 4


class MicrophoneError(EdgeSerError):
    """No usable microphone: missing, busy, or gone while it was read."""

    exit_code = 5


class SinkError(EdgeSerError):
    """An event could not be delivered to one of the places it should go to.

    Args:
        final: no later event can be delivered either.
    """

    exit_code = 1

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class CaptureHungError(EdgeSerError):
    """The sound system does not return from a call: only a new process can help."""

    exit_code = 1
