"""How long a model would take on boards that are not here: estimates, not measurements.

For each layer a roofline (Williams et al. 2009, "Roofline: an insightful visual
performance model", CACM 52:4): the longer of its multiplications at the core's peak
rate and of its bytes at the memory's. Nothing runs faster than that on one core; how
much longer the kernels take is for `edge-ser bench` on the board to say.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import numpy as np

from benchmarks import output
from conversion import edgetpu, flatbuffer
from edge_ser import bundle

_BYTES = {"float32": 4, "int32": 4, "int64": 8, "int16": 2, "float16": 2}


@dataclasses.dataclass(frozen=True)
class Board:
    """Published peak rates of one board, of one core."""

    name: str
    clock_ghz: float
    int8_macs_a_cycle: float
    """Multiply-accumulate of int8 by one core's vector units."""
    memory_gb_s: float
    source: str

    @property
    def macs_a_second(self) -> float:
        """At the peak."""
        return self.clock_ghz * 1e9 * self.int8_macs_a_cycle


# Memory: transfers a second times the 32 bit of the bus. Vector units: the 8-bit
# multiply-accumulate-long of ARMv8.0 does 8 lanes at a time, one instruction a cycle on
# Cortex-A53 and A72 (Cortex-A72 Software Optimization Guide, ARM UAN 0016A, "ASIMD
# multiply accumulate long": one pipeline); the dot product of ARMv8.2 does 16 in each
# of Cortex-A76's two pipelines (Cortex-A76 Software Optimization Guide, version 8.0).
BOARDS = (
    Board("Raspberry Pi Zero 2 W", 1.0, 8, 3.6, "BCM2710A1, Cortex-A53, LPDDR2-900"),
    Board("Raspberry Pi 3B+", 1.4, 8, 3.6, "BCM2837B0, Cortex-A53, LPDDR2-900"),
    Board("Raspberry Pi 4", 1.5, 8, 12.8, "BCM2711, Cortex-A72, LPDDR4-3200"),
    Board("Raspberry Pi 5", 2.4, 32, 17.1, "BCM2712, Cortex-A76, LPDDR4X-4267"),
    Board(
        "Coral USB Accelerator",
        0.5,
        4000,
        0.32,
        "4 TOPS peak; every tensor that its 8 MB hold stays there, the input comes "
        "over USB (320 MB/s of bulk transfer)",
    ),
)
_CORAL = BOARDS[-1].name


@dataclasses.dataclass(frozen=True)
class Layer:
    """What one operator computes and moves for one window."""

    name: str
    macs: int
    bytes_moved: int
    """Read and written once: inputs, weights, outputs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--model", help="a bundle (the bundled default)")
    parser.add_argument("--layers", action="store_true", help="a line a layer, too")
    output.add_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Estimate and print."""
    read = bundle.read(arguments.model)
    report = (
        {"command": output.command()}
        | estimate(read.model)
        | {
            "model": read.card.title,
            "hop_s": read.card.hop_s,
        }
    )
    text = markdown(report, layers=arguments.layers)
    output.tell(report, text, arguments.json)
    return 0


def layers_of(model: bytes) -> list[Layer]:
    """Every operator of the graph, in its order.

    Raises:
        ConversionError: not a TFLite flatbuffer.
    """
    return [
        Layer(
            operator.name,
            operator.macs,
            sum(_size(t) for t in (*operator.inputs, *operator.outputs) if t),
        )
        for operator in flatbuffer.read(model).operators
    ]


def _size(tensor: flatbuffer.Tensor) -> int:
    return int(np.prod(np.abs(tensor.shape))) * _BYTES.get(tensor.dtype, 1)


def estimate(model: bytes) -> dict[str, Any]:
    """Least milliseconds a window on each board, and the layers behind it."""
    graph, layers = flatbuffer.read(model), layers_of(model)
    on_edge_tpu = [placement.is_mapped for placement in edgetpu.check(model)]
    boards = []
    for board in BOARDS:
        if board.name == _CORAL and not all(on_edge_tpu):
            continue  # the processor that it is plugged into would do the rest
        compute_s = [layer.macs / board.macs_a_second for layer in layers]
        memory_s = [layer.bytes_moved / board.memory_gb_s / 1e9 for layer in layers]
        if board.name == _CORAL:
            memory_s = [0.0] * len(layers)
            memory_s[0] = _size(graph.inputs[0]) / board.memory_gb_s / 1e9
        bound = [max(pair) for pair in zip(compute_s, memory_s, strict=True)]
        boards.append(
            {
                "name": board.name,
                "source": board.source,
                "least_ms": 1000 * sum(bound),
                "compute_ms": 1000 * sum(compute_s),
                "memory_ms": 1000 * sum(memory_s),
            }
        )
    return {
        "macs": sum(layer.macs for layer in layers),
        "bytes_moved": sum(layer.bytes_moved for layer in layers),
        "layers": [dataclasses.asdict(layer) for layer in layers],
        "boards": boards,
        "on_edge_tpu": [sum(on_edge_tpu), len(on_edge_tpu)],
    }


def markdown(report: dict[str, Any], *, layers: bool = False) -> str:
    """Estimates a board, and if asked the layers."""
    lines = [
        f"**{report['model']}**: {report['macs'] / 1e6:.1f} M MACs and "
        f"{report['bytes_moved'] / 1e6:.2f} MB moved a window, features not "
        "counted. Estimates: no board was here.",
        "",
        "| board, one core | at least a window | share of a core, at least | from |",
        "| --- | --- | --- | --- |",
    ]
    for board in report["boards"]:
        share = board["least_ms"] / 1000 / report["hop_s"]
        lines.append(
            f"| {board['name']} | {board['least_ms']:.2f} ms | {100 * share:.2f} % "
            f"| {board['source']} |"
        )
    mapped, operators = report["on_edge_tpu"]
    if mapped < operators:
        lines += [
            "",
            f"An Edge TPU would run {mapped} of its {operators} operators, so there "
            "is no estimate for one.",
        ]
    if layers:
        lines += ["", "| layer | M MACs | kB moved |", "| --- | --- | --- |"]
        for layer in report["layers"]:
            lines.append(
                f"| {layer['name']} | {layer['macs'] / 1e6:.3f} "
                f"| {layer['bytes_moved'] / 1000:.1f} |"
            )
    return "\n".join(lines)
