"""Trainings in processes of their own, killed for real."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from training import runs
from training.__main__ import main

# All that has a state: dropout, mixup, averaging, heads, early stopping.
TOML = """
name = "killed"
corpora = ["emodb"]
labels = ["happy", "sad"]
protocol = "emodb4"
architecture = "resnet2d"
decision_hop_s = 0.2
[model]
channels = [4, 6]
[features]
n_mfcc = 0
n_mels = 16
frames_per_window = 32
normalisation = "window_mean"
[augmentation]
time_warp = 0.1
mixup = 0.2
[recipe]
epochs = 12
batch_size = 8
average_momentum = 0.9
validation_every = 1
early_stopping_epochs = 12
[heads]
gender = 0.1
"""
DEADLINE_S = 300  # of a machine with much else to do; never waited for


@pytest.fixture
def asked(tmp_path):
    """The command's arguments but for the run folder; voices that rise or fall."""
    random, data = np.random.default_rng(0), tmp_path / "data"
    data.mkdir()
    seconds = np.arange(8000) / 16000
    for speaker in ("03", "08", "09"):
        for emotion, slope in (("F", 200), ("T", -200)):
            for text in ("a01", "a02", "a04", "a05"):
                pitch = random.uniform(300, 400) + slope * seconds
                wave = 0.3 * np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / 16000))
                wave += random.normal(0, 0.05, len(wave))
                soundfile.write(data / f"{speaker}{text}{emotion}a.wav", wave, 16000)
    (tmp_path / "config.toml").write_text(TOML)
    return [
        *("train", "--config", str(tmp_path / "config.toml"), "--data", str(data)),
        *("--seed", "3", "--validation-speakers", "emodb/09"),
    ]


def epochs_done(checkpoint):
    """Epochs in a checkpoint, which is whole whenever it is there."""
    if not checkpoint.exists():
        return 0
    with np.load(checkpoint) as stored:
        return len(json.loads(str(stored["state"]))["history"])


def kill_after(asked, folder, epochs, repository):
    """Start the training, and kill it within the epoch after so many."""
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *asked, "--out", str(folder)],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    end = time.monotonic() + DEADLINE_S
    while epochs_done(folder / "checkpoint.npz") < epochs:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.002)
    process.kill()
    told = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "run.json").exists()
    return told


def test_a_training_killed_twice_ends_as_one_never_killed(asked, tmp_path, repository):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main([*asked, "--out", str(whole)]) == 0
    kill_after(asked, cut, 2, repository)
    before = epochs_done(cut / "checkpoint.npz")
    assert 2 <= before < 12
    told = kill_after(asked, cut, before + 3, repository)
    assert f"going on after epoch {before}" in told
    assert main([*asked, "--out", str(cut)]) == 0
    assert not (cut / "checkpoint.npz").exists()

    def history(folder):
        table = (folder / "history.csv").read_text()
        lines = [line.split(",") for line in table.splitlines()]
        return lines[0], np.array([[float(v or 0) for v in ln] for ln in lines[1:]])

    columns, rows = history(whole)
    assert "validation_ua" in columns
    assert len(rows) == 12
    assert history(cut)[0] == columns
    np.testing.assert_allclose(history(cut)[1], rows, atol=1e-4)
    weights = [runs.load(folder).model().get_weights() for folder in (whole, cut)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    clips = [runs.load(folder).clips for folder in (whole, cut)]
    assert clips[0] == clips[1]
    assert len(clips[0]) == 16
