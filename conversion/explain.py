"""Which layers lose most when a model is quantized: each against its float self.

The float and the int8 file run side by side, and every tensor that both have is
compared. Errors add up along the network: a layer is to blame where the noise rises
from its inputs to its output.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion import flatbuffer
from conversion.errors import ConversionError
from conversion.source import Source
from conversion.tflite import emit

Float32 = npt.NDArray[np.float32]

MOST_WINDOWS = 64


@dataclasses.dataclass(frozen=True)
class LayerError:
    """What quantization does to the output of one operator."""

    operator: str
    tensor: str
    noise_db: float
    """Power of the error below that of the float output; nearer to 0 is worse."""
    added_db: float | None
    """How much higher that is than at the noisiest of the operator's inputs; None if
    none of them is in both files."""
    steps: float
    """Root of the mean squared error, in steps of the tensor's quantization."""


def explain(
    path: pathlib.Path, calibration: Float32, windows: Float32
) -> list[LayerError]:
    """The error at every layer, in the order of the graph.

    Args:
        path: the saved float model.
        calibration: windows that it is quantized with, (windows, frames, n_features).
        windows: those it is compared on; `MOST_WINDOWS` of them.

    Raises:
        ConversionError: the two files have no layer in common.
    """
    source = Source(path)
    used = windows[:: math.ceil(len(windows) / MOST_WINDOWS)]
    exact = emit(source, "float32", None)
    small = emit(source, "int8", calibration)
    known = {t.name for op in flatbuffer.read(exact).operators for t in op.outputs}
    graph = flatbuffer.read(small)
    names = [t.name for op in graph.operators for t in op.outputs if t.name in known]
    if not names:
        raise ConversionError(f"{path}: float and int8 have no layer in common")
    power = dict.fromkeys(names, 0.0)
    error = dict.fromkeys(names, 0.0)
    count = dict.fromkeys(names, 0)
    floats = _activations(exact, used, names)
    integers = _activations(small, used, names)
    for expected, found in zip(floats, integers, strict=True):
        for name in names:
            power[name] += float(np.square(expected[name]).sum())
            difference = expected[name].ravel() - found[name].ravel()
            error[name] += float(np.square(difference).sum())
            count[name] += difference.size
    noise = {
        name: 10 * math.log10(error[name] / power[name])
        for name in names
        if error[name] and power[name]
    }
    found_errors = []
    for operator in graph.operators:
        output = operator.outputs[0]
        if output.name not in noise:
            continue
        before = [noise[t.name] for t in operator.inputs if t and t.name in noise]
        rms = math.sqrt(error[output.name] / count[output.name])
        found_errors.append(
            LayerError(
                operator.name,
                output.name.split(";")[0],
                noise[output.name],
                noise[output.name] - max(before) if before else None,
                rms / output.scales[0],
            )
        )
    return found_errors


def _activations(model: bytes, windows: Float32, names: list[str]) -> Any:
    """By window, the named tensors in float."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(
        model_content=model,
        experimental_preserve_all_tensors=True,
        # XNNPACK would keep its tensors to itself.
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    details = {t["name"]: t for t in interpreter.get_tensor_details()}
    (entry,) = interpreter.get_input_details()
    for window in windows:
        batch = window[None]
        scale, zero = entry["quantization"]
        if scale:
            batch = np.clip(np.round(batch / scale) + zero, -128, 127).astype(np.int8)
        # As on the device: a fused LSTM keeps its state from one call to the next.
        interpreter.reset_all_variables()
        interpreter.set_tensor(entry["index"], batch)
        interpreter.invoke()
        values = {}
        for name in names:
            value = interpreter.get_tensor(details[name]["index"]).astype(np.float64)
            scale, zero = details[name]["quantization"]
            values[name] = (value - zero) * scale if scale else value
        yield values


def as_markdown(layers: list[LayerError]) -> str:
    """One table, the layers that add most noise first."""
    lines = [
        "| operator | output | noise, dB below the signal | added, dB | error, steps |",
        "| --- | --- | --- | --- | --- |",
    ]
    order = sorted(
        layers, key=lambda e: math.inf if e.added_db is None else -e.added_db
    )
    for layer in order:
        added = "" if layer.added_db is None else f"{layer.added_db:+.1f}"
        lines.append(
            f"| {layer.operator} | {layer.tensor} | {-layer.noise_db:.1f} | {added} "
            f"| {layer.steps:.2f} |"
        )
    return "\n".join(lines)
