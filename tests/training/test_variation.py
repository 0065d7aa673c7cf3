import csv
import pathlib

import numpy as np
import pytest
import soundfile

pytest.importorskip("soxr", reason="needs the extra 'files'")

from edge_ser.errors import ConfigError
from training.errors import CorpusError
from training.recordings import told_on_the_card, training_recordings
from training.variation import Copies, in_room, vary

RATE = 16000


def tone(hz, seconds=1.0):
    return np.sin(2 * np.pi * hz * np.arange(int(RATE * seconds)) / RATE).astype(
        np.float32
    )


def peak_hz(samples):
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return power.argmax() * RATE / len(samples)


def test_speed_moves_length_and_pitch_together():
    random = np.random.default_rng(0)
    for _ in range(5):
        varied = vary(tone(500), RATE, Copies(count=1, speed=0.2), [], random)
        ratio = RATE / len(varied)
        assert 0.8 <= ratio <= 1.2
        assert peak_hz(varied) == pytest.approx(500 * ratio, rel=0.01)


def test_pitch_moves_and_the_length_stays():
    random = np.random.default_rng(3)
    copies = Copies(count=1, pitch_semitones=4.0)
    heard = [vary(tone(500), RATE, copies, [], random) for _ in range(4)]
    assert {len(samples) for samples in heard} == {RATE}
    ratios = np.array([peak_hz(samples) / 500 for samples in heard])
    semitones = 12 * np.log2(ratios)
    assert np.abs(semitones).max() <= 4.3
    assert np.ptp(semitones) > 1


def test_a_room_is_a_convolution_in_place_and_at_the_same_level():
    random = np.random.default_rng(1)
    samples = random.normal(0, 0.1, 4000).astype(np.float32)
    response = np.zeros(3000, np.float32)
    response[200] = 1.0  # the direct sound, late
    response[1200] = 0.5  # an echo 1000 samples after it
    heard = in_room(samples, response, 0.0, RATE)
    expected = samples.copy()
    expected[1000:] += 0.5 * samples[:-1000]
    expected *= np.sqrt(np.sum(samples**2) / np.sum(expected**2))
    np.testing.assert_allclose(heard, expected, atol=1e-5)
    nearer = in_room(samples, response, -20.0, RATE)
    expected = samples.copy()
    expected[1000:] += 0.05 * samples[:-1000]
    expected *= np.sqrt(np.sum(samples**2) / np.sum(expected**2))
    np.testing.assert_allclose(nearer, expected, atol=1e-5)


def test_the_share_of_rooms():
    response = np.zeros(400, np.float32)
    response[[0, 300]] = 1.0
    copies = Copies(count=1, rooms="x", room_share=0.25)
    random = np.random.default_rng(0)
    clip = tone(300, 0.05)
    changed = [
        not np.array_equal(vary(clip, RATE, copies, [response], random), clip)
        for _ in range(400)
    ]
    assert 0.2 < np.mean(changed) < 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 2}, "nothing to vary"),
        ({"count": -1, "speed": 0.1}, "count is -1"),
        ({"count": 1, "speed": 0.7}, "speed is 0.7"),
        ({"count": 1, "rooms": "x", "room_share": 1.5}, "room_share is 1.5"),
    ],
)
def test_copies_that_make_no_sense(settings, message):
    with pytest.raises(ConfigError, match=message):
        Copies(**settings)


def write(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        soundfile.write(folder / name, tone(400, 0.1), RATE)


def test_only_the_train_half_teaches(tmp_path):
    write(tmp_path / "rir", "a.wav", "b.wav", "c.flac")
    assert len(training_recordings("rir", tmp_path)) == 3
    with (tmp_path / "rir/split.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "use"])
        writer.writerows([["rir/a.wav", "train"], ["rir/b.wav", "test"]])
    assert [p.name for p in training_recordings("rir", tmp_path)] == ["a.wav"]
    elsewhere = training_recordings(str(tmp_path / "rir"), tmp_path / "none")
    assert [p.name for p in elsewhere] == ["a.wav"]
    # a test recording of the same name
    with (tmp_path / "rir/split.csv").open("a", newline="") as file:
        file.write("rir/other/a.wav,test\nrir/c.flac,train\n")
    assert [p.name for p in training_recordings("rir", tmp_path)] == ["c.flac"]
    (tmp_path / "rir/split.csv").write_text("path,use\nrir/a.wav,test\n")
    with pytest.raises(CorpusError, match="no recording to train with"):
        training_recordings("rir", tmp_path)
    (tmp_path / "rir/split.csv").write_text("file,half\nrir/a.wav,test\n")
    with pytest.raises(CorpusError, match="path and use"):
        training_recordings("rir", tmp_path)
    with pytest.raises(CorpusError, match="no folder of recordings"):
        training_recordings("noise", tmp_path)


def test_the_real_recordings_are_halved(corpora_folder):
    for folder in ("noise", "rir"):
        with (corpora_folder / folder / "split.csv").open(newline="") as file:
            uses = {r["path"].split("/")[1]: r["use"] for r in csv.DictReader(file)}
        found = {path.name for path in training_recordings(folder, corpora_folder)}
        assert found == {name for name, use in uses.items() if use == "train"}
        assert "test" in uses.values()
        splits = pathlib.Path(__file__).parents[2] / "training/splits"
        with (splits / f"{folder}.csv").open(newline="") as file:
            told = {r["path"].split("/")[1]: r["use"] for r in csv.DictReader(file)}
        assert told == uses  # what CONTRIBUTING.md points to


def test_a_card_tells_the_terms_of_the_noise_that_taught(tmp_path):
    folder = tmp_path / "street"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.flac").touch()
    told = told_on_the_card("noise", str(folder), tmp_path)
    assert told == {"noise": "street", "recordings": 3, "licence": "licence not told"}
    (folder / "manifest.csv").write_text(
        "path,licence,author\nstreet/a.flac,CC0,Ann\nb.flac,CC BY 4.0,Ben\n"
    )
    (folder / "split.csv").write_text("path,use\na.flac,train\nb.flac,train\n")
    told = told_on_the_card("noise", "street", tmp_path)
    assert told["recordings"] == 2
    assert told["licence"] == "CC BY 4.0 (Ben); CC0"
    with (folder / "manifest.csv").open("a") as file:
        file.write("elsewhere/a.flac,CC BY-NC 4.0,Cem\n")  # another of that name
    told = told_on_the_card("noise", "street", tmp_path)
    assert told["licence"] == "CC BY 4.0 (Ben); CC BY-NC 4.0 (Cem); CC0"
