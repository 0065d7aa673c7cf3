import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ser import bundle
from edge_ser.adaptation import (
    Adaptation,
    AdaptationSettings,
    spectral_shape,
    syllabic,
)
from edge_ser.audio.file import read_blocks
from edge_ser.classifier import Classifier
from edge_ser.errors import BundleError, ConfigError
from edge_ser.features import FeatureSpec
from edge_ser.pipeline import Pipeline
from edge_ser.vad import GateSettings
from tiny_model import TINY_MODEL

BANDS, FRAMES = 8, 20
SPEC = FeatureSpec(n_mfcc=None, n_mels=BANDS, frames_per_window=FRAMES)
TILT = np.linspace(-6, 6, BANDS)
HOP_S = 0.5
SYLLABLES = 3 * np.sin(2 * np.pi * np.arange(FRAMES) / FRAMES)[:, None]


def windows(count, colour=0.0, seed=0):
    """Of many voices, each a unit apart from the others in every band, in one place."""
    random = np.random.default_rng(seed)
    voices = random.normal(0, 1, (count, 1, BANDS))
    frames = voices + random.normal(0, 1, (count, FRAMES, BANDS)) + colour
    return (frames + SYLLABLES).astype(np.float32)


def murmur(seconds, seed=0):
    """Noise at 16 kHz that swells and ebbs three times a second, as speech does."""
    times = np.arange(int(16000 * seconds)) / 16000
    noise = np.random.default_rng(seed).normal(0, 0.1, len(times))
    return (noise * (1.05 + np.sin(2 * np.pi * 3 * times))).astype(np.float32)


def adaptation(**settings):
    return Adaptation(
        SPEC, np.zeros(BANDS), np.ones(BANDS), AdaptationSettings(**settings)
    )


def test_where_training_speakers_might_stand_nothing_is_changed():
    used = adaptation()
    for window in windows(200):
        np.testing.assert_array_equal(used.push(window, HOP_S), window)


def test_what_a_place_does_to_everybody_is_taken_off():
    used, given = adaptation(), windows(400, TILT)
    heard = [used.push(window, HOP_S) for window in given]
    np.testing.assert_array_equal(heard[0], given[0])  # nothing is known yet
    last = np.mean([window.mean(0) for window in heard[-100:]], 0)
    assert np.abs(last).max() < 0.25 * TILT.max()
    np.testing.assert_allclose(used.correction, TILT, atol=1)


def test_it_is_believed_as_more_is_heard_and_another_place_is_learned():
    used = adaptation(memory_s=30.0)
    sizes = []
    for window in windows(120, TILT):
        used.push(window, HOP_S)
        sizes.append(float(used.correction[-1]))
    assert 0 == sizes[0] < sizes[10] < sizes[40] < 7
    assert used.heard_s == 30
    for window in windows(240, -TILT):
        used.push(window, HOP_S)
    assert used.correction[-1] < -3
    used.reset()
    assert used.heard_s == 0
    np.testing.assert_array_equal(used.correction, 0)


def test_a_shape_is_of_the_louder_frames_and_has_no_level():
    loud, quiet = np.array([3.0, 5.0]), np.array([-9.0, -8.0])
    window = np.array([loud, quiet, loud, quiet], np.float32)
    spec = FeatureSpec(n_mfcc=None, n_mels=2)
    np.testing.assert_allclose(spectral_shape(window, spec), [-1, 1])
    np.testing.assert_allclose(spectral_shape(window + 7, spec), [-1, 1])
    cepstra = FeatureSpec(n_mfcc=2, n_mels=40)
    np.testing.assert_allclose(spectral_shape(window, cepstra), [0, 5])


@pytest.mark.parametrize("name", bundle.SHIPPED)
def test_a_room_is_learned_from_what_murmurs_and_not_from_its_silence(name):
    """What firmware without a gate would push, day and night."""
    classifier = Classifier.load(name)
    random = np.random.default_rng(0)
    hiss = random.normal(0, 1, 160_000)
    rumble = np.convolve(hiss, np.ones(200) / 200, "same")
    seconds = np.arange(160_000) / 16000
    sounds = {
        "silence": 0 * hiss,
        "dither": random.integers(-1, 2, 160_000) / 32768,
        "hiss": 0.001 * hiss,
        "rumble": 0.05 * rumble,
        "hum": 0.01 * np.sin(2 * np.pi * 49.97 * seconds) + 3e-4 * hiss,
        "fan": 0.01 * hiss * 10 ** (0.5 / 20 * np.sin(2 * np.pi * seconds)),  # ±0.5 dB
        # A switch that bounces: digital silence is no sound, noise alone no speech.
        "muted now and then": 0.01 * hiss * (seconds % 1 > 0.5),
        "tap": 0.3 * hiss,
    }
    used = classifier.adaptation()
    stream = classifier.stream(adaptation=used)
    for sound, samples in sounds.items():
        stream.push(samples.astype(np.float32))
        assert used.heard_s == 0, sound
        stream.reset()
    # Silence completes a clip that is shorter than a window.
    for length_s in (0.1, 0.5, 1.0, 1.8):
        clip = 0.1 * hiss[: int(16000 * length_s)]
        classifier.classify(clip, 16000, adaptation=used)
        assert used.heard_s == 0, length_s
    classifier.classify(murmur(1.5), 16000, adaptation=used)
    assert used.heard_s > 0
    used.reset()
    answers = stream.push(murmur(10))
    assert used.heard_s == pytest.approx(len(answers) * classifier.card.hop_s)


@pytest.mark.parametrize("name", ["standard", "mfcc"])
def test_recorded_speech_counts_and_recorded_noise_does_not(name, corpora_folder):
    classifier = Classifier.load(name)
    hop_s = classifier.card.hop_s

    def counted(files):
        """The share of the answers that taught something."""
        used, answers = classifier.adaptation(AdaptationSettings(memory_s=1e4)), 0
        for file in files:
            sound = np.concatenate([*read_blocks(file, 16000)])
            sound = np.resize(sound, max(len(sound), 64000))
            answers += len(classifier.stream(adaptation=used).push(sound))
        assert answers > 4
        return used.heard_s / (answers * hop_s)

    # Steady ones; what swells or ticks, and one rain does, is taken for a voice.
    for noise in ("fire_crackling", "rain_1-17367", "rain_1-26222", "running_tap"):
        assert counted(corpora_folder.glob(f"noise/*{noise}*.flac")) == 0, noise
    for corpus in ("emodb", "emovo", "nemo", "ravdess"):
        clips = sorted((corpora_folder / corpus).rglob("*.flac"))
        share = counted(clips[:: len(clips) // 20])
        assert share > 0.85, corpus


@pytest.mark.parametrize("kind", [{"n_mfcc": None}, {"n_mfcc": 13}])
def test_only_a_level_that_lasts_longer_than_a_frame_is_syllabic(kind):
    spec = FeatureSpec(n_mels=40, **kind)
    random = np.random.default_rng(0)
    frames = np.arange(200)

    def of(level):
        rest = random.normal(0, 1, (200, spec.n_static))
        return syllabic((rest + 20 * level[:, None]).astype(np.float32), spec)

    assert of(np.sin(frames / 5)) > 0.7  # 3 Hz
    assert abs(of(random.normal(0, 1, 200))) < 0.3
    assert of(np.sin(frames)) < 0  # 16 Hz: it is over before the lag
    # Too short a window has nothing to be compared with.
    assert syllabic(np.ones((3, spec.n_static), np.float32), spec) == 0


@pytest.mark.parametrize("bands", [40, 128, 256, 512])
@pytest.mark.parametrize("value", [-13.815511, -120.0, 7.3])
def test_what_rounding_leaves_of_a_steady_level_is_no_syllable(bands, value):
    spec = FeatureSpec(n_mfcc=None, n_mels=bands, n_fft=4096)
    random = np.random.default_rng(0)
    frames = np.full((96, bands), value, np.float32)
    assert syllabic(frames, spec) == 0
    frames[40:] = np.nextafter(frames[40:], np.float32(0))
    frames[:, 0] += random.normal(0, 1e-5, 96).astype(np.float32)
    assert syllabic(frames, spec) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_numbers_that_are_none_teach_nothing(value):
    used = adaptation()
    window = windows(1)[0]
    window[3] = value
    with np.errstate(all="ignore"):
        used.push(window, HOP_S)
    assert used.heard_s == 0
    assert np.isfinite(used.correction).all()


def test_deltas_are_left_alone():
    spec = dataclasses.replace(SPEC, deltas=1)
    used = Adaptation(spec, np.zeros(BANDS), np.full(BANDS, 0.1))
    for window in windows(50, TILT):
        both = np.concatenate([window, window], 1)
        heard = used.push(both, HOP_S)
    np.testing.assert_array_equal(heard[:, BANDS:], window)
    assert np.abs(heard[:, :BANDS] - window).max() > 1


def test_a_feature_that_never_varies_does_not_outweigh_the_others():
    spec = FeatureSpec(n_mfcc=None, n_mels=2)
    used = Adaptation(spec, np.zeros(2), [0.0, 1.0])
    window = (SYLLABLES + np.array([1e-4, -1e-4])).astype(np.float32)
    for _ in range(100):
        np.testing.assert_array_equal(used.push(window, HOP_S), window)


def test_the_estimate_is_james_and_steins():
    """By hand: 5 of 5 + 10 s, so a third of 9 in one band and -9 in another."""
    used = Adaptation(FeatureSpec(n_mfcc=None, n_mels=2), [0, 0], [1, 2])
    for _ in range(10):
        used.push((SYLLABLES + np.array([9.0, -9.0])).astype(np.float32), 0.5)
    far = (3.0**2 + (3.0 / 2) ** 2) / 2
    np.testing.assert_allclose(
        used.correction, [3 * (1 - 1 / far), -3 * (1 - 1 / far)], rtol=1e-6
    )


@pytest.mark.parametrize("spec", [SPEC, FeatureSpec(n_mfcc=13, n_mels=40)])
@given(value=st.floats(-50, 50, width=32), frames=st.integers(1, 200))
def test_frames_that_are_all_equal_are_no_trouble(spec, value, frames):
    window = np.full((frames, spec.n_features), value, np.float32)
    assert np.isfinite(spectral_shape(window, spec)).all()


@pytest.mark.parametrize("hertz", [0, 100, 200, 400, 700, 1000])
def test_a_steady_tone_poisons_no_stream(hertz):
    classifier = Classifier.load("mfcc")
    used = classifier.adaptation()
    seconds = np.arange(6 * 16000) / 16000
    tone = (0.1 * np.sin(2 * np.pi * hertz * seconds)).astype(np.float32)
    classifier.stream(adaptation=used).push(tone)
    assert np.isfinite(used.correction).all()


@pytest.mark.parametrize(
    ("mean", "spread"), [([0.0], [1.0]), ([0.0] * BANDS, [np.nan] * BANDS)]
)
def test_other_numbers_are_refused(mean, spread):
    with pytest.raises(ConfigError, match="one a static feature"):
        Adaptation(SPEC, mean, spread)


def test_another_models_adaptation_is_refused():
    with pytest.raises(ConfigError, match="another model"):
        Classifier.load("standard").stream(
            adaptation=Classifier.load("mfcc").adaptation()
        )


def test_seconds_are_those_of_the_streams_hop():
    classifier = Classifier.load("nano")
    heard = []
    for hop_s in (0.1, 0.5):
        used = classifier.adaptation()
        classifier.stream(hop_s, adaptation=used).push(murmur(10))
        heard.append(used.heard_s)
    np.testing.assert_allclose(heard, 8.5, atol=0.6)


@pytest.mark.parametrize("values", [{"prior_s": 0.0}, {"memory_s": float("nan")}])
def test_settings_out_of_range(values):
    with pytest.raises(ConfigError, match="valid"):
        AdaptationSettings(**values)


@pytest.fixture(scope="module")
def tinted():
    """The tiny model, whose card tells of speakers who sound dull."""
    read = bundle.read(TINY_MODEL)
    bands = read.card.features.n_features
    tilt = np.linspace(-5, 5, bands).tolist()
    speakers = {"mean": tilt, "spread": [0.1] * bands}
    card = dataclasses.replace(read.card, speakers=speakers)
    return bundle.unpack(bundle.pack(card, read.model))


def load(read):
    classifier = Classifier.load(TINY_MODEL)
    return Classifier(read, classifier.interpreter)


def test_clips_of_one_place_change_the_answer_and_clips_alone_do_not(tinted):
    classifier = load(tinted)
    clip = murmur(3)
    alone = classifier.classify(clip, 16000)
    used = classifier.adaptation()
    first = classifier.classify(clip, 16000, adaptation=used)
    for _ in range(20):
        last = classifier.classify(clip, 16000, adaptation=used)
    assert used.heard_s > 10
    assert last.probabilities != first.probabilities
    assert classifier.classify(clip, 16000) == alone


def test_predictions_are_the_same_however_the_blocks_are_cut(tinted):
    classifier = load(tinted)
    voice = murmur(10, seed=1)
    whole = classifier.stream(adaptation=classifier.adaptation()).push(voice)
    stream = classifier.stream(adaptation=classifier.adaptation())
    assert [p for block in np.split(voice, 1000) for p in stream.push(block)] == whole
    plain = classifier.stream().push(voice)
    assert [p.probabilities for p in whole[:1]] == [p.probabilities for p in plain[:1]]
    assert whole[-1].probabilities != plain[-1].probabilities
    # a reset forgets audio, not the room
    used = classifier.adaptation()
    stream = classifier.stream(adaptation=used)
    stream.push(voice)
    heard_s = used.heard_s
    stream.reset()
    assert used.heard_s == heard_s > 0


def test_the_listeners_pipeline_keeps_the_room_over_gaps(tinted, conversation):
    classifier = load(tinted)

    def heard(first, **settings):
        """What is announced of the conversation after something else and a gap."""
        used = AdaptationSettings(**settings)
        pipeline = Pipeline(classifier, gate=GateSettings(speech=0), adaptation=used)
        pipeline.push(first)
        pipeline.end()
        return [each.decision.probabilities for each in pipeline.push(conversation)]

    pipeline = Pipeline(classifier, gate=GateSettings(speech=0))
    pipeline.push(conversation)
    used = pipeline._adaptation
    assert used.heard_s > 0
    pipeline.end()
    assert used.heard_s > 0
    pipeline.forget()  # as when somebody mutes it
    assert used.heard_s == 0
    silence = np.zeros_like(conversation)
    assert heard(silence, enabled=False) == heard(conversation, enabled=False)
    assert heard(silence) != heard(conversation)


def test_a_model_that_tells_nothing_of_its_speakers_stays_as_it_is(tinted):
    read = bundle.read(TINY_MODEL)
    without = bundle.unpack(
        bundle.pack(dataclasses.replace(read.card, speakers={}), read.model)
    )
    assert load(without).adaptation() is None
    assert load(tinted).adaptation(AdaptationSettings(enabled=False)) is None


@pytest.mark.parametrize("name", bundle.SHIPPED)
def test_every_bundled_model_can_get_used_to_a_room(name):
    classifier = Classifier.load(name)
    used = classifier.adaptation()
    assert used is not None
    np.testing.assert_array_equal(used.correction, 0)


@pytest.mark.parametrize(
    "speakers",
    [
        {"mean": [0.0], "spread": [1.0]},
        {"mean": [0.0] * 64},
        {"mean": "0", "spread": "1"},
        {"mean": [1e9] * 64, "spread": [1.0] * 64},
        {"mean": [0.0] * 64, "spread": [-1.0] * 64},
        {"mean": [float("nan")] * 64, "spread": [1.0] * 64},
        {"mean": [0.0] * 64, "spread": [True] * 64},
    ],
)
def test_a_card_with_other_numbers_is_refused(speakers):
    read = bundle.read(TINY_MODEL)
    card = dataclasses.replace(read.card, speakers=speakers)
    with pytest.raises((BundleError, ValueError), match=r"speakers|JSON"):
        bundle.unpack(bundle.pack(card, read.model))


def test_settings_reach_the_listener(run, recording, tinted, tmp_path, monkeypatch):
    model = tmp_path / "tinted.tflite"
    # Less sure of itself, or every answer would be 1.0 and 0.0.
    card = dataclasses.replace(tinted.card, temperature=20.0)
    bundle.write(model, card, tinted.model)

    def heard():
        answer = run("listen", "--model", str(model), "--file", recording, "--json")
        assert answer.code == 0
        events = [json.loads(line) for line in answer.out.splitlines()]
        return [event["probabilities"] for event in events]

    used = heard()
    monkeypatch.setenv("EDGE_SER_ADAPTATION_ENABLED", "false")
    assert heard() != used
    monkeypatch.setenv("EDGE_SER_ADAPTATION_PRIOR_S", "0")
    answer = run("listen", "--model", str(model), "--file", recording)
    assert (answer.code, "prior_s is 0" in answer.err) == (2, True)
