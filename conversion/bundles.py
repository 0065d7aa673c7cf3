"""A trained model as bundles: float32, full int8, and pruned full int8."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.errors import ConversionError
from conversion.tflite import convert
from edge_ser import bundle

Float32 = npt.NDArray[np.float32]

VARIANTS = ("float32", "int8", "int8-pruned")
MIN_CALIBRATION_WINDOWS = 16


def write_bundles(
    folder: pathlib.Path,
    card: bundle.Card,
    models: dict[str, Any],
    calibration: Float32,
    calibration_clips: Iterable[str],
    variants: Iterable[str] = VARIANTS,
) -> dict[str, pathlib.Path]:
    """Convert a model into each variant and write ``folder/VARIANT.tflite``.

    Args:
        folder: made if need be.
        card: of all variants; quantization and calibration are filled in here.
        models: Keras models under ``dense`` and, for pruned variants, ``pruned``.
        calibration: windows of training speakers, (windows, frames, n_features).
        calibration_clips: where those came from, for the card.
        variants: out of `VARIANTS`.

    Returns:
        The path of each variant's bundle.

    Raises:
        ConversionError: an unknown variant, too few calibration windows, or the
            converter's refusal.
        BundleError: the folder cannot be written.
    """
    wanted = list(variants)
    unknown = [variant for variant in wanted if variant not in VARIANTS]
    if unknown:
        raise ConversionError(
            f"unknown variant {unknown[0]!r}; valid: {', '.join(VARIANTS)}"
        )
    if set(wanted) - {"float32"} and len(calibration) < MIN_CALIBRATION_WINDOWS:
        raise ConversionError(
            f"{len(calibration)} calibration windows; valid: at least "
            f"{MIN_CALIBRATION_WINDOWS}"
        )
    paths = {}
    names = sorted(set(calibration_clips))
    for variant in wanted:
        quantized = variant != "float32"
        keras_model = models["pruned" if variant.endswith("pruned") else "dense"]
        flatbuffer = convert(keras_model, calibration if quantized else None)
        folder.mkdir(parents=True, exist_ok=True)
        paths[variant] = folder / f"{variant}.tflite"
        bundle.write(
            paths[variant],
            dataclasses.replace(
                card,
                quantization=variant,
                calibration=(
                    {"windows": len(calibration), "clips": names} if quantized else {}
                ),
            ),
            flatbuffer,
        )
    return paths
