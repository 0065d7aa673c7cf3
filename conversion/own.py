"""A Keras model of one's own: its card from a TOML file, its calibration from arrays.

The file holds what a training run would know::

    name = "my-model"
    labels = ["neutral", "angry"]
    hop_s = 0.5               # step between decisions, at most a window
    licence = "CC BY 4.0"     # and other texts of the card: version, intended_use

    [features]                # a FeatureSpec, as in a training configuration
    n_mfcc = 0                # stop at log-mel
    n_mels = 64
    frames_per_window = 256
"""

from __future__ import annotations

import pathlib
import tomllib
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.calibrate import spread
from conversion.errors import ConversionError
from edge_ser import bundle
from edge_ser.audio.file import read_blocks
from edge_ser.bundle import Card
from edge_ser.errors import EdgeSerError
from edge_ser.features import FeatureSpec, model_input, static_features

Float32 = npt.NDArray[np.float32]

_SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
_KEYS = (
    *("name", "version", "intended_use", "licence"),
    *("labels", "hop_s", "training_data", "features"),
)
_NO_MODEL = b"....TFL3"
"""The mark of a TFLite flatbuffer and no more, to check a card with."""


def read_card(path: pathlib.Path) -> Card:
    """The card that a TOML file describes.

    Raises:
        ConversionError: unreadable, an unknown or missing key, a wrong value.
        BundleError: a value that no card may hold.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConversionError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConversionError(f"{path}: not valid TOML: {error}") from error
    unknown = set(table) - set(_KEYS)
    missing = {"labels", "features"} - set(table)
    if unknown or missing:
        raise ConversionError(
            f"{path}: unknown or missing keys: {', '.join(sorted(unknown | missing))}; "
            f"valid: {', '.join(_KEYS)}"
        )
    features = table["features"]
    if not isinstance(features, dict):
        raise ConversionError(f"{path}: features is {features!r}; valid: a table")
    if features.get("n_mfcc") == 0:  # TOML has no null
        features = {**features, "n_mfcc": None}
    try:
        spec = FeatureSpec.from_dict(features)
    except EdgeSerError as error:
        raise ConversionError(f"{path}: {error}") from error
    card = Card(
        name=table.get("name", path.stem),
        version=table.get("version", "0"),
        labels=table["labels"],
        features=spec,
        hop_frames=_hop_frames(path, table.get("hop_s"), spec),
        quantization="",
        training_data=table.get("training_data", []),
        intended_use=table.get("intended_use", ""),
        licence=table.get("licence", ""),
    )
    try:
        # The device's own reader says what a card may hold.
        return bundle.unpack(bundle.pack(card, _NO_MODEL), str(path)).card
    except TypeError as error:  # TOML has dates and times, JSON has not
        raise ConversionError(f"{path}: {error}; valid: texts and numbers") from error


def _hop_frames(path: pathlib.Path, hop_s: Any, spec: FeatureSpec) -> int:
    frame_s = spec.hop_samples / spec.sample_rate_hz
    window_s = spec.frames_per_window * frame_s
    if hop_s is None:
        hop_s = min(0.5, window_s)
    if not isinstance(hop_s, (int, float)) or not frame_s <= hop_s <= window_s:
        raise ConversionError(
            f"{path}: hop_s is {hop_s!r}; valid: {frame_s:g} to {window_s:.2f}"
        )
    return round(hop_s / frame_s)


def calibration(
    folder: pathlib.Path, spec: FeatureSpec, most: int = 256
) -> tuple[Float32, list[str]]:
    """A window from the middle of each sound file below a folder, and their names.

    At most `most`, spread evenly over the folders they lie in: one a label, say.

    Raises:
        ConversionError: no such folder, or no sound file there.
        AudioError: one cannot be read.
    """
    if not folder.is_dir():
        raise ConversionError(f"{folder}: there is no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SOUNDS)
    if not paths:
        raise ConversionError(f"{folder}: no sound file below it ({' '.join(_SOUNDS)})")
    kinds = [str(path.parent) for path in paths]
    chosen = [paths[index] for index in sorted(spread(kinds, most, seed=0))]
    names = [path.relative_to(folder).as_posix() for path in chosen]
    return np.stack([_window(path, spec) for path in chosen]), names


def _window(path: pathlib.Path, spec: FeatureSpec) -> Float32:
    samples = np.concatenate(list(read_blocks(path, spec.sample_rate_hz)))
    missing = spec.model_samples - len(samples)
    if missing > 0:
        samples = np.concatenate([samples, np.zeros(missing, np.float32)])
    start = (len(samples) - spec.model_samples) // 2
    middle = samples[start : start + spec.model_samples]
    return model_input(static_features(middle, spec), spec)
