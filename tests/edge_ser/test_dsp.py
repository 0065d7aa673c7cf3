"""Each step of the pipeline against its formula."""

from __future__ import annotations

import numpy as np
import pytest

import reference
from edge_ser import dsp
from edge_ser.features import FeatureSpec

RNG = np.random.default_rng(0)


def test_pre_emphasis():
    samples = RNG.standard_normal(100)
    emphasised = dsp.pre_emphasis(samples, 0.97)
    assert emphasised[0] == samples[0]
    assert np.allclose(emphasised[1:], samples[1:] - 0.97 * samples[:-1])


@pytest.mark.parametrize(("length", "frames"), [(399, 0), (400, 1), (559, 1), (560, 2)])
def test_frame_view(length, frames):
    view = dsp.frame_view(np.arange(length, dtype=np.float32), 400, 160)
    assert view.shape == (frames, 400)
    assert not frames or view[-1, 0] == (frames - 1) * 160


@pytest.mark.parametrize(
    "name", ["hann", "hamming", "hamming_symmetric", "rectangular"]
)
def test_window_function(name):
    assert np.allclose(dsp.window_function(name, 400), reference.taper(name, 400))


def test_power_spectrum_by_the_definition_of_the_dft():
    frame = RNG.standard_normal((1, 20))
    n, k = np.arange(20), np.arange(17)[:, None]
    expected = np.abs((frame * np.exp(-2j * np.pi * k * n / 32)).sum(1)) ** 2
    assert np.allclose(dsp.power_spectrum(frame, 32)[0], expected)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_mel_scale_and_its_inverse(scale):
    hertz = np.array([0, 20, 500, 999.9, 1000, 1000.1, 4000, 8000, 20000.0])
    mels = dsp.hz_to_mel(hertz, scale)
    assert np.allclose(mels, [reference.mel(each, scale) for each in hertz])
    assert np.allclose(dsp.mel_to_hz(mels, scale), hertz)
    assert (np.diff(mels) > 0).all()


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("norm", ["none", "area"])
@pytest.mark.parametrize("edges", ["exact", "bins"])
def test_mel_filter_bank(scale, norm, edges):
    spec = FeatureSpec(mel_scale=scale, mel_norm=norm, mel_edges=edges, n_mels=40)
    bank = dsp.mel_filter_bank(
        sample_rate_hz=16000,
        n_fft=512,
        n_mels=40,
        f_min_hz=20.0,
        f_max_hz=8000.0,
        scale=scale,
        norm=norm,
        edges=edges,
    )
    assert np.allclose(bank.T, reference.filter_bank(spec))


@pytest.mark.parametrize(
    ("kind", "factor"), [("ln", np.log(10)), ("log10", 1), ("db", 10)]
)
def test_log_compress(kind, factor):
    power = np.array([[0.0, 1e-3, 1.0, 100.0]], np.float32)
    expected = np.array([[-6, -3, 0, 2]]) * factor
    assert np.allclose(dsp.log_compress(power, kind, 1e-6), expected, atol=1e-5)
    assert dsp.log_compress(power, kind, 1e-6, out=power) is power
    assert np.allclose(power, expected, atol=1e-5)


def test_limit_range():
    logs = np.array([[0.0, -50.0, -90.0]], np.float32)
    assert dsp.limit_range(logs, "db", 80.0).tolist() == [[0.0, -50.0, -80.0]]


def test_dct_matrix():
    ortho = dsp.dct_matrix(24, 24, "ortho")
    assert np.allclose(ortho.T @ ortho, np.eye(24))
    scipy_fft = pytest.importorskip("scipy.fft")
    x = RNG.standard_normal((3, 24))
    assert np.allclose(x @ ortho, scipy_fft.dct(x, norm="ortho"))
    assert np.allclose(x @ dsp.dct_matrix(24, 10, "none"), scipy_fft.dct(x)[:, :10])


def test_lifter_weights():
    assert (dsp.lifter_weights(13, 0) == 1).all()
    weights = dsp.lifter_weights(13, 22)
    assert weights[0] == 1
    assert weights[11] == pytest.approx(12)


def test_deltas():
    line = np.arange(20, dtype=np.float32)[:, None] * np.array([1.0, -3.0], np.float32)
    slopes = dsp.deltas(line)
    assert np.allclose(slopes[2:-2], [1, -3])
    theirs = pytest.importorskip("python_speech_features")
    noise = RNG.standard_normal((30, 4))
    assert np.allclose(dsp.deltas(noise), theirs.delta(noise, 2))
    assert np.allclose(
        dsp.deltas(dsp.deltas(noise)), theirs.delta(theirs.delta(noise, 2), 2)
    )


def test_standardise():
    frames = RNG.standard_normal((50, 3)) * 4 + 2
    normal = dsp.standardise(frames, frames.mean(0), frames.std(0))
    assert np.allclose(normal.mean(0), 0)
    assert np.allclose(normal.std(0), 1)


@pytest.mark.parametrize(
    "spec",
    [
        FeatureSpec(),
        FeatureSpec(n_mels=26, n_mfcc=13, pre_emphasis=0.97, liftering=22.0),
        FeatureSpec(log="db", mel_scale="slaney", mel_norm="area"),
    ],
)
def test_the_fast_path_is_these_steps(spec):
    """What `front_end` computes in blocks, step by step."""
    from edge_ser.features import mfcc

    samples = RNG.standard_normal(16000) * 0.1
    signal = samples
    if spec.pre_emphasis:
        signal = dsp.pre_emphasis(signal, spec.pre_emphasis)
    frames = dsp.frame_view(signal, spec.window_samples, spec.hop_samples)
    window = dsp.window_function(spec.window, spec.window_samples)
    bank = dsp.mel_filter_bank(
        sample_rate_hz=spec.sample_rate_hz,
        n_fft=spec.n_fft,
        n_mels=spec.n_mels,
        f_min_hz=spec.f_min_hz,
        f_max_hz=spec.f_max_hz,
        scale=spec.mel_scale,
        norm=spec.mel_norm,
        edges=spec.mel_edges,
    )
    mels = dsp.power_spectrum(frames * window, spec.n_fft) @ bank
    logs = dsp.log_compress(mels, spec.log, spec.log_floor)
    dct = dsp.dct_matrix(spec.n_mels, spec.n_mfcc, spec.dct_norm)
    cepstra = logs @ dct * dsp.lifter_weights(spec.n_mfcc, spec.liftering)
    scale = np.abs(cepstra).max()
    assert np.abs(mfcc(samples, spec) - cepstra).max() <= 1e-5 * scale
