import json
import shutil

import numpy as np
import pytest

from benchmarks import __main__ as command_line
from benchmarks.perturbations import (
    PERTURBATIONS,
    RATE_HZ,
    Surroundings,
    add_at_snr,
    in_room,
)
from benchmarks.strangers import fold_bundles
from edge_ser import bundle
from training.errors import ProtocolError
from training.report import RESULTS

FOLD_1 = RESULTS / "standard" / "fold-1.tflite"
CHANGES = {each.name: each.change for each in PERTURBATIONS}


@pytest.fixture(scope="module")
def voice():
    random = np.random.default_rng(0)
    time = np.arange(2 * RATE_HZ) / RATE_HZ
    tone = np.sin(2 * np.pi * 200 * time) * (1 + np.sin(2 * np.pi * 3 * time))
    return (0.1 * tone + 0.001 * random.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def around(voice):
    random = np.random.default_rng(1)
    room = np.exp(-np.arange(4000) / 800) * random.standard_normal(4000)
    room[:40] = 0
    room[40] = 5
    noises = [random.standard_normal(9000).astype(np.float32) for _ in range(2)]
    voices = [np.roll(voice, 1000 * n) for n in range(8)]
    return Surroundings(noises, [room.astype(np.float32)], voices)


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_changes_the_audio_and_can_be_repeated(name, voice, around):
    once, again = (
        CHANGES[name](voice.copy(), np.random.default_rng(5), around) for _ in range(2)
    )
    assert once.dtype == np.float32
    assert np.isfinite(once).all()
    assert np.array_equal(once, again)
    assert len(once) != len(voice) or np.abs(once - voice).max() > 1e-5


@pytest.mark.parametrize(
    ("name", "snr_db"),
    [
        ("white noise, 20 dB", 20),
        ("babble, 20 dB", 20),
        ("environment, 20 dB", 20),
        ("music-like tones, 20 dB", 20),
        ("environment, 10 dB", 10),
    ],
)
def test_noise_comes_at_its_level(name, snr_db, voice, around):
    noise = CHANGES[name](voice, np.random.default_rng(2), around) - voice
    measured = 10 * np.log10(np.mean(voice**2) / np.mean(noise**2))
    assert measured == pytest.approx(snr_db, abs=0.1)


def test_silence_can_be_added_to_and_changed(around):
    silence = np.zeros(RATE_HZ, np.float32)
    for name, change in CHANGES.items():
        answer = change(silence, np.random.default_rng(0), around)
        assert np.isfinite(answer).all(), name
    assert not add_at_snr(
        silence, around.noises[0][:9000].repeat(2)[:RATE_HZ], 10
    ).any()


def test_a_room_keeps_length_level_and_onset(voice, around):
    click = np.zeros(RATE_HZ, np.float32)
    click[3000] = 1
    heard = in_room(click, around.rooms[0])
    assert len(heard) == len(click)
    assert not heard[:2990].any() or np.abs(heard[:2990]).max() < 1e-5
    assert np.argmax(np.abs(heard)) == 3000
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(1 / np.sqrt(RATE_HZ), rel=1e-3)


def test_the_telephone_cuts_what_it_should(voice, around):
    time = np.arange(RATE_HZ) / RATE_HZ
    for frequency, most in ((100, 0.1), (1000, 1.1), (6000, 0.1)):
        tone = np.sin(2 * np.pi * frequency * time).astype(np.float32)
        heard = CHANGES["telephone band"](tone, np.random.default_rng(0), around)
        assert np.abs(heard[4000:]).max() < most
    assert np.abs(heard[4000:]).max() < 0.1


def test_a_report_of_strangers(corpora_folder, tmp_path, capsys):
    file = tmp_path / "report.json"
    arguments = ["robustness", str(FOLD_1), "--data", str(corpora_folder)]
    arguments += ["--clips", "48", "--only", "gain", "telephone", "--json", str(file)]
    assert command_line.main(arguments) == 0
    figures = json.loads(file.read_text())["variants"]["int8-pruned"]
    assert figures["clips"] == 48
    gain, telephone = figures["changes"]
    assert gain["unchanged"] > 0.8 > telephone["unchanged"]
    assert telephone["passed"] is None
    assert figures["clean_ua"][0] > 0.45  # of 8 classes
    assert (figures["judged"], figures["passed"]) == (1, int(gain["passed"]))
    groups = figures["groups"]
    men, women = groups["gender"]["male"], groups["gender"]["female"]
    assert men["clips"] + women["clips"] == groups["corpus"]["ravdess"]["clips"] == 48
    gap = women["clean_ua"][0] - men["clean_ua"][0]
    assert groups["gender"]["difference"][0] == pytest.approx(gap)
    out = capsys.readouterr().out
    assert "| telephone band |" in out
    assert "UA of female minus that of male" in out


def test_folders_stand_for_the_bundles_in_them(corpora_folder, tmp_path):
    found = fold_bundles([FOLD_1.parent], corpora_folder, "ravdess")
    folds = found["int8-pruned"]
    assert [each.fold for each in folds] == [1, 2, 3, 4, 5, 6]
    # RAVDESS holds one recording under two names.
    assert sum(len(each.clips) for each in folds) == 1439
    with pytest.raises(ProtocolError, match="holds no bundle"):
        fold_bundles([tmp_path], corpora_folder, "ravdess")


def test_wrong_wishes_are_named(corpora_folder, tmp_path, capsys):
    arguments = ["robustness", str(FOLD_1), "--data", str(corpora_folder)]
    assert command_line.main([*arguments, "--only", "sunshine"]) != 0
    assert "no change is named sunshine" in capsys.readouterr().err
    assert command_line.main([*arguments, "--only", "gain", "sunshine"]) != 0
    assert "no change is named sunshine" in capsys.readouterr().err
    with pytest.raises(ProtocolError, match="twice"):
        fold_bundles([FOLD_1, FOLD_1], corpora_folder, "ravdess")
    stranger = tmp_path / "model.tflite"
    with pytest.raises(ProtocolError, match="which fold"):
        fold_bundles([stranger], corpora_folder, "ravdess")
    beyond = tmp_path / "fold-9.tflite"
    with pytest.raises(ProtocolError, match="no fold 9"):
        fold_bundles([beyond], corpora_folder, "ravdess")


def test_a_bundle_that_knows_the_strangers_is_refused(corpora_folder, tmp_path):
    shipped = tmp_path / "fold-1.tflite"
    shutil.copy(bundle.located("standard"), shipped)
    with pytest.raises(ProtocolError, match="from 24 of the 24 speakers of ravdess"):
        fold_bundles([shipped], corpora_folder, "ravdess")
    with pytest.raises(ProtocolError, match="from 10 of the 10 speakers of emodb"):
        fold_bundles([FOLD_1], corpora_folder, "emodb4")
