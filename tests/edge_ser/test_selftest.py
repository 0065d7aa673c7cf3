"""What must not reach a device: each kind of broken model, and the good ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from broken_model import tiny, with_output_scale
from edge_ser import bundle, selftest
from edge_ser.config import Config, EngineSettings
from edge_ser.errors import BundleError
from edge_ser.interpreter import Interpreter
from tiny_model import TINY_MODEL


@pytest.fixture
def refused(tmp_path):
    """Checks the bytes of a bundle; gives the error."""

    def check(data, config=None):
        path = tmp_path / "model.tflite"
        path.write_bytes(data)
        with pytest.raises(BundleError) as caught:
            selftest.check(config or Config(), str(path))
        return str(caught.value)

    return check


@pytest.mark.parametrize("path", [TINY_MODEL, bundle.default_path()])
def test_models_that_work(path, run_process):
    # In a process of its own, as it is meant: this one holds far more memory.
    done = run_process("model", "check", path)
    assert done.returncode == 0, done.stderr
    seen = done.stdout.decode()
    for word in ("probabilities move", "kernels agree", "a decision", "MiB of memory"):
        assert word in seen


def test_one_answer_to_everything(refused):
    assert "answers the same" in refused(with_output_scale(1e-4))


def test_not_a_number(refused, monkeypatch):
    def logits(interpreter, _window):
        return np.full(interpreter.n_outputs, np.nan, np.float32)

    monkeypatch.setattr(Interpreter, "logits", logits)
    assert "not a number" in refused(TINY_MODEL.read_bytes())


def test_labels_that_do_not_fit(refused):
    assert "3 outputs" in refused(tiny(labels=("a", "b", "c", "d")))


def test_another_shape(refused):
    spec = bundle.read(TINY_MODEL).card.features
    narrow = type(spec)(n_mfcc=None, frames_per_window=spec.frames_per_window * 2)
    assert "card says" in refused(tiny(features=narrow))


def test_too_slow_for_its_hop(refused):
    whole = bundle.read()
    # A decision a millisecond by the reference kernels, which need several times that.
    often = dataclasses.replace(whole.card.features, hop_ms=1.0)
    card = dataclasses.replace(whole.card, features=often, hop_frames=1)
    slow = Config(engine=EngineSettings(portable=True))
    assert "too slow" in refused(bundle.pack(card, whole.model), slow)


def test_too_much_memory(refused, monkeypatch):
    monkeypatch.setattr(selftest, "LARGEST_RSS_MIB", 1)
    assert "MiB of memory; valid: up to 1" in refused(TINY_MODEL.read_bytes())


def test_kernels_that_disagree(refused, monkeypatch):
    answers = selftest._answers

    def elsewhere(classifier, path):
        shift = 0.2 if classifier.interpreter.portable else 0.0
        return answers(classifier, path) + np.float32(shift)

    monkeypatch.setattr(selftest, "_answers", elsewhere)
    assert "disagree by 0.20" in refused(TINY_MODEL.read_bytes())


def test_the_sounds_are_sound():
    sounds = selftest.clips(16000, 41000)
    for name, samples in sounds.items():
        assert samples.shape == (41000,)
        assert samples.dtype == np.float32
        assert np.abs(samples).max() <= 1
        assert (np.abs(samples).max() > 0) == (name != "silence")
        assert (samples == selftest.clips(16000, 41000)[name]).all()
