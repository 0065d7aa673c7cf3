"""Resampling: no aliases, no delay, no dependence on blocks, bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_ser import resample as resampling
from edge_ser.errors import AudioError, ConfigError
from edge_ser.features import FeatureSpec, log_mel
from edge_ser.resample import ENGINES, Resampler, check_rate, resample
from voice import hiss, voice

RATES_HZ = [8000, 11025, 12000, 22050, 24000, 32000, 44100, 48000, 96000, 192000]
ODD_RATES_HZ = [8001, 15999, 47999, 191999]


@pytest.fixture(params=ENGINES)
def engine(request) -> str:
    if request.param == "soxr":
        pytest.importorskip("soxr")
    return request.param


def tone(frequency_hz: float, rate_hz: int, seconds: float = 1.0) -> np.ndarray:
    phase = 2 * np.pi * frequency_hz * np.arange(round(seconds * rate_hz)) / rate_hz
    return np.sin(phase).astype(np.float32)


def level_db(samples: np.ndarray, frequency_hz: float, rate_hz: int) -> float:
    """Of a tone in the middle of the signal, relative to full scale."""
    middle = samples[len(samples) // 8 : -len(samples) // 8].astype(np.float64)
    taper = np.hanning(len(middle))
    turn = np.exp(-2j * np.pi * frequency_hz * np.arange(len(middle)) / rate_hz)
    return 20 * np.log10(2 * abs((middle * taper * turn).sum()) / taper.sum() + 1e-12)


def test_10_khz_at_48_khz_does_not_come_back_at_6_khz(engine):
    out = resample(tone(10000, 48000), 48000, 16000, engine)
    assert level_db(out, 6000, 16000) < -60
    assert np.abs(out[100:-100]).max() < 1e-3


@pytest.mark.parametrize("rate_hz", [24000, 44100, 47999, 48000, 96000, 192000])
def test_what_lies_above_8_khz_is_gone(engine, rate_hz):
    for frequency_hz in (8500, 9000, 10000, 11500):
        out = resample(tone(frequency_hz, rate_hz), rate_hz, 16000, engine)
        assert np.abs(out[200:-200]).max() < 1e-3


@pytest.mark.parametrize("rate_hz", [44100, 47999, 48000])
def test_the_edge_of_the_builtin_low_pass(rate_hz):
    """Flat to 0.9 of the lower half rate, and 80 dB down from that rate on."""
    for frequency_hz in (6800, 7100, 7200):
        out = resample(tone(frequency_hz, rate_hz), rate_hz, 16000, "builtin")
        assert abs(level_db(out, frequency_hz, 16000)) < 0.05
    for frequency_hz in (8050, 8100, 8200, 8300):
        out = resample(tone(frequency_hz, rate_hz), rate_hz, 16000, "builtin")
        assert level_db(out, 16000 - frequency_hz, 16000) < -80


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_blocks_of_other_types(engine, rate_hz):
    """int16 is scaled as everywhere, and any float type and list of floats goes."""
    pcm = np.round(hiss(1, 0.1) * 32767).astype(np.int16)
    floats = pcm.astype(np.float32) / 32768
    expected = resample(floats, rate_hz, 16000, engine)
    for block in (pcm, floats.astype(np.float64), floats.tolist()):
        assert np.array_equal(resample(block, rate_hz, 16000, engine), expected)
        resampler = Resampler(rate_hz, 16000, engine)
        made = np.concatenate([resampler.push(block), resampler.flush()])
        assert np.array_equal(made, expected)


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_refused_blocks_leave_the_resampler_as_it_was(engine, rate_hz):
    resampler, sound = Resampler(rate_hz, 16000, engine), hiss(1, 0.1)
    parts = [resampler.push(sound[:5000])]
    for block in (np.zeros((100, 2)), np.zeros(9, np.int32), [np.nan], [[0], [0, 0]]):
        with pytest.raises(AudioError):
            resampler.push(block)
    parts += [resampler.push(sound[5000:]), resampler.flush()]
    whole = resample(sound, rate_hz, 16000, engine)
    assert np.allclose(np.concatenate(parts), whole, atol=1e-5)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.int64])
def test_rates_of_numpy_types(engine, kind):
    sound = hiss(1, 0.1)
    for from_hz, to_hz in ((44100, 16000), (47999, 16000), (16000, 44100)):
        made = resample(sound, kind(from_hz), kind(to_hz), engine)
        assert np.array_equal(made, resample(sound, from_hz, to_hz, engine))
    rate_hz = check_rate(kind(44100))
    assert type(rate_hz) is int
    assert type(Resampler(kind(44100), kind(16000), "builtin")._filter._down) is int


@pytest.mark.parametrize("rate_hz", [44100.0, "16000", None, [16000], np.nan])
def test_rates_that_are_no_integers(engine, rate_hz):
    for rates_hz in ((rate_hz, 16000), (16000, rate_hz)):
        with pytest.raises(AudioError, match="an integer, 8000 to 192000"):
            Resampler(*rates_hz, engine)


@pytest.mark.parametrize("rate_hz", [*RATES_HZ, *ODD_RATES_HZ])
def test_what_lies_below_passes_without_delay(engine, rate_hz):
    for frequency_hz in (100, 1000, 3400):
        out = resample(tone(frequency_hz, rate_hz), rate_hz, 16000, engine)
        expected = tone(frequency_hz, 16000)
        assert abs(len(out) - len(expected)) <= 1
        size = min(len(out), len(expected))
        assert np.abs(out[:size] - expected[:size])[400:-400].max() < 2e-3


@pytest.mark.parametrize("rate_hz", [8000, 11025, 12000, 8001])
def test_no_images_above_the_old_half_rate(engine, rate_hz):
    out = resample(tone(1000, rate_hz), rate_hz, 16000, engine)
    assert level_db(out, rate_hz - 1000, 16000) < -60


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30000), min_size=1, max_size=8),
    rate_hz=st.sampled_from([*RATES_HZ, *ODD_RATES_HZ]),
    engine=st.sampled_from(ENGINES),
)
@example(sizes=[1, 1], rate_hz=8001, engine="builtin")
def test_blocks_do_not_change_the_result(sizes, rate_hz, engine):
    if engine == "soxr":
        pytest.importorskip("soxr")
    samples = hiss(8, 0.1)[: sum(sizes)]
    resampler, parts, start = Resampler(rate_hz, 16000, engine), [], 0
    for size in sizes:
        parts.append(resampler.push(samples[start : start + size]))
        start += size
    parts.append(resampler.flush())
    whole = resample(samples, rate_hz, 16000, engine)
    joined = np.concatenate(parts)
    assert len(joined) == len(whole)
    assert np.abs(joined - whole).max(initial=0) < 1e-5


def test_the_two_engines_agree():
    pytest.importorskip("soxr")
    sound = voice(140, 2)
    spec = FeatureSpec(n_mfcc=None, n_mels=40, f_max_hz=7000.0)
    ours, theirs = (
        log_mel(resample(sound, 48000, 16000, engine), spec) for engine in ENGINES
    )
    assert np.abs(ours - theirs[: len(ours)]).max() < 0.05


def test_dc_passes_unchanged():
    for rate_hz in (8000, 44100, 47999):
        out = resample(np.full(rate_hz, 0.5, np.float32), rate_hz, 16000, "builtin")
        assert np.allclose(out[200:-200], 0.5, atol=1e-5)


def test_the_same_rate_is_left_alone():
    samples = voice(140, 0.1)
    assert resample(samples, 16000, 16000) is samples
    assert Resampler(16000, 16000).push(samples) is samples


def test_refusals(monkeypatch):
    for rate_hz in (0, 7999, 192001):
        with pytest.raises(AudioError, match="8000 to 192000"):
            Resampler(rate_hz, 16000)
    with pytest.raises(ConfigError, match="soxr, builtin"):
        Resampler(48000, 16000, "sinc")
    monkeypatch.setattr(resampling.importlib.util, "find_spec", lambda name: None)
    assert Resampler(48000, 16000).engine == "builtin"
    with pytest.raises(ConfigError, match="pip install soxr"):
        Resampler(48000, 16000, "soxr")


@pytest.mark.parametrize("rate_hz", [44100, 191999])
def test_memory_does_not_grow_with_the_stream(rate_hz):
    resampler = Resampler(rate_hz, 16000, "builtin")
    block = np.zeros(rate_hz // 10, np.float32)
    for _ in range(5):
        resampler.push(block)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(100):
        resampler.push(block)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 100_000
    assert peak < 30_000_000
