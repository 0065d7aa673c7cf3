"""Keras models of other people: every way to save them, by the same command."""

from __future__ import annotations

import shutil
import wave

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from conversion import own
from conversion.__main__ import main
from conversion.errors import ConversionError
from conversion.source import Source, as_float32
from conversion.tflite import emit
from edge_ser import bundle
from edge_ser.classifier import Classifier
from edge_ser.errors import EdgeSerError
from training.keras import tf, tf_keras
from voice import RATE_HZ, voice

CARD = """\
name = "mine"
version = "1.2"
labels = ["low", "high"]
hop_s = 0.25
licence = "CC0 1.0"

[features]
n_mfcc = 0
n_mels = 20
frames_per_window = 32
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A card, and sounds to calibrate with."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.toml").write_text(CARD)
    for label, pitch_hz in (("low", 110), ("high", 260)):
        (folder / "sounds" / label).mkdir(parents=True)
        for number in range(9):
            sound = voice(pitch_hz + 5 * number, 0.2 + 0.1 * number, seed=number)
            path = folder / "sounds" / label / f"{number}.wav"
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
                file.writeframes((sound * 32767).astype("<i2").tobytes())
    return folder


def build(keras, end=None):
    layers = keras.layers
    inputs = layers.Input((32, 20))
    x = layers.Reshape((32, 20, 1))(inputs)
    x = layers.Conv2D(8, 3, activation="relu")(x)
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    return keras.Model(inputs, layers.Dense(2, activation=end)(x))


def save(kind: str, folder, end="softmax"):
    if kind == "keras 3":
        import keras

        path = folder / "three.keras"
        build(keras, end).save(path)
    elif kind == "SavedModel":
        path = folder / "exported"
        build(tf_keras, end).export(path)
    else:
        path = folder / f"two.{kind}"
        build(tf_keras, end).save(path)
    return path


# What Keras says of its own format of yesterday.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["keras", "h5", "keras 3", "SavedModel"])
def test_every_way_to_save(folder, tmp_path, kind, capfd):
    # What is in a SavedModel stays as it is.
    path = save(kind, tmp_path, None if kind == "SavedModel" else "softmax")
    out = tmp_path / "out"
    card = ["--card", str(folder / "mine.toml")]
    sounds = ["--calibration", str(folder / "sounds")]
    code = main(
        ["convert", str(path), *card, *sounds, "--out", str(out), "--variants", "int8"]
    )
    assert code == 0, capfd.readouterr().err
    read = bundle.read(out / "int8.tflite")
    assert read.card.title == "mine 1.2"
    assert read.card.hop_frames == 25
    assert read.card.calibration["windows"] == 18
    assert "high/8.wav" in read.card.calibration["clips"]
    classifier = Classifier.load(out / "int8.tflite")
    answer = classifier.classify(voice(200, 1.0), RATE_HZ)
    assert set(answer.probabilities) == {"low", "high"}


def test_what_the_command_line_needs(folder, tmp_path, capsys):
    path = save("keras", tmp_path)
    out = ["--out", str(tmp_path / "out")]
    assert main(["convert", str(path), *out]) == 1
    assert "labels and features by --card" in capsys.readouterr().err
    card = ["--card", str(folder / "mine.toml")]
    assert main(["convert", str(path), *card, *out]) == 1
    assert "needs --calibration" in capsys.readouterr().err
    gone = ["--calibration", str(tmp_path / "gone")]
    assert main(["convert", str(path), *card, *gone, *out]) == 1
    assert "gone: there is no such folder" in capsys.readouterr().err
    empty = ["--calibration", str(tmp_path)]
    assert main(["convert", str(path), *card, *empty, *out]) == 1
    assert "no sound file below it" in capsys.readouterr().err
    few = ["--calibration", str(folder / "sounds" / "low")]
    assert main(["convert", str(path), *card, *few, *out]) == 1
    assert "9 calibration windows; valid: at least 16" in capsys.readouterr().err
    sounds = ["--calibration", str(folder / "sounds"), "--variants", "int8-qat"]
    assert main(["convert", str(path), *card, *sounds, *out]) == 1
    assert "int8-qat needs more training" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("labels", "label", "label, labels"),
        ('["low", "high"]', '["low"]', "two or more"),
        ('["low", "high"]', '["low", "low"]', "two or more"),
        ("hop_s = 0.25", "hop_s = 3", "hop_s is 3; valid: 0.01 to 0.32"),
        ('"1.2"', "1.2", "version: 1.2; valid: text"),
        ('"1.2"', '"1"\ntraining_data = 5', "training_data: 5; valid: a list"),
        ('"1.2"', '"1"\ntraining_data = [{d = 2026-01-01}]', "date is not JSON"),
        ("n_mels = 20", 'n_mels = 20\nnormalisation = "stored"', "cannot run on a str"),
        ("n_mels = 20", "n_mels = -1", "n_mels"),
        ("[features]", "[[features]]", "features is"),
        ("[features]", "[features", "not valid TOML"),
    ],
)
def test_a_card_that_is_wrong(tmp_path, old, new, word):
    file = tmp_path / "card.toml"
    file.write_text(CARD.replace(old, new))
    with pytest.raises(EdgeSerError, match=word.replace("[", r"\[")):
        own.read_card(file)


def test_sounds_whatever_the_case_of_their_names(folder, tmp_path):
    for number, path in enumerate(sorted(folder.rglob("*.wav"))):
        shutil.copy(path, tmp_path / f"{number}.WAV")
    windows, names = own.calibration(
        tmp_path, own.read_card(folder / "mine.toml").features
    )
    assert len(windows) == len(names) == 18


def test_a_model_that_cannot_be_proven_leaves_no_bundle(folder, tmp_path, capsys):
    """Only its answers show that a nested network ends in a softmax."""
    inputs = tf_keras.layers.Input((32, 20))
    nested = tf_keras.Model(inputs, build(tf_keras, "softmax")(inputs))
    nested.save(tmp_path / "nested.keras")
    out = tmp_path / "out"
    command = ["convert", str(tmp_path / "nested.keras"), "--variants", "float32"]
    card = ["--card", str(folder / "mine.toml")]
    sounds = ["--calibration", str(folder / "sounds")]
    assert main([*command, *card, *sounds, "--out", str(out)]) == 1
    assert "gives probabilities; save it without" in capsys.readouterr().err
    assert not list(out.iterdir())


@pytest.mark.parametrize("end", ["sigmoid", "relu", "tanh"])
@pytest.mark.parametrize("kind", ["keras", "keras 3", "SavedModel"])
@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_what_ends_in_no_logits_is_refused(folder, tmp_path, kind, end, variant):
    """The device would take the softmax of it, and be sure of nothing."""
    path = save(kind, tmp_path, end)
    windows = np.random.default_rng(0).normal(size=(16, 32, 20)).astype(np.float32)
    with pytest.raises(ConversionError, match=f"ends in a {end}; save it without"):
        emit(Source(path), variant, windows)


def loops(keras):
    """By name, networks with recurrent layers that no converter fuses."""
    layers = keras.layers
    inputs = layers.Input((32, 20))
    ways = {
        "LSTM": layers.LSTM(4),
        "GRU": layers.GRU(4),
        "both ways": layers.Bidirectional(layers.LSTM(4)),
    }
    return {
        name: keras.Model(inputs, layers.Dense(2)(way(inputs)))
        for name, way in ways.items()
    }


@pytest.mark.parametrize("name", ["LSTM", "GRU", "both ways"])
def test_recurrent_layers_of_keras_3(folder, tmp_path, capsys, name):
    import keras

    path = tmp_path / "loop.keras"
    loops(keras)[name].save(path)
    out = tmp_path / "out"
    command = ["convert", str(path), "--card", str(folder / "mine.toml")]
    command += ["--calibration", str(folder / "sounds"), "--out", str(out)]
    assert main([*command, "--variants", "float32", "int8"]) == 1
    told = capsys.readouterr()
    assert [file.name for file in out.glob("*.tflite")] == ["float32.tflite"]
    assert told.err.startswith("python -m conversion: int8: ")
    assert "recurrent layers must be unrolled or fused" in told.err
    assert "| float32 | " in told.out


def test_two_inputs_of_keras_3(tmp_path):
    import keras

    one, two = keras.layers.Input((8, 4)), keras.layers.Input((8, 4))
    joined = keras.layers.Flatten()(keras.layers.Add()([one, two]))
    path = tmp_path / "two.keras"
    keras.Model([one, two], keras.layers.Dense(2)(joined)).save(path)
    with pytest.raises(ConversionError, match=r"two\.keras: 2 inputs; valid: one"):
        Source(path)


def test_a_broken_promise_leaves_no_bundle(folder, tmp_path, capsys):
    """A Fourier transform has no int8: TensorFlow leaves it in float without a word."""

    class Spectrum(tf.Module):
        def __init__(self):
            random = np.random.default_rng(0)
            kernel = random.normal(size=(17 * 20, 2)).astype(np.float32)
            self.kernel = tf.Variable(kernel)

        @tf.function(input_signature=[tf.TensorSpec((None, 32, 20), tf.float32)])
        def __call__(self, window):
            power = tf.abs(tf.signal.rfft(tf.transpose(window, (0, 2, 1))))
            return tf.reshape(power, (-1, 17 * 20)) @ self.kernel

    module = Spectrum()
    tf.saved_model.save(
        module, tmp_path / "model", signatures=module.__call__.get_concrete_function()
    )
    out = tmp_path / "out"
    out.mkdir()
    (out / "int8.tflite").write_bytes(b"of an earlier conversion")
    command = ["convert", str(tmp_path / "model"), "--card", str(folder / "mine.toml")]
    command += ["--calibration", str(folder / "sounds"), "--out", str(out)]
    assert main([*command, "--variants", "float32", "int8"]) == 1
    told = capsys.readouterr()
    assert "int8: not kept: it breaks its promise" in told.err
    assert "complex64 tensors in int8" in told.err
    assert [file.name for file in out.glob("*.tflite")] == ["float32.tflite"]
    # What was found stays, as the reason.
    assert "complex64 tensors in int8" in (out / "proof.md").read_text()


def test_probabilities_that_cannot_be_undone(tmp_path):
    build(tf_keras, "softmax").export(tmp_path / "exported")
    source = Source(tmp_path / "exported")
    windows = np.random.default_rng(0).normal(size=(4, 32, 20)).astype(np.float32)
    with pytest.raises(ConversionError, match="save it without its softmax"):
        source.logits(windows)


def test_the_softmax_that_is_taken_off(tmp_path):
    model = build(tf_keras, "softmax")
    model.save(tmp_path / "model.keras")
    windows = np.random.default_rng(0).normal(size=(4, 32, 20)).astype(np.float32)
    logits = Source(tmp_path / "model.keras").logits(windows)
    expected = model.predict(windows, verbose=0)
    np.testing.assert_allclose(tf.nn.softmax(logits), expected, atol=1e-6)


def test_mixed_precision_becomes_float32():
    policy = tf_keras.mixed_precision
    policy.set_global_policy("mixed_bfloat16")
    try:
        mixed = build(tf_keras)
    finally:
        policy.set_global_policy("float32")
    plain = as_float32(mixed)
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    assert plain.output.dtype == tf.float32
    for old, new in zip(mixed.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_folders_and_files_that_are_no_models(tmp_path):
    with pytest.raises(ConversionError, match="no SavedModel"):
        Source(tmp_path)
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ConversionError, match=r"unknown kind of model; valid: \.keras"):
        Source(tmp_path / "model.onnx")
