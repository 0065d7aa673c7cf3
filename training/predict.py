"""What a network answers to whole clips: mean probabilities over their windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from training.augment import model_inputs
from training.dataset import FeatureSet, window_starts

Float32 = npt.NDArray[np.float32]


def clip_windows(features: FeatureSet, index: int, hop_frames: int) -> Float32:
    """Model inputs of all windows of one clip, as the device takes them."""
    spec, frames = features.spec, features.clip_frames(index)
    short = spec.frames_per_window - len(frames)
    if short > 0:
        tail = np.broadcast_to(features.silent_frame(), (short, frames.shape[1]))
        frames = np.concatenate([frames, tail])
    starts = window_starts(len(frames), spec.frames_per_window, hop_frames)
    return model_inputs(
        np.stack([frames[s : s + spec.frames_per_window] for s in starts]), spec
    )


def predict_clips(
    probabilities: Callable[[Float32], Float32], features: FeatureSet, hop_frames: int
) -> Float32:
    """Mean probabilities over each clip's windows, shape (clips, classes).

    Args:
        probabilities: model inputs (windows, frames, n_features) to probabilities.
    """
    clips = [
        clip_windows(features, index, hop_frames)
        for index in range(len(features.clips))
    ]
    flat = probabilities(np.concatenate(clips))
    return clip_means(flat, np.array([len(clip) for clip in clips]))


def clip_means(values: Float32, windows: npt.NDArray[np.int64]) -> Float32:
    """Means over each clip's windows, shape (clips, classes).

    Args:
        values: of all clips' windows, end to end, shape (windows, classes).
        windows: number of windows of each clip, shape (clips,).
    """
    first = np.cumsum([0, *windows[:-1]])
    return np.asarray(np.add.reduceat(values, first) / windows[:, None], np.float32)


def softmax(logits: Float32) -> Float32:
    """Probabilities of logits, over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), np.float32)


def keras_logits(model: Any) -> Callable[[Float32], Float32]:
    """A function from model inputs to logits, float32."""
    return lambda inputs: model.predict(inputs, batch_size=64, verbose=0).astype(
        np.float32
    )


def keras_probabilities(
    model: Any, temperature: float = 1.0
) -> Callable[[Float32], Float32]:
    """A function from model inputs to softmax probabilities."""
    logits = keras_logits(model)
    return lambda inputs: softmax(logits(inputs) / np.float32(temperature))
