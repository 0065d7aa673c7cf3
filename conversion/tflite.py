"""A model to TFLite: what the converter is told for each kind of arithmetic."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion import flatbuffer
from conversion.errors import ConversionError
from conversion.source import Source
from conversion.worker import alone

Float32 = npt.NDArray[np.float32]

_LIMIT_S = 900.0


def convert(model: Any, calibration: Float32 | None) -> bytes:
    """The TFLite flatbuffer of a Keras model, made in a process of its own.

    Args:
        model: Keras 2, from (frames, n_features) to logits.
        calibration: see `emit`; None for float32, else full int8.

    Raises:
        ConversionError: the converter refuses the model, or dies.
    """
    with tempfile.TemporaryDirectory(prefix="edge-ser-convert-") as name:
        path = pathlib.Path(name) / "model.keras"
        model.save(path)
        arithmetic = "float32" if calibration is None else "int8"
        what = "the TFLite converter"
        return alone(
            what, _convert_saved, path, arithmetic, calibration, limit_s=_LIMIT_S
        )


def _convert_saved(
    path: pathlib.Path, arithmetic: str, calibration: Float32 | None
) -> bytes:
    return emit(Source(path), arithmetic, calibration)


def emit(source: Source, arithmetic: str, calibration: Float32 | None) -> bytes:
    """The TFLite flatbuffer of a model, made in this process, which may die of it.

    Args:
        arithmetic: ``float32``; ``float16`` stores weights in half; ``dynamic-range``
            stores int8 weights and computes in float; ``int8`` has int8 input, output
            and arithmetic.
        calibration: windows that show the range of every activation, shape
            (windows, frames, n_features); for int8 alone, and None there for models
            that were trained quantization-aware.

    Raises:
        ConversionError: the model does not end in logits.
    """
    import tensorflow as tf

    converter = source.converter()
    if arithmetic != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if arithmetic == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if arithmetic == "int8":
        if calibration is not None:
            converter.representative_dataset = lambda: ([w[None]] for w in calibration)
            # Said of a quantization-aware model, it would demand calibration.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    made = bytes(converter.convert())
    last = flatbuffer.last_activation(flatbuffer.read(made))
    if last is not None:
        told = {"LOGISTIC": "sigmoid"}.get(last, last.lower())
        raise ConversionError(
            f"{source.path} ends in a {told}; save it without: the device takes the "
            "softmax of what it answers"
        )
    return made
