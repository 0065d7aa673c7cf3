"""FeatureSpec, clips and streams: shapes, refusals, and equality for every split."""

from __future__ import annotations

import dataclasses
import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ser.errors import AudioError, ConfigError
from edge_ser.features import (
    FeatureSpec,
    FeatureStream,
    check_samples,
    log_mel,
    mfcc,
    model_input,
    static_features,
)
from voice import voice

VOICE = voice(140, 12)
SPECS = {
    "mfcc": FeatureSpec(),
    "log_mel": FeatureSpec(n_mfcc=None),
    "emphasised": FeatureSpec(
        pre_emphasis=0.97, first_coefficient="log_energy", n_mels=26, n_mfcc=13
    ),
    "telephone": FeatureSpec(
        sample_rate_hz=8000, n_fft=256, f_max_hz=4000.0, n_mels=20, n_mfcc=None
    ),
    "hop_is_window": FeatureSpec(hop_ms=25.0),
}


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("window", "kaiser", "hann"),
        ("padding", "zero", "center"),
        ("sample_rate_hz", 10, "1000"),
        ("window_ms", 0.0, "window_ms"),
        ("window_ms", 2000.0, "1000"),
        ("hop_ms", 30.0, "window_ms"),
        ("hop_ms", 0.0, "sample"),
        ("n_fft", 256, "400"),
        ("n_mels", 0, "512"),
        ("f_min_hz", 9000.0, "half"),
        ("f_max_hz", 8001.0, "half"),
        ("log_floor", 0.0, "above 0"),
        ("n_mfcc", 65, "64"),
        ("n_mfcc", 0, "None"),
        ("top_db", -1.0, "0 or more"),
        ("pre_emphasis", 1.0, "below 1"),
        ("deltas", 3, "2"),
        ("frames_per_window", 0, "100000"),
        ("mean", (0.0,), "40 values"),
        ("std", (0.0,) * 40, "above 0"),
        ("sample_rate_hz", 16000.5, "an integer"),
        pytest.param("sample_rate_hz", 10**400, "1000", id="rate of 400 digits"),
        pytest.param("sample_rate_hz", 10**5000, "huge", id="5000 digits"),
        ("n_mels", 64.0, "an integer"),
        ("n_mels", "many", "an integer"),
        ("n_fft", 512.0, "an integer"),
        ("n_mfcc", 40.0, "an integer"),
        ("deltas", True, "an integer"),
        ("frames_per_window", None, "an integer"),
        ("top_db", "x", "a finite number"),
        ("liftering", {}, "a finite number"),
        ("liftering", np.nan, "a finite number"),
        ("liftering", 1e-300, "1 to 1e6"),
        pytest.param("window_ms", 10**400, "a finite number", id="400 digits"),
        ("hop_ms", 1e307, "at least one sample"),
        ("log_floor", 1e-300, "1e-37"),
        ("window", ["hann"], "text"),
        ("mean", ("a",) * 40, "finite numbers"),
        ("mean", [0.0] * 40, "finite numbers"),
        ("mean", (1e300,) * 40, "1e30"),
        ("std", (np.nan,) * 40, "finite numbers"),
        ("std", (1e-300,) * 40, "1e-30"),
    ],
)
def test_a_field_out_of_range_is_named(field, value, word):
    with pytest.raises(ConfigError, match=field) as caught:
        dataclasses.replace(FeatureSpec(), **{field: value})
    assert word in str(caught.value)


def test_json_round_trip():
    for spec in (*SPECS.values(), FeatureSpec(mean=(0.0,) * 40, std=(1.0,) * 40)):
        assert FeatureSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    with pytest.raises(ConfigError, match="n_mel'"):
        FeatureSpec.from_dict({"n_mel": 3})
    for values in ([], None, "n_mels"):
        with pytest.raises(ConfigError, match="no object"):
            FeatureSpec.from_dict(values)


@pytest.mark.parametrize(
    ("samples", "word"),
    [
        (np.zeros((2, 100), np.float32), "one dimension"),
        (np.zeros(100, np.int32), "int16"),
        (np.zeros(100, np.complex64), "int16"),
        (np.array(["a"]), "int16"),
        (np.array([0, np.nan, 0], np.float32), "sample 1"),
        (np.array([0, 0, -np.inf]), "sample 2"),
        (np.array([0, np.nan, 1e300]), "sample 1"),
        ([[0.0], [0.0, 0.0]], "different lengths"),
        (np.round(VOICE[:1000] * 32767), r"reach \d+; valid: floats in \[-1, 1\]"),
        (np.full(100, 11, np.float32), "reach 11;"),
        (np.full(100, 1e19, np.float32), "reach 1e\\+19"),
        (np.full(100, -1e30, np.float32), "reach 1e\\+30"),
        (np.array([0, 1e39]), "reach 1e\\+39"),
        (np.array([0, 1e300]), "reach 1e\\+300"),
    ],
)
def test_bad_samples(samples, word):
    for take in (check_samples, lambda x: log_mel(x, FeatureSpec())):
        with pytest.raises(AudioError, match=word):
            take(samples)


def test_good_samples():
    assert check_samples(np.array([-32768, 16384], np.int16)).tolist() == [-1.0, 0.5]
    assert check_samples([0.5]).dtype == np.float32
    clipping = np.full(10, 2.0, np.float32)  # more than full scale is no other unit
    assert check_samples(clipping) is clipping
    assert len(check_samples(np.ones(70_000, np.float16))) == 70_000
    assert check_samples(np.full(9, 1e-300)).tolist() == [0.0] * 9
    assert check_samples([]).shape == (0,)


def test_int16_gives_what_float_gives():
    pcm = np.round(VOICE[:16000] * 32767).astype(np.int16)
    for spec in SPECS.values():
        floats = static_features(pcm.astype(np.float32) / 32768, spec)
        assert np.array_equal(static_features(pcm, spec), floats)


def test_shapes():
    spec = FeatureSpec()
    assert mfcc(np.zeros(0, np.float32), spec).shape == (0, 40)
    assert log_mel(np.zeros(399, np.float32), spec).shape == (0, 64)
    assert mfcc(np.zeros(400, np.float32), spec).shape == (1, 40)
    with pytest.raises(ConfigError, match="log-mel"):
        mfcc(np.zeros(400, np.float32), FeatureSpec(n_mfcc=None))


def test_window_is_symmetric_under_gain():
    """10 dB more of power is a shift of each log band by 10 dB."""
    spec = FeatureSpec(n_mfcc=None, log="db")
    quiet, loud = log_mel(VOICE * 0.1, spec), log_mel(VOICE, spec)
    above = quiet > -55  # the floor is at -60
    assert np.allclose((loud - quiet)[above], 20, atol=0.05)


NORMALISATIONS = ["none", "window", "window_mean", "window_level", "stored"]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("deltas", [0, 1, 2])
def test_model_input(normalisation, deltas):
    count = 20 * (1 + deltas)
    spec = FeatureSpec(
        n_mfcc=20,
        deltas=deltas,
        normalisation=normalisation,
        frames_per_window=100,
        mean=tuple(np.linspace(-2, 2, count)),
        std=tuple(np.linspace(1, 3, count)),
    )
    frames = mfcc(VOICE, spec)[:100]
    window = model_input(frames, spec)
    assert window.shape == (100, count)
    assert window.dtype == np.float32
    if normalisation == "window":
        assert np.allclose(window.mean(0), 0, atol=1e-4)
        assert np.allclose(window.std(0), 1, atol=1e-3)
    if normalisation == "window_mean":
        assert np.allclose(window.mean(0), 0, atol=1e-4)
        assert np.allclose(window.std(0)[:20], frames.std(0), rtol=1e-4)
    if normalisation == "window_level":
        assert abs(float(window.mean())) < 1e-4
    if normalisation == "stored":
        expected = (frames - np.array(spec.mean[:20])) / np.array(spec.std[:20])
        assert np.allclose(window[:, :20], expected, atol=1e-4)
    with pytest.raises(ConfigError, match="shape"):
        model_input(frames[:-1], spec)


@pytest.mark.parametrize(
    ("normalisation", "loudness", "colour"),
    [("none", 0, 0), ("window_level", 1, 0), ("window_mean", 1, 1), ("window", 1, 1)],
)
def test_what_each_normalisation_makes_no_difference(normalisation, loudness, colour):
    """A gain shifts all log bands alike, a microphone's colour each by its own."""
    spec = FeatureSpec(n_mfcc=None, normalisation=normalisation, frames_per_window=50)
    frames = log_mel(VOICE, spec)[:50]
    shift = np.linspace(-3, 3, spec.n_mels, dtype=np.float32)
    alive = frames.std(0) > 0.1  # a constant band is nothing but rounding
    plain = model_input(frames, spec)
    for other, is_removed in ((frames + 2, loudness), (frames + shift, colour)):
        moved = np.abs(model_input(other, spec) - plain)[:, alive].max()
        assert (moved < 1e-4) == bool(is_removed)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_a_stream_gives_the_model_input_of_the_clip(normalisation):
    spec = FeatureSpec(
        deltas=1,
        normalisation=normalisation,
        frames_per_window=60,
        mean=(-1.0,) * 80,
        std=(2.0,) * 80,
    )
    stream, samples = FeatureStream(spec), VOICE[: spec.model_samples]
    blocks = np.split(samples, [1, 700, 701, 5000])
    frames = np.concatenate([stream.push(block) for block in blocks])
    close(model_input(frames, spec), model_input(mfcc(samples, spec), spec))


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_digital_silence_normalises_to_finite_values(normalisation):
    spec = FeatureSpec(
        normalisation=normalisation,
        frames_per_window=10,
        mean=(0.0,) * 40,
        std=(1.0,) * 40,
    )
    frames = mfcc(np.zeros(spec.model_samples, np.float32), spec)
    window = model_input(frames, spec)
    assert np.isfinite(window).all()
    if normalisation == "window_mean":
        assert np.abs(window).max() < 1e-3  # the rounding of a mean


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max(initial=0) <= 1e-4


# From one sample to ten seconds at 16 kHz.
block_sizes = st.lists(
    st.one_of(st.integers(1, 500), st.integers(1, 160_000), st.just(1)),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(sizes=block_sizes, name=st.sampled_from(list(SPECS)))
def test_a_stream_gives_the_frames_of_the_clip(sizes, name):
    spec = SPECS[name]
    stream, parts, start = FeatureStream(spec), [], 0
    for size in sizes:
        parts.append(stream.push(VOICE[start : start + size]))
        start += size
    close(np.concatenate(parts), static_features(VOICE[:start], spec))


def test_a_stream_one_sample_at_a_time():
    spec = SPECS["emphasised"]
    stream = FeatureStream(spec)
    parts = [stream.push(VOICE[i : i + 1]) for i in range(2000)]
    close(np.concatenate(parts), static_features(VOICE[:2000], spec))


def test_a_stream_does_not_keep_the_callers_block():
    spec = FeatureSpec()
    stream, block = FeatureStream(spec), VOICE[:500].copy()
    first = stream.push(block)
    block[:] = 0
    close(
        np.concatenate([first, stream.push(VOICE[500:1000])]), mfcc(VOICE[:1000], spec)
    )


def test_a_refused_block_leaves_the_stream_as_it_was():
    spec = SPECS["emphasised"]
    stream = FeatureStream(spec)
    parts = [stream.push(VOICE[:777])]
    with pytest.raises(AudioError):
        stream.push(np.full(500, np.nan))
    parts.append(stream.push(VOICE[777:2000]))
    close(np.concatenate(parts), static_features(VOICE[:2000], spec))


def test_reset():
    stream = FeatureStream(SPECS["emphasised"])
    first = stream.push(VOICE[:3000])
    stream.reset()
    assert np.array_equal(stream.push(VOICE[:3000]), first)


@pytest.mark.parametrize("field", [{"padding": "center"}, {"top_db": 80.0}])
def test_what_needs_the_whole_clip_does_not_stream(field):
    with pytest.raises(ConfigError, match="whole clip"):
        FeatureStream(FeatureSpec(**field))


def test_threads_share_a_spec():
    """Features of eight threads at once are those of one."""
    spec = FeatureSpec()
    clips = [VOICE[i * 1000 : i * 1000 + 40000] for i in range(8)]
    alone = [mfcc(clip, spec) for clip in clips]
    wrong = []

    def work(index: int) -> None:
        for _ in range(10):
            if not np.array_equal(mfcc(clips[index], spec), alone[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
