"""Audio at another rate, without images or aliases."""

from __future__ import annotations

import functools
import importlib.util
import math
import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ser.errors import AudioError, ConfigError
from edge_ser.samples import check_samples

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8000, 192000
ENGINES = ("soxr", "builtin")
# Taps of the prototype filter for each sample of the lower rate, to either side, and
# the Kaiser parameter for 80 dB: Kaiser 1974; Oppenheim & Schafer, "Discrete-Time
# Signal Processing", section 7.6. Its equation 7.76 gives the width of the transition
# from pass to stop band, here as a share of half the lower rate: 0.105.
_HALF_WIDTH = 48
_STOP_BAND_DB = 80.0
_KAISER_BETA = 0.1102 * (_STOP_BAND_DB - 8.7)
_TRANSITION = (_STOP_BAND_DB - 7.95) / (2.285 * 2 * _HALF_WIDTH * math.pi)
# The stop band begins at half the lower rate, so that nothing folds back: what is below
# 0.895 of it passes within 0.01 dB. This is the middle of the transition, where the
# sinc's own edge lies and half of the amplitude passes.
_CUTOFF = 1 - _TRANSITION / 2
# Largest matrix that makes several outputs at once, in values. Odd ratios of rates
# (8001 to 16000 Hz) would need more: they interpolate between this many phases.
_MATRIX_VALUES = 1 << 19
_TABLE_PHASES = 512


def check_rate(sample_rate_hz: int) -> int:
    """The rate as an int, if it can be resampled.

    Raises:
        AudioError: outside of 8 to 192 kHz, or no integer.
    """
    try:
        # numpy's integers have a width, and positions in a long stream outgrow it.
        rate_hz = operator.index(sample_rate_hz)
    except TypeError as error:
        raise AudioError(
            f"sample rate {sample_rate_hz!r}; valid: an integer, {LOWEST_RATE_HZ} to "
            f"{HIGHEST_RATE_HZ} Hz"
        ) from error
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise AudioError(
            f"sample rate {sample_rate_hz} Hz; valid: {LOWEST_RATE_HZ} to "
            f"{HIGHEST_RATE_HZ} Hz"
        )
    return rate_hz


class Resampler:
    """A stream at another rate; the blocks' sizes do not change the result.

    Output sample n is the input at time ``n * from_hz / to_hz``: no delay. Once flushed
    there are ``ceil(samples * to_hz / from_hz)`` samples in all, give or take one with
    soxr. One resampler belongs to one thread at a time.

    Args:
        engine: ``soxr`` (the extra ``files``), ``builtin``, or None for soxr if it is
            installed.

    Raises:
        AudioError: see `check_rate`.
        ConfigError: an unknown engine, or soxr is not installed.

    >>> resampler = Resampler(48000, 16000)
    >>> blocks = [resampler.push(np.zeros(480, np.float32)) for _ in range(100)]
    >>> sum(map(len, blocks)) + len(resampler.flush())
    16000
    """

    def __init__(self, from_hz: int, to_hz: int, engine: str | None = None) -> None:
        from_hz, to_hz = check_rate(from_hz), check_rate(to_hz)
        installed = importlib.util.find_spec("soxr") is not None
        if engine is None:
            engine = "soxr" if installed else "builtin"
        if engine not in ENGINES:
            raise ConfigError(
                f"unknown resampler {engine!r}; valid: {', '.join(ENGINES)}"
            )
        if engine == "soxr" and not installed:
            raise ConfigError("the resampler soxr is not installed: pip install soxr")
        self.engine = engine
        self._passes = from_hz == to_hz
        self._filter: _Soxr | _Polyphase = (
            _Soxr(from_hz, to_hz)
            if engine == "soxr" and not self._passes
            else _Polyphase(from_hz, to_hz)
        )

    def push(self, block: npt.ArrayLike) -> Float32:
        """The samples that this block makes possible, shape (new samples,).

        Args:
            block: mono PCM of any length, float in [-1, 1] or int16.

        Raises:
            AudioError: see `check_samples`; the resampler is as before the call.
        """
        samples = check_samples(block)
        return samples if self._passes else self._filter.push(samples)

    def flush(self) -> Float32:
        """The samples that still wait for the end of the filter."""
        return np.empty(0, np.float32) if self._passes else self._filter.flush()


class _Soxr:
    """The SoX resampler library, at its high quality."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        import soxr

        self._stream: Any = soxr.ResampleStream(
            from_hz, to_hz, 1, dtype="float32", quality="HQ"
        )

    def push(self, block: Float32) -> Float32:
        return np.asarray(self._stream.resample_chunk(block), np.float32)

    def flush(self) -> Float32:
        rest = self._stream.resample_chunk(np.empty(0, np.float32), last=True)
        return np.asarray(rest, np.float32)


class _Polyphase:
    """A low-pass of Kaiser's window, evaluated at the phases that the outputs need.

    Crochiere & Rabiner 1983, "Multirate Digital Signal Processing", chapter 3.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        matrix = _block_matrix(self._up, self._down)
        self._matrix = matrix
        half_inputs = _half_inputs(self._up, self._down)
        self._width = 2 * half_inputs + 1
        # Output n, at input time n * down / up, needs the inputs up to
        # (n * down + centre) // up.
        self._centre = half_inputs * self._up
        # Outputs that are made together.
        self._group = 1 if matrix is None else matrix.shape[1]
        # `_buffer[0]` is input sample `_first`; before the start there is silence.
        self._buffer: Float32 = np.zeros(self._width - 1, np.float32)
        self._first = -(self._width - 1)
        self._received = 0
        self._produced = 0

    def push(self, block: Float32) -> Float32:
        self._received += len(block)
        self._buffer = np.concatenate([self._buffer, block])
        ready = (self._received * self._up - 1 - self._centre) // self._down + 1
        ready -= ready % self._group
        return self._take(max(ready, self._produced))

    def flush(self) -> Float32:
        total = -(-self._received * self._up // self._down)
        missing = total - self._produced
        groups = -(-missing // self._group)
        until = self._produced + groups * self._group
        newest = (until * self._down + self._centre) // self._up
        silence = max(0, newest + 1 - self._first - len(self._buffer))
        self._buffer = np.concatenate([self._buffer, np.zeros(silence, np.float32)])
        return self._take(until)[:missing]

    def _take(self, until: int) -> Float32:
        count = until - self._produced
        output = np.empty(count, np.float32)
        if self._matrix is not None:
            self._by_matrix(output)
        else:
            self._by_table(output)
        self._produced = until
        oldest = (until * self._down + self._centre) // self._up - (self._width - 1)
        drop = min(max(0, oldest - self._first), len(self._buffer))
        self._buffer = self._buffer[drop:].copy()
        self._first += drop
        return output

    def _by_matrix(self, output: Float32) -> None:
        assert self._matrix is not None
        length, group = self._matrix.shape
        rows = len(output) // group
        if not rows:
            return
        step = group * self._down // self._up
        oldest = self._produced * self._down // self._up - self._width // 2
        start = oldest - self._first
        view = np.lib.stride_tricks.sliding_window_view(self._buffer[start:], length)
        groups = view[::step][:rows]
        # In pieces: the copies of all of them would take many times the audio's memory.
        for piece in range(0, rows, 256):
            part = np.ascontiguousarray(groups[piece : piece + 256])
            made = output[piece * group : (piece + 256) * group]
            np.matmul(part, self._matrix, out=made.reshape(-1, group))

    def _by_table(self, output: Float32) -> None:
        if not len(output):  # the buffer may be shorter than the filter still
            return
        table = _phase_table(self._up, self._down)
        # On 32-bit machines numpy's own integers would overflow within minutes.
        position = np.arange(
            self._produced, self._produced + len(output), dtype=np.int64
        )
        newest, phase = np.divmod(position * self._down + self._centre, self._up)
        below, weight = np.divmod(phase * (_TABLE_PHASES / self._up), 1.0)
        row, share = below.astype(np.intp), weight.astype(np.float32)[:, None]
        windows = np.lib.stride_tricks.sliding_window_view(self._buffer, self._width)
        start = newest - (self._width - 1) - self._first
        for piece in range(0, len(output), 1024):
            part = slice(piece, piece + 1024)
            taps = table[row[part]]
            taps += share[part] * (table[row[part] + 1] - taps)
            output[part] = np.einsum("ij,ij->i", windows[start[part]], taps)


def _half_inputs(up: int, down: int) -> int:
    """Input samples that the filter reaches to either side."""
    return -(-_HALF_WIDTH * max(up, down) // up)


def _taps(phases: Float64, up: int, down: int) -> Float64:
    """The low-pass for outputs at these fractions of an input sample.

    ``h(t) = c sinc(c t) kaiser(t)``; each phase sums to 1, so that DC passes unchanged.

    Returns:
        Shape (phases, inputs), the oldest input first.
    """
    half_inputs = _half_inputs(up, down)
    slower = max(1.0, down / up)
    time = phases[:, None] + np.arange(half_inputs, -half_inputs - 1, -1)
    cutoff = _CUTOFF / slower
    inside = np.maximum(0.0, 1 - (time / (_HALF_WIDTH * slower)) ** 2)
    taper = np.where(inside > 0, np.i0(_KAISER_BETA * np.sqrt(inside)), 0.0)
    taps: Float64 = np.sinc(cutoff * time) * taper
    taps /= taps.sum(1, keepdims=True)
    return taps


@functools.lru_cache(maxsize=8)
def _phase_table(up: int, down: int) -> Float32:
    """Taps at evenly spaced phases from 0 to 1, shape (phases + 1, inputs).

    Linear interpolation between 512 of them errs by less than 1e-6. Smith & Gossett
    1984, "A flexible sampling-rate conversion method".
    """
    phases = np.arange(_TABLE_PHASES + 1) / _TABLE_PHASES
    return _taps(phases, up, down).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _block_matrix(up: int, down: int) -> Float32 | None:
    """Inputs to several outputs at once, shape (inputs, outputs); None if too large.

    One matrix product over strided inputs replaces a gather and a dot product for each
    output. The outputs are a multiple of ``up``, so that one matrix fits all groups.
    """
    group = up * max(1, 16 // up)
    width = 2 * _half_inputs(up, down) + 1
    length = (group - 1) * down // up + width
    if length * group > _MATRIX_VALUES:
        return None
    first, phase = np.divmod(np.arange(group) * down, up)
    taps = _taps(phase / up, up, down)
    matrix = np.zeros((length, group), np.float32)
    for column, start in enumerate(first):
        matrix[start : start + width, column] = taps[column]
    return matrix


def resample(
    samples: npt.ArrayLike, from_hz: int, to_hz: int, engine: str | None = None
) -> Float32:
    """A whole clip at another rate.

    Args:
        samples: mono PCM, shape (samples,), float in [-1, 1] or int16.
        engine: see `Resampler`.

    Returns:
        Shape (ceil(samples * to_hz / from_hz),), give or take one with soxr; float32.

    Raises:
        AudioError: see `check_rate` and `check_samples`.
        ConfigError: see `Resampler`.
    """
    resampler = Resampler(from_hz, to_hz, engine)
    if resampler._passes:
        return resampler.push(samples)
    return np.concatenate([resampler.push(samples), resampler.flush()])
