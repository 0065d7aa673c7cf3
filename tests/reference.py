"""The textbook pipeline in float64, one frame at a time: what the fast one must match.

It shares no code with `edge_ser`: loops and formulas as the HTK Book and [DM80] print
them, so that a C implementation can be written from it.
"""

from __future__ import annotations

import math

import numpy as np


def mel(frequency_hz: float, scale: str) -> float:
    if scale == "htk":
        return 2595 * math.log10(1 + frequency_hz / 700)
    if frequency_hz < 1000:
        return frequency_hz * 3 / 200
    return 15 + 27 * math.log(frequency_hz / 1000) / math.log(6.4)


def hertz(mels: float, scale: str) -> float:
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    if mels < 15:
        return mels * 200 / 3
    return 1000 * math.exp((mels - 15) * math.log(6.4) / 27)


def filter_bank(spec) -> np.ndarray:
    """Shape (n_mels, n_fft // 2 + 1)."""
    low, high = mel(spec.f_min_hz, spec.mel_scale), mel(spec.f_max_hz, spec.mel_scale)
    step = (high - low) / (spec.n_mels + 1)
    corners = [hertz(low + i * step, spec.mel_scale) for i in range(spec.n_mels + 2)]
    bank = np.zeros((spec.n_mels, spec.n_fft // 2 + 1))
    for band in range(spec.n_mels):
        left, centre, right = corners[band : band + 3]
        if spec.mel_edges == "bins":
            left, centre, right = (
                math.floor((spec.n_fft + 1) * c / spec.sample_rate_hz)
                for c in (left, centre, right)
            )
        for k in range(bank.shape[1]):
            x = k if spec.mel_edges == "bins" else k * spec.sample_rate_hz / spec.n_fft
            if left <= x < centre:
                bank[band, k] = (x - left) / (centre - left)
            elif centre <= x < right:
                bank[band, k] = (right - x) / (right - centre)
        if spec.mel_norm == "area":
            bank[band] *= 2 / (corners[band + 2] - corners[band])
    return bank


def taper(name: str, length: int) -> list[float]:
    if name == "rectangular":
        return [1.0] * length
    a = 0.5 if name == "hann" else 0.54
    period = length - 1 if name == "hamming_symmetric" else length
    return [a - (1 - a) * math.cos(2 * math.pi * n / period) for n in range(length)]


def cut(signal: np.ndarray, spec) -> list[np.ndarray]:
    """Frames of a clip after padding."""
    length, hop = spec.window_samples, spec.hop_samples
    if spec.padding == "center":
        silence = np.zeros(length // 2)
        signal = np.concatenate([silence, signal, silence])
    if spec.padding == "end":
        count = 1 + max(0, math.ceil((len(signal) - length) / hop))
        missing = (count - 1) * hop + length - len(signal)
        signal = np.concatenate([signal, np.zeros(missing)])
    count = 1 + (len(signal) - length) // hop if len(signal) >= length else 0
    return [signal[i * hop : i * hop + length] for i in range(count)]


def logarithm(power: np.ndarray, spec) -> np.ndarray:
    power = np.maximum(power, spec.log_floor)
    if spec.log == "ln":
        return np.log(power)
    return np.log10(power) * (10 if spec.log == "db" else 1)


def log_mel(samples, spec) -> np.ndarray:
    return _static(samples, spec)[0]


def mfcc(samples, spec) -> np.ndarray:
    logs, energies = _static(samples, spec)
    count = spec.n_mels
    basis = np.zeros((spec.n_mfcc, count))
    for k in range(spec.n_mfcc):
        for n in range(count):
            basis[k, n] = 2 * math.cos(math.pi * k * (2 * n + 1) / (2 * count))
        if spec.dct_norm == "ortho":
            basis[k] *= (
                math.sqrt(1 / (4 * count)) if k == 0 else math.sqrt(1 / (2 * count))
            )
        if spec.liftering:
            lift = 1 + spec.liftering / 2 * math.sin(math.pi * k / spec.liftering)
            basis[k] *= lift
    cepstra = logs @ basis.T
    if spec.first_coefficient == "log_energy":
        cepstra[:, 0] = logarithm(np.array(energies), spec)
    return cepstra


def _static(samples, spec) -> tuple[np.ndarray, list[float]]:
    signal = np.asarray(samples, np.float64)
    if spec.pre_emphasis:
        before = np.concatenate([[0.0], signal[:-1]])
        signal = signal - spec.pre_emphasis * before
    window = np.array(taper(spec.window, spec.window_samples))
    bank = filter_bank(spec)
    rows, energies = [], []
    for frame in cut(signal, spec):
        power = np.abs(np.fft.rfft(frame * window, spec.n_fft)) ** 2
        if spec.power_scale == "n_fft":
            power = power / spec.n_fft
        energies.append(power.sum())
        rows.append(logarithm(bank @ power, spec))
    logs = np.array(rows).reshape(len(rows), spec.n_mels)
    if spec.top_db is not None and len(logs):
        decibel = {"ln": math.log(10) / 10, "log10": 0.1, "db": 1.0}[spec.log]
        logs = np.maximum(logs, logs.max() - spec.top_db * decibel)
    return logs, energies
