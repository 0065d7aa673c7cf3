"""The errors of the conversion stage."""

from __future__ import annotations

from edge_ser.errors import EdgeSerError


class ConversionError(EdgeSerError):
    """A model cannot be converted, or what came out does not keep its promise."""
