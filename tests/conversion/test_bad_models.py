"""What cannot be converted: one clear line, and nothing half-written."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import resource
import select

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from conversion import bundles, variants
from conversion.__main__ import main
from conversion.errors import ConversionError, WorkDiedError
from conversion.slim import slim
from conversion.source import Source
from conversion.tflite import convert
from conversion.verify import prove
from conversion.worker import alone
from edge_ser import bundle
from edge_ser.errors import EdgeSerError
from edge_ser.features import FeatureSpec
from training.keras import tf_keras

layers = tf_keras.layers


LABELS = ("low", "high", "other")
SPEC = FeatureSpec(n_mfcc=None, n_mels=20, frames_per_window=32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model that nobody trained."""
    inputs = layers.Input((32, 20))
    outputs = layers.Dense(3)(layers.Flatten()(layers.MaxPooling1D(8)(inputs)))
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    tf_keras.Model(inputs, outputs).save(path)
    return path


@pytest.fixture
def job(saved):
    card = bundle.Card(
        name="none",
        version="0",
        labels=LABELS,
        features=SPEC,
        hop_frames=16,
        quantization="",
    )
    windows = np.random.default_rng(0).normal(size=(20, 32, 20)).astype(np.float32)
    clips = tuple(f"clip {number}" for number in range(20))
    return bundles.Job(saved, card, windows, clips, fine_tune=no_training)


def no_training(model, callbacks):
    raise AssertionError("nothing here should come so far")


def refused(job, tmp_path, *names):
    """The error of a conversion that leaves no file behind."""
    out = tmp_path / "refused"
    try:
        outcomes = bundles.convert(
            job, variants.chosen(names), out, job.calibration[:8], lambda line: None
        )
        (error,) = [outcome.error for outcome in outcomes]
    except EdgeSerError as reason:
        error = str(reason)
    left = list(out.rglob("*")) if out.exists() else []
    assert not left, left
    assert "\n" not in error
    return error


def test_command_line_errors_are_one_line(tmp_path, capsys):
    assert main(["convert", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no finished run" in error
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    assert main(["convert", str(tmp_path / "file"), "--out", str(tmp_path)]) == 1
    assert "file holds no finished run" in capsys.readouterr().err
    assert main(["verify", str(tmp_path), str(tmp_path)]) == 1
    assert "holds no bundle" in capsys.readouterr().err


def test_a_run_without_weights(job, tmp_path):
    gone = dataclasses.replace(job, model=tmp_path / "model.keras")
    assert "there is no such model" in refused(gone, tmp_path, "float32")
    (tmp_path / "model.keras").write_bytes(b"no zip")
    assert "no model can be loaded" in refused(gone, tmp_path, "float32")


def test_labels_that_do_not_fit(job, tmp_path):
    card = dataclasses.replace(job.card, labels=("a", "b"))
    error = refused(dataclasses.replace(job, card=card), tmp_path, "float32")
    assert "gives 3 outputs, but there are 2 labels: a, b" in error


def test_features_that_do_not_fit(job, tmp_path):
    features = dataclasses.replace(job.card.features, n_mels=16)
    card = dataclasses.replace(job.card, features=features)
    error = refused(dataclasses.replace(job, card=card), tmp_path, "int8")
    assert "(32, 20), but the FeatureSpec says (32, 16)" in error


def test_too_few_calibration_clips(job, tmp_path):
    few = dataclasses.replace(job, calibration=job.calibration[:3])
    error = refused(few, tmp_path, "int8")
    assert "3 calibration windows; valid: at least 16" in error


def test_unknown_and_impossible_variants(job, tmp_path):
    with pytest.raises(ConversionError, match="unknown variant 'int4'; valid: float32"):
        variants.chosen(["int4"])
    alone_model = dataclasses.replace(job, fine_tune=None)
    error = refused(alone_model, tmp_path, "int8-pruned")
    assert "needs more training" in error
    assert "valid for a saved model: float32" in error


def test_a_layer_that_the_converter_does_not_know(job, tmp_path):
    frames, n_features = job.calibration.shape[1:]

    class Own(layers.Layer):
        def call(self, x):
            return x

    model = tf_keras.Sequential(
        [layers.Input((frames, n_features)), Own(), layers.Flatten(), layers.Dense(3)]
    )
    model.save(tmp_path / "own.keras")
    own = dataclasses.replace(job, model=tmp_path / "own.keras")
    error = refused(own, tmp_path, "float32")
    assert "Own" in error
    assert "SavedModel" in error


def test_a_model_of_two_inputs(tmp_path):
    one, two = layers.Input((8, 4)), layers.Input((8, 4))
    model = tf_keras.Model([one, two], layers.Dense(2)(layers.Flatten()(one + two)))
    model.save(tmp_path / "two.keras")
    with pytest.raises(ConversionError, match="2 inputs; valid: one"):
        Source(tmp_path / "two.keras")


def test_a_full_disk(job, tmp_path):
    """A limit on the size of files does what a full disk does, without a mount."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        error = refused(job, tmp_path, "float32")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.endswith("refused/float32.tflite: cannot be written: File too large")


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_weights_that_are_no_numbers(job, saved, tmp_path, variant):
    model = tf_keras.models.load_model(saved)
    kernel, bias = model.get_weights()
    model.set_weights([kernel, np.full_like(bias, np.nan)])
    model.save(tmp_path / "nan.keras")
    astray = dataclasses.replace(job, model=tmp_path / "nan.keras")
    error = refused(astray, tmp_path, variant)
    assert "nan.keras answers NaN or infinity" in error


def test_a_file_that_answers_no_numbers(job, saved, tmp_path):
    """The model it was made from does: the converter was at fault."""
    model = tf_keras.models.load_model(saved)
    kernel, bias = model.get_weights()
    model.set_weights([kernel, np.full_like(bias, np.nan)])
    card = dataclasses.replace(job.card, quantization="float32")
    path = tmp_path / "float32.tflite"
    bundle.write(path, card, convert(model, None))
    with pytest.raises(ConversionError, match="litert answers NaN or infinity"):
        prove(path, card, saved, job.calibration[:8])


def test_one_variant_that_fails_stops_no_other(job, tmp_path):
    """A model that the int8 converter cannot take still becomes float32."""
    inputs = layers.Input((32, 20))
    loop = layers.GRU(4)(layers.AveragePooling1D(4)(inputs))
    tf_keras.Model(inputs, layers.Dense(3)(loop)).save(tmp_path / "loop.keras")
    job = dataclasses.replace(job, model=tmp_path / "loop.keras")
    told = []
    outcomes = bundles.convert(
        job,
        variants.chosen(["int8", "float32"]),
        tmp_path / "out",
        job.calibration,
        told.append,
    )
    error = outcomes[0].error
    hint = "int8 died (signal 11); recurrent layers must be unrolled or fused"
    # TensorFlow says nothing of why it died, so nothing that it said is quoted.
    assert error == hint or "failed" in error
    assert outcomes[0].path is None
    assert outcomes[1].error is None
    assert outcomes[1].proof.runtimes
    assert told[0].startswith("[1/2] int8: ")
    made = sorted(path.name for path in (tmp_path / "out").glob("*.tflite"))
    assert made == ["float32.tflite"]


def test_a_folder_that_cannot_be_made(job, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConversionError, match="cannot be made"):
        bundles.convert(
            job, variants.chosen(["float32"]), tmp_path / "file" / "out", None
        )


def test_channels_that_cannot_be_saved():
    inputs = layers.Input((8, 4))
    model = tf_keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)))
    with pytest.raises(ConversionError, match="no 40% of the multiplications"):
        slim(model, 0.4, lambda model, callbacks: None)
    with pytest.raises(ConversionError, match="fewer_macs is 1"):
        slim(model, 1, lambda model, callbacks: None)


def test_work_that_dies_hangs_or_fails():
    with pytest.raises(ConversionError, match=r"the end died \(signal 9\)"):
        alone("the end", die)
    with pytest.raises(ConversionError, match=r"ended without an answer \(exit code 7"):
        alone("the end", os._exit, 7)
    with pytest.raises(ConversionError, match=r"too long took longer than 0.5 s"):
        alone("too long", wait, limit_s=0.5)
    with pytest.raises(ConversionError, match="arithmetic failed: ZeroDivisionError"):
        alone("arithmetic", divide)


def test_what_is_said_of_a_death_is_no_noise_of_a_log(job, tmp_path):
    log = (
        "WARNING: All log messages before absl::InitializeLog() is called are written "
        "to STDERR\nW0000 00:00:17.1 193 a.cc:392] Ignored output_format.\n"
        "2026-01-02 03:04:05.678: I tensorflow/a.cc:1] This binary is optimized\n"
    )
    with pytest.raises(WorkDiedError, match=r"the end died \(signal 9\)$"):
        alone("the end", complain_and_die, log)
    with pytest.raises(WorkDiedError, match=r"\(signal 9\): loc: no such op$"):
        alone("the end", complain_and_die, f"loc: no such op\n{log}")
    # A model without a loop is not told to unroll any.
    dying = dataclasses.replace(job, fine_tune=die_of)
    error = refused(dying, tmp_path, "int8-pruned")
    assert error == "int8-pruned died (signal 11)"


def test_work_ends_with_the_one_who_asked_for_it(tmp_path):
    """Even if it was killed, and so could not end it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    asking = multiprocessing.get_context("spawn").Process(target=ask, args=(path,))
    asking.start()
    assert select.select([pipe], [], [], 60)[0]
    assert os.read(pipe, 9) == b"begun"
    asking.kill()
    asking.join()
    os.set_blocking(pipe, True)
    assert os.read(pipe, 9) == b""  # nobody holds it any more
    os.close(pipe)


def ask(path):
    alone("waiting", hold, path)


def hold(path):
    with path.open("wb", buffering=0) as pipe:
        pipe.write(b"begun")
        wait()
        pipe.write(b"done")


def complain_and_die(words):
    os.write(2, words.encode())
    die()


def die_of(model, callbacks):
    os.kill(os.getpid(), 11)


def die():
    os.kill(os.getpid(), 9)


def wait():
    import time

    time.sleep(60)


def divide():
    return 1 // 0
