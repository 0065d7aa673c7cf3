"""Audio at another rate, without images or aliases."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from edge_ser.errors import AudioError

Float32 = npt.NDArray[np.float32]

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8000, 192000
# Taps of the prototype filter for each sample of the lower rate, to either side, and
# the Kaiser parameter for 80 dB: Kaiser 1974; Oppenheim & Schafer, "Discrete-Time
# Signal Processing", section 7.6.
_HALF_WIDTH = 24
_KAISER_BETA = 7.857
# The pass band ends here, as a share of half the lower rate.
_PASS_BAND = 0.9


def check_rate(sample_rate_hz: int) -> int:
    """The rate, if it can be resampled.

    Raises:
        AudioError: outside of 8 to 192 kHz.
    """
    if not LOWEST_RATE_HZ <= sample_rate_hz <= HIGHEST_RATE_HZ:
        raise AudioError(
            f"sample rate {sample_rate_hz} Hz; valid: {LOWEST_RATE_HZ} to "
            f"{HIGHEST_RATE_HZ} Hz"
        )
    return sample_rate_hz


@functools.lru_cache(maxsize=8)
def _polyphase_filter(up: int, down: int) -> Float32:
    """A low-pass of Kaiser's window as ``up`` phases, shape (up, taps)."""
    slower = max(up, down)
    half = _HALF_WIDTH * slower
    offsets = np.arange(-half, half + 1)
    cutoff = (1 + _PASS_BAND) / 2 / slower
    taps = cutoff * np.sinc(cutoff * offsets) * np.kaiser(2 * half + 1, _KAISER_BETA)
    taps *= up / taps.sum()
    width = -(-len(taps) // up)
    padded = np.pad(taps, (0, width * up - len(taps)))
    # Phase p holds taps p, p + up, ...; reversed, so that a dot product convolves.
    return np.ascontiguousarray(padded.reshape(width, up).T[:, ::-1], np.float32)


class Resampler:
    """Polyphase resampling of a stream; the blocks' sizes do not change the result.

    Output sample n is the input at time ``n * from_hz / to_hz``: no delay, and
    ``ceil(samples * to_hz / from_hz)`` samples in all once flushed. Crochiere &
    Rabiner 1983, "Multirate Digital Signal Processing", chapter 3.

    Raises:
        AudioError: see `check_rate`.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        check_rate(from_hz)
        check_rate(to_hz)
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._phases = _polyphase_filter(self._up, self._down)
        width = self._phases.shape[1]
        self._centre = _HALF_WIDTH * max(self._up, self._down)
        # `_buffer[0]` is input sample `_first`; before the start there is silence.
        self._buffer: Float32 = np.zeros(width - 1, np.float32)
        self._first = -(width - 1)
        self._received = 0
        self._produced = 0

    def push(self, block: Float32) -> Float32:
        """The samples that this block makes possible, shape (new samples,)."""
        if self._up == self._down:
            return block
        self._received += len(block)
        self._buffer = np.concatenate([self._buffer, block])
        # Output n needs inputs up to (n * down + centre) // up.
        ready = ((self._received - 1) * self._up - self._centre) // self._down + 1
        return self._take(max(ready, self._produced))

    def flush(self) -> Float32:
        """The samples that still wait for the end of the filter."""
        if self._up == self._down:
            return np.empty(0, np.float32)
        total = -(-self._received * self._up // self._down)
        tail = -(-(self._centre + self._down) // self._up) + 1
        self._buffer = np.concatenate([self._buffer, np.zeros(tail, np.float32)])
        return self._take(total)

    def _take(self, until: int) -> Float32:
        position = np.arange(self._produced, until) * self._down + self._centre
        newest, phase = np.divmod(position, self._up)
        output = np.empty(len(position), np.float32)
        width = self._phases.shape[1]
        windows = np.lib.stride_tricks.sliding_window_view(self._buffer, width)
        start = newest - (width - 1) - self._first
        # Rows in pieces: all of them at once would be `width` times the audio.
        for piece in range(0, len(position), 4096):
            part = slice(piece, piece + 4096)
            output[part] = np.einsum(
                "ij,ij->i", windows[start[part]], self._phases[phase[part]]
            )
        self._produced = until
        oldest = (until * self._down + self._centre) // self._up - (width - 1)
        drop = min(max(0, oldest - self._first), len(self._buffer))
        self._buffer = self._buffer[drop:].copy()
        self._first += drop
        return output


def resample(samples: Float32, from_hz: int, to_hz: int) -> Float32:
    """A whole clip at another rate, shape (ceil(samples * to_hz / from_hz),).

    Raises:
        AudioError: see `check_rate`.
    """
    if from_hz == to_hz:
        return samples
    resampler = Resampler(from_hz, to_hz)
    return np.concatenate([resampler.push(samples), resampler.flush()])
