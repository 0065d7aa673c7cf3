"""Multiply-accumulate operations of one inference, counted in the TFLite graph."""

from __future__ import annotations

from conversion.errors import ConversionError
from conversion.flatbuffer import read


def macs(model: bytes) -> int:
    """MACs of convolutions, dense layers, matrix products and fused LSTM.

    See `conversion.flatbuffer.Operator.macs`.

    Raises:
        ConversionError: not a TFLite flatbuffer, or an operator that hides its size in
            a loop.
    """
    graph = read(model)
    if graph.has_loops:
        raise ConversionError("the graph holds a WHILE or IF: its MACs are unknown")
    return graph.macs
