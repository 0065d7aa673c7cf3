import dataclasses

import numpy as np
import pytest

from benchmarks import __main__ as command_line
from benchmarks import listening
from edge_ser import bundle
from edge_ser.classifier import Classifier
from training.corpora import Clip
from training.report import RESULTS

FOLD_1 = RESULTS / "standard" / "fold-1.tflite"


@pytest.fixture(scope="module")
def noises(corpora_folder):
    return listening.unheard(corpora_folder, "noise")


def test_levels_and_lengths(noises):
    random = np.random.default_rng(0)
    for _ in range(20):
        name, noise = listening.excerpt(noises, 7.5, random)
        assert name in noises
        assert len(noise) == 120000
        quiet = listening.at_level(noise, -40)
        assert 10 * np.log10(np.mean(quiet**2)) == pytest.approx(-40, abs=0.5)


def no_talk(noises, hours, seed):
    scenes = listening.noise_scenes(noises, hours, np.random.default_rng(seed))
    return listening.hear_no_talk(Classifier.load(), scenes)


def test_noise_is_not_announced(noises):
    heard = no_talk(noises, 0.3, seed=1)
    assert heard["hours"] == pytest.approx(0.3, abs=0.02)
    assert heard["events"] <= 1, heard


@pytest.mark.long
def test_four_hours_of_noise(noises):
    heard = no_talk(noises, 4, seed=0)
    assert heard["events"] <= 4, heard


def test_music_is_not_announced():
    scenes = listening.music(0.1, np.random.default_rng(0))
    assert listening.hear_no_talk(Classifier.load(), scenes)["events"] == 0


def test_a_room_keeps_the_length_and_the_place(noises):
    click = np.zeros(8000, np.float32)
    click[3000] = 1
    response = np.zeros(2000, np.float32)
    response[[700, 900]] = 1, 0.5
    there = listening.in_room(click, response)
    assert len(there) == len(click)
    np.testing.assert_allclose(there[[3000, 3200]], [1, 0.5], atol=1e-5)


def test_figures():
    def heard(truth, *labels, first_s=None):
        return listening.Heard(truth, 1.0, list(labels), first_s)

    figures = listening.summary(
        [
            heard("sad", "sad", first_s=2.0),
            heard("sad", "uncertain", "happy", "sad", first_s=4.0),
            heard("sad", "uncertain"),
            heard("sad"),
        ]
    )
    assert figures["announced"] == 0.5
    assert figures["announced_or_uncertain"] == 0.75
    assert figures["right_of_announced"] == 0.5
    assert figures["right_of_all"] == 0.25
    assert figures["median_delay_s"] == 2.0
    assert figures["changes_per_utterance"] == 0.5


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
    scenes = listening.utterances(clips, noises, np.random.default_rng(0))
    heard = listening.hear_speech(Classifier.load(), scenes)
    figures = listening.summary(heard)
    assert figures["announced_or_uncertain"] >= 0.9
    assert figures["median_delay_s"] <= 2.5
    assert figures["changes_per_utterance"] < 0.5


def test_two_variants_are_refused(corpora_folder, tmp_path, capsys):
    read = bundle.read(FOLD_1)
    card = dataclasses.replace(read.card, quantization="int8")
    bundle.write(tmp_path / "fold-1.tflite", card, read.model)
    typed = ["listening", FOLD_1, tmp_path, "--data", corpora_folder]
    assert command_line.main([str(word) for word in typed]) == 2
    told = "bundles of int8, int8-pruned given; valid: one variant"
    assert told in capsys.readouterr().err
