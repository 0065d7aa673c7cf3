"""The errors of the training stage."""

from __future__ import annotations

from edge_ser.errors import EdgeSerError


class CorpusError(EdgeSerError):
    """A corpus is missing, unreadable or not labelled as expected."""

    exit_code = 4


class ProtocolError(EdgeSerError):
    """What was asked would break the evaluation protocol (a speaker leak, say)."""


class RunError(EdgeSerError):
    """A run folder is incomplete, or belongs to another configuration."""
