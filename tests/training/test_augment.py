import dataclasses

import numpy as np
import pytest

pytest.importorskip("tqdm", reason="the training tests need Python 3.11 or 3.12")

from benchmarks.perturbations import in_room
from edge_ser.errors import ConfigError
from edge_ser.features import FeatureSpec, static_features
from training.augment import Augmentation, WindowSampler, model_inputs
from training.dataset import FeatureSet, read_clip, silent_frame
from training.recordings import training_recordings

SPEC = FeatureSpec(n_mfcc=None, n_mels=20, frames_per_window=40)
LENGTHS = (40, 90, 25)


@pytest.fixture
def features():
    random = np.random.default_rng(0)
    frames = random.normal(-4, 2, (sum(LENGTHS), 20)).astype(np.float32)
    return FeatureSet(SPEC, (None,) * 3, frames, np.cumsum([0, *LENGTHS]))


def sampler(features, seed=0, **settings):
    return WindowSampler(features, Augmentation(**settings), seed)


def test_without_variation_a_window_is_a_part_of_the_clip(features):
    windows = sampler(features).windows(np.array([0, 1]))
    np.testing.assert_array_equal(windows[0], features.clip_frames(0))
    clip = features.clip_frames(1)
    matches = [np.array_equal(windows[1], clip[s : s + 40]) for s in range(51)]
    assert sum(matches) == 1


def test_a_short_clip_lies_whole_between_silence(features):
    window = sampler(features).windows(np.array([2]))[0]
    clip, silence = features.clip_frames(2), silent_frame(SPEC)
    spoken = np.flatnonzero((window != silence).any(1))
    assert len(spoken) == 25
    np.testing.assert_array_equal(window[spoken[0] : spoken[-1] + 1], clip)


def test_the_seed_decides_everything(features):
    settings = {
        "time_warp": 0.2,
        "frequency_warp": 0.1,
        "gain_db": 6.0,
        "noise_snr_db": (0.0, 20.0),
    }
    index = np.array([0, 1, 2, 1])
    one = sampler(features, 1, **settings).windows(index)
    np.testing.assert_array_equal(one, sampler(features, 1, **settings).windows(index))
    other = sampler(features, 2, **settings).windows(index)
    assert one.shape == other.shape == (4, 40, 20)
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    assert not np.array_equal(one, other)


def test_gain_shifts_by_decibels(features):
    varied = sampler(features, gain_db=10.0).windows(np.zeros(200, int))
    shift_db = (varied - features.clip_frames(0)) * 10 / np.log(10)
    free = shift_db[:, varied[0] > np.log(SPEC.log_floor) + 5]
    assert np.ptp(free, axis=1).max() < 1e-3
    assert -10 <= free.min() < -9
    assert 9 < free.max() <= 10


def test_noise_adds_power_and_never_takes_it(features):
    index = np.zeros(100, int)
    noisy = sampler(features, noise_snr_db=(0.0, 0.0)).windows(index)
    added = noisy - features.clip_frames(0)
    assert added.min() > -1e-4
    changed = (added > 1e-3).any((1, 2))
    assert 0.3 < changed.mean() < 0.7


def test_a_room_lets_each_band_decay_at_its_reverberation_time(features):
    """The slope after an impulse is 60 dB per reverberation time."""
    frames = np.full((40, 20), -13.0, np.float32)
    frames[5] = 8.0
    impulse = FeatureSet(SPEC, (None,), frames, np.array([0, 40]))
    room = {
        "reverberation": 1.0,
        "reverberation_s": (0.4, 0.4),
        "direct_to_reverberant_db": (0.0, 0.0),
    }
    heard = sampler(impulse, **room).windows(np.zeros(400, int))
    hop_s = SPEC.hop_samples / SPEC.sample_rate_hz
    decay_db = 10 / np.log(10) * np.polyfit(np.arange(25), heard[:, 8:33, 0].mean(0), 1)
    assert decay_db[0] / hop_s == pytest.approx(-60 / 0.4, rel=0.02)
    powers = np.exp(heard)
    # as much energy late as direct, and the window no louder than before
    late = powers[:, 6:, 0].sum(1) / powers[:, 5, 0]
    assert late.mean() == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(powers.mean((1, 2)), np.exp(frames).mean(), rtol=1e-4)
    # the highest band decays up to twice as fast
    ratio = (
        np.log(powers[:, 8, 19] / powers[:, 28, 19]).mean()
        / np.log(powers[:, 8, 0] / powers[:, 28, 0]).mean()
    )
    assert 1.2 < ratio < 2


def test_waves_that_meet_add_their_powers_on_average(features):
    """Two equal powers: twice one, between none and four times, by |a + b|**2."""
    one = np.ones((200, 40, 20), np.float32)
    both = sampler(features, interference=True)._at_once(one, one)
    assert both.mean() == pytest.approx(2, rel=0.02)
    # 2 cos(phase) of one component has a variance of 2, of six components a third
    assert both[..., 0].std() == pytest.approx(2**0.5, rel=0.1)
    assert both[..., -1].std() == pytest.approx((2 / 6) ** 0.5, rel=0.1)
    assert both.min() > 0
    np.testing.assert_array_equal(sampler(features)._at_once(one, one), 2 * one)


def test_interference_makes_frames_as_rough_as_recorded_rooms_do(corpora_folder):
    """Changes of loud frames from one to the next, dB: in rooms, and made on frames."""
    spec = dataclasses.replace(
        SPEC, window_ms=32.0, hop_ms=20.0, f_min_hz=50.0, n_mels=32
    )
    files = sorted((corpora_folder / "ravdess").rglob("*.flac"))[::120]
    clips = [read_clip(file, 16000) for file in files]
    frames = [static_features(clip, spec) for clip in clips]

    def roughness(index, heard):
        dry = frames[index][: len(heard)]
        loud = dry > dry.mean(0) + dry.std(0)
        change_db = 10 / np.log(10) * np.where(loud, heard - dry, np.nan)
        return np.nanmean(np.abs(np.diff(change_db, axis=0)))

    recorded = [
        roughness(index, static_features(in_room(clip, read_clip(file, 16000)), spec))
        for file in training_recordings("rir", corpora_folder)
        for index, clip in enumerate(clips)
    ]

    def made(interference):
        rough = []
        for index, dry in enumerate(frames):
            clip = dataclasses.replace(spec, frames_per_window=len(dry))
            alone = FeatureSet(clip, (None,), dry, np.array([0, len(dry)]))
            room = {
                "reverberation": 1.0,
                "reverberation_s": (0.35, 0.8),
                "direct_to_reverberant_db": (-2.0, 4.0),
            }
            windows = sampler(alone, interference=interference, **room).windows(
                np.zeros(8, int)
            )
            rough += [roughness(index, window) for window in windows]
        return np.mean(rough)

    assert made(interference=True) == pytest.approx(np.mean(recorded), rel=0.15)
    assert made(interference=False) < 0.8 * np.mean(recorded)


def test_only_the_share_of_windows_is_heard_in_a_room(features):
    heard = sampler(features, reverberation=0.3).windows(np.zeros(300, int))
    changed = (heard != features.clip_frames(0)).any((1, 2))
    assert 0.2 < changed.mean() < 0.4
    assert np.isfinite(heard).all()


def test_noise_that_adds_as_waves_stays_finite(features):
    """Waves of one power that cancel leave nothing, and its logarithm is no number."""
    noisy = sampler(features, noise_snr_db=(0.0, 0.0), interference=True)
    assert np.isfinite(noisy.windows(np.zeros(100, int))).all()


def test_an_equaliser_shifts_bands_smoothly(features):
    loud = dataclasses.replace(features, frames=features.frames + 20)
    varied = sampler(loud, equaliser_db=6.0).windows(np.zeros(200, int))
    shift_db = (varied - loud.clip_frames(0)) * 10 / np.log(10)
    assert np.ptp(shift_db, axis=1).max() < 1e-3  # the same in every frame
    assert -6 <= shift_db.min() < -5
    assert 5 < shift_db.max() <= 6 + 1e-4
    # straight between five points of twenty bands
    assert np.abs(np.diff(shift_db[:, 0], axis=1)).max() <= 12 * 4 / 19 + 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reverberation": 1.5}, "reverberation is 1.5; valid: 0 to 1"),
        ({"reverberation_s": (0.0, 1.0)}, "valid: above 0"),
        ({"reverberation_s": (1.0, 0.5)}, "valid: low, high"),
        ({"direct_to_reverberant_db": (9.0, 0.0)}, "valid: low, high"),
        ({"equaliser_db": -1.0}, "equaliser_db is -1.0; valid: 0 and more"),
    ],
)
def test_impossible_rooms_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Augmentation(**settings)


def test_masks_put_the_mean_in_stripes(features):
    inputs = model_inputs(sampler(features).windows(np.zeros(50, int)), SPEC)
    masked = sampler(
        features,
        time_masks=1,
        time_mask_frames=10,
        frequency_masks=1,
        frequency_mask_bands=5,
    ).mask(inputs)
    differs = masked != inputs
    assert differs.any()
    assert differs.all(2).sum(1).max() <= 10
    assert differs.all(1).sum(1).max() <= 5
    filled = np.where(differs, masked, np.nan)
    assert np.nanmax(np.abs(np.nanmax(filled, (1, 2)) - inputs.mean((1, 2)))) < 1e-4


def test_mixup_keeps_the_weight_of_targets(features):
    inputs = np.ones((8, 40, 20), np.float32) * np.arange(8)[:, None, None]
    targets = np.eye(8, dtype=np.float32)
    mixed, mixed_targets = sampler(features, mixup=0.5).mix(
        inputs.astype(np.float32), targets
    )
    np.testing.assert_allclose(mixed_targets.sum(1), 1, rtol=1e-6)
    # inputs and targets are mixed with the same partner and weight
    np.testing.assert_allclose(mixed[:, 0, 0], mixed_targets @ np.arange(8), rtol=1e-4)
    assert (mixed_targets.max(1) >= 0.5).all()


def test_recorded_noise_comes_at_its_snr(features):
    random = np.random.default_rng(5)
    hiss = random.normal(-3, 0.3, (300, 20)).astype(np.float32)
    noisy_set = dataclasses.replace(features, noise=(hiss,))
    index = np.zeros(60, int)
    noisy = sampler(noisy_set, noise_snr_db=(10.0, 10.0)).windows(index)
    clean = features.clip_frames(0)
    changed = (noisy - clean > 1e-3).any((1, 2))
    assert 0.3 < changed.mean() < 0.7
    added = np.exp(noisy[changed]) - np.exp(clean)
    speech = np.quantile(np.exp(clean).sum(1), 0.9)
    snr_db = 10 * np.log10(speech / added.sum(2).mean(1))
    np.testing.assert_allclose(snr_db, 10, atol=0.5)
    # and its spectrum is that of the recording, band by band
    assert np.ptp(np.log(added.mean((0, 1))) - hiss.mean(0)) < 1


def test_every_epoch_draws_one_of_the_versions(features):
    louder = dataclasses.replace(features, frames=features.frames + 100)
    both = dataclasses.replace(features, copies=(louder,))
    windows = sampler(both).windows(np.zeros(200, int))
    of_copy = windows.mean((1, 2)) > 50
    assert 0.4 < of_copy.mean() < 0.6
    np.testing.assert_array_equal(windows[~of_copy][0], features.clip_frames(0))


def test_cepstra_are_varied_as_spectra(features):
    spec = dataclasses.replace(SPEC, n_mfcc=8)
    cepstra = features.with_spec(spec)
    inputs = model_inputs(
        sampler(cepstra, gain_db=10.0).windows(np.zeros(20, int)), spec
    )
    assert inputs.shape == (20, 40, 8)
    # gain is in the first coefficient alone (where nothing is cut at the floor)
    free = (features.clip_frames(0) > np.log(SPEC.log_floor) + 3).all(1)
    assert np.ptp(inputs[:, free, 0], axis=0).min() > 1
    assert np.ptp(inputs[:, free, 1:], axis=0).max() < 1e-3
    energy = dataclasses.replace(spec, first_coefficient="log_energy")
    samples = dataclasses.replace(features, samples=True)
    for others in (features.with_spec(energy), samples):
        with pytest.raises(ConfigError, match="vary log-mel frames"):
            sampler(others, gain_db=10.0)
