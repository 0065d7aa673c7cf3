import pathlib
import wave

import numpy as np
import pytest

pytest.importorskip("soxr", reason="needs the extra 'files'")
pytest.importorskip("tqdm", reason="the training tests need Python 3.11 or 3.12")

from edge_ser.features import FeatureSpec, static_features
from training import extraction
from training.corpora import Clip
from training.dataset import (
    coefficients,
    read_clip,
    silent_frame,
    stored_statistics,
    window_starts,
)
from training.errors import CorpusError
from training.extraction import extract
from training.variation import Copies

SPEC = FeatureSpec(n_mfcc=None, n_mels=20, frames_per_window=50)


def write_wav(path: pathlib.Path, samples, rate_hz=16000, channels=1) -> Clip:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate_hz, 0, "NONE", ""))
        file.writeframes((np.asarray(samples) * 32767).astype("<i2").tobytes())
    return Clip(
        path=path,
        corpus="emodb",
        speaker="03",
        gender="male",
        emotion="happy",
        sentence="a01",
        language="de",
    )


def noise(seconds, seed=0):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, int(16000 * seconds))


def test_clips_lie_end_to_end_and_duplicates_are_left_out(tmp_path):
    clips = [
        write_wav(tmp_path / "a.wav", noise(1)),
        write_wav(tmp_path / "b.wav", noise(0.5, seed=1)),
        write_wav(tmp_path / "c.wav", noise(1)),
    ]
    features = extract(clips, SPEC)
    assert [clip.name for clip in features.clips] == ["a", "b"]
    for index, clip in enumerate(features.clips):
        expected = static_features(read_clip(clip.path, 16000), SPEC)
        np.testing.assert_array_equal(features.clip_frames(index), expected)
    second = features.subset([1])
    np.testing.assert_array_equal(second.clip_frames(0), features.clip_frames(1))


def test_the_cache_gives_the_same_and_follows_the_spec(tmp_path):
    clips = [write_wav(tmp_path / "a.wav", noise(1))]
    cache = tmp_path / "cache"
    first, again = extract(clips, SPEC, cache), extract(clips, SPEC, cache)
    np.testing.assert_array_equal(first.frames, again.frames)
    assert len(list(cache.iterdir())) == 1
    extract(clips, FeatureSpec(frames_per_window=50), cache)
    assert len(list(cache.iterdir())) == 2


def test_a_damaged_cache_is_computed_again(tmp_path):
    clips = [write_wav(tmp_path / "a.wav", noise(1))]
    cache = tmp_path / "cache"
    expected = extract(clips, SPEC, cache).frames
    (file,) = cache.rglob("*.npy")
    for content in (b"", file.read_bytes()[:200], b"PK\x03\x04 and no more"):
        file.write_bytes(content)
        np.testing.assert_array_equal(extract(clips, SPEC, cache).frames, expected)


def test_other_rates_and_channels(tmp_path):
    tone = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100) * 0.5
    clip = write_wav(tmp_path / "a.wav", np.repeat(tone, 2), 44100, channels=2)
    samples = read_clip(clip.path, 16000)
    assert len(samples) == 16000
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000) * 0.5
    assert np.abs(samples - expected)[500:-500].max() < 1e-3


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all" * 100])
def test_what_is_no_audio_is_refused(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"a\.wav"):
        read_clip(path, 16000)


def test_windows_cover_the_clip_to_its_last_frame():
    assert window_starts(30, 50, 10) == [0]
    assert window_starts(50, 50, 10) == [0]
    assert window_starts(75, 50, 10) == [0, 10, 20, 25]
    assert window_starts(70, 50, 10) == [0, 10, 20]


def test_samples_are_frames_of_their_own(tmp_path):
    clip = write_wav(tmp_path / "a.wav", noise(0.5))
    other = write_wav(tmp_path / "b.wav", noise(0.25, seed=1))
    cache = tmp_path / "cache"
    for _ in range(2):  # computed, and kept
        features = extract([clip, other], SPEC, cache, samples=True)
        expected = read_clip(clip.path, 16000)[:, None]
        np.testing.assert_array_equal(features.clip_frames(0), expected)
    assert features.subset([1]).silent_frame() == 0
    assert extract([clip], SPEC, cache).clip_frames(0).shape[1] == 20


def test_silence_lies_on_the_floor():
    np.testing.assert_allclose(silent_frame(SPEC), np.log(SPEC.log_floor), rtol=1e-6)


def test_statistics_weigh_clips_alike(tmp_path):
    clips = [
        write_wav(tmp_path / "long.wav", noise(4) * 0.01),
        write_wav(tmp_path / "short.wav", noise(1)),
    ]
    features = extract(clips, SPEC)
    mean, std = stored_statistics(features)
    means = [features.clip_frames(index).mean(0) for index in (0, 1)]
    np.testing.assert_allclose(mean, np.mean(means, 0), rtol=1e-4)
    assert (std > 3).all()  # half of the 9 nats between the two levels


def test_copies_are_versions_of_the_same_clips(tmp_path):
    clips = [write_wav(tmp_path / f"{n}.wav", noise(1, n)) for n in range(3)]
    copies = Copies(count=2, speed=0.2)
    features = extract(clips, SPEC, tmp_path / "cache", copies=copies)
    assert [copy.clips for copy in features.copies] == [features.clips] * 2
    lengths = {len(copy.clip_frames(0)) for copy in (features, *features.copies)}
    assert len(lengths) == 3
    again = extract(clips, SPEC, tmp_path / "cache", copies=copies)
    np.testing.assert_array_equal(again.copies[1].frames, features.copies[1].frames)
    elsewhere = extract(clips, SPEC, copies=copies)
    np.testing.assert_array_equal(elsewhere.copies[1].frames, again.copies[1].frames)
    part = features.subset([2])
    np.testing.assert_array_equal(
        part.copies[0].clip_frames(0), features.copies[0].clip_frames(2)
    )


def test_unreadable_clips_are_named_and_skipped_only_if_asked(tmp_path, capsys):
    clips = [write_wav(tmp_path / f"{n}.wav", noise(1, n)) for n in range(3)]
    clips[1].path.write_bytes(b"RIFF")
    with pytest.raises(CorpusError, match=r"1 unreadable clip.*1\.wav.*--skip-bad"):
        extract(clips, SPEC)
    features = extract(clips, SPEC, skip_bad=True)
    assert [clip.name for clip in features.clips] == ["0", "2"]
    assert "1.wav" in capsys.readouterr().out
    clips[0].path.unlink()
    with pytest.raises(CorpusError, match=r"2 unreadable"):
        extract(clips, SPEC)
    with pytest.raises(CorpusError, match="no readable clip"):
        extract(clips[:2], SPEC, skip_bad=True)


def test_frames_of_cepstra_are_mels_until_they_are_asked_for(tmp_path):
    clip = write_wav(tmp_path / "a.wav", noise(1))
    spec = FeatureSpec(n_mels=40, n_mfcc=13, liftering=22.0, frames_per_window=50)
    features = extract([clip], spec)
    assert features.frames.shape[1] == 40
    expected = static_features(read_clip(clip.path, 16000), spec)
    np.testing.assert_allclose(coefficients(features.frames, spec), expected, atol=1e-4)
    energy = FeatureSpec(n_mels=40, n_mfcc=13, first_coefficient="log_energy")
    expected = static_features(read_clip(clip.path, 16000), energy)
    np.testing.assert_array_equal(extract([clip], energy).frames, expected)


def test_many_clips_are_computed_in_parallel(tmp_path, monkeypatch):
    clips = [write_wav(tmp_path / f"{n}.wav", noise(0.1, n)) for n in range(6)]
    alone = extract(clips, SPEC)
    monkeypatch.setattr(extraction, "_WORTH_PROCESSES", 1)
    monkeypatch.setattr(extraction.os, "cpu_count", lambda: 2)
    together = extract(clips, SPEC)
    np.testing.assert_array_equal(together.frames, alone.frames)
