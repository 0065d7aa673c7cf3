import numpy as np
import pytest

from benchmarks import listening
from edge_ser.classifier import Classifier
from training.corpora import Clip


@pytest.fixture(scope="module")
def noises(corpora_folder):
    return listening.test_noises(corpora_folder)


def test_levels_and_lengths(noises):
    random = np.random.default_rng(0)
    for _ in range(20):
        name, noise = listening.excerpt(noises, 7.5, random)
        assert name in noises
        assert len(noise) == 120000
        quiet = listening.at_level(noise, -40)
        assert 10 * np.log10(np.mean(quiet**2)) == pytest.approx(-40, abs=0.5)


def test_noise_is_not_announced(noises):
    events, hours, _ = listening.hear_noise(Classifier.load(), noises, 0.3, seed=1)
    assert hours == pytest.approx(0.3, abs=0.02)
    assert len(events) <= 1, events


@pytest.mark.long
def test_four_hours_of_noise(noises):
    events, _, _ = listening.hear_noise(Classifier.load(), noises, 4, seed=0)
    assert len(events) <= 4, events


def test_strangers_are_announced(noises, corpora_folder):
    """The bundled model knows these speakers; that they speak is all that is asked."""
    clips = [
        Clip(
            path=path,
            corpus="emovo",
            speaker="x",
            gender="",
            emotion="angry",
            sentence="",
            language="it",
        )
        for path in sorted((corpora_folder / "emovo").glob("rab-*.flac"))[::6]
    ]
    heard = listening.hear_speech(Classifier.load(), clips, noises, seed=0)
    figures = listening.summary(heard)
    assert figures["announced_or_uncertain"] >= 0.9
    assert figures["median_delay_s"] <= 2.5
    assert figures["changes_per_utterance"] < 0.5
