"""The errors of the conversion stage."""

from __future__ import annotations

from edge_ser.errors import EdgeSerError


class ConversionError(EdgeSerError):
    """A model cannot be converted, or what came out does not keep its promise."""


class WorkDiedError(ConversionError):
    """A process of its own ended without an answer, as TensorFlow's converter may."""
