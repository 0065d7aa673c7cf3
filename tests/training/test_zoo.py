"""Every architecture is what its paper says, and converts to full int8."""

import pathlib

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from conversion import flatbuffer
from conversion.errors import ConversionError
from conversion.macs import macs
from conversion.source import Source
from conversion.tflite import convert, emit
from conversion.worker import alone
from edge_ser.interpreter import Interpreter, installed_runtimes
from training import config, zoo
from training.keras import set_seed, tf_keras

FRAMES, FEATURES, CLASSES = 64, 32, 8
CONFIGS = sorted(pathlib.Path("training/configs/zoo").glob("*.toml"))
# Built, converted and run in `make test`; the others in `make test-long`.
QUICK = ("light_sernet", "timnet", "lstm_stacked", "reslstm", "transformer", "resnet2d")
SETTINGS = {
    "resnet2d": {
        "channels": [8, 12],
        "over_frequency": 16,
        "over_time": 1,
        "views": 3,
    }
}


def voices(windows: int, seed: int = 0) -> np.ndarray:
    """Features that change slowly and differ from window to window, as a voice's."""
    random = np.random.default_rng(seed)
    steps = random.normal(size=(windows, FRAMES, FEATURES)) * 0.3
    for frame in range(1, FRAMES):
        steps[:, frame] += 0.95 * steps[:, frame - 1]
    return (steps + random.normal(size=(windows, 1, FEATURES))).astype(np.float32)


def inputs(name: str, windows: np.ndarray) -> np.ndarray:
    """As the architecture takes them: samples one by one."""
    if zoo.takes_samples(name):
        return windows.reshape(len(windows), FRAMES * FEATURES, 1)
    return windows


def convert_all(paths, windows):
    return [emit(Source(path), "int8", inputs(path.stem, windows)) for path in paths]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A function from architectures to (Keras model, int8 flatbuffer) of each.

    One process converts them all: loading TensorFlow is what takes the time.
    """
    folder = tmp_path_factory.mktemp("converted")

    def made(architectures):
        set_seed(1)
        models = {}
        for name in architectures:
            shape = inputs(name, voices(1)).shape[1:]
            model = zoo.build(name, *shape, CLASSES, SETTINGS.get(name, {}))
            models[name] = model
            model.save(folder / f"{name}.keras")
        paths = [folder / f"{name}.keras" for name in models]
        files = alone("the zoo", convert_all, paths, voices(16))
        pairs = zip(models.values(), files, strict=True)
        return dict(zip(models, pairs, strict=True))

    return made


def check_full_int8(name, model, flatbuffer_bytes):
    tensors = flatbuffer.read(flatbuffer_bytes).tensors
    dtypes = {tensor.dtype for tensor in tensors if 0 not in tensor.shape}
    assert dtypes <= {"int8", "int16", "int32"}, name
    windows = inputs(name, voices(12, seed=5))
    expected = model.predict(windows, verbose=0)
    runtimes = installed_runtimes()
    assert runtimes
    for runtime in runtimes:
        interpreter = Interpreter(flatbuffer_bytes, runtime=runtime)
        answers = np.stack([interpreter.logits(window) for window in windows])
        # Nothing of one window is left for the next.
        np.testing.assert_array_equal(interpreter.logits(windows[0]), answers[0])
        agreement = np.corrcoef(expected.ravel(), answers.ravel())[0, 1]
        assert agreement > 0.95, f"{name} in {runtime}: {agreement:.3f}"


def test_the_most_telling_architectures_run_in_full_int8(converted):
    for name, (model, made) in converted(QUICK).items():
        check_full_int8(name, model, made)


@pytest.mark.long
def test_the_other_architectures_run_in_full_int8(converted):
    others = [name for name in zoo.ARCHITECTURES if name not in QUICK]
    assert len(others) > 5
    for name, (model, made) in converted(others).items():
        check_full_int8(name, model, made)


def learned(model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_parameters_are_the_papers():
    # 463 k, batch norm's statistics among them.
    assert zoo.build("light_sernet", 188, 40, 7, {}).count_params() == 463_431
    # 46,772 in the paper, 440 of which are PyTorch's second biases.
    assert learned(zoo.build("reslstm", 64, 46, 8, {})) == 46_772 - 440
    # M5 with half of its channels; its 0.5 M are of 128, 128, 256 and 512 channels.
    m5 = {"channels": [128, 128, 256, 512], "first_kernel": 80, "first_stride": 4}
    convolutions = 80 * 128 + 3 * (128 * 128 + 128 * 256 + 256 * 512)
    m5_parameters = convolutions + 2 * (128 + 128 + 256 + 512) + 512 * 10 + 10
    assert learned(zoo.build("waveform", 32000, 1, 10, m5)) == m5_parameters
    # An LSTM has 4 ((inputs + units) units + units).
    stacked = 4 * ((13 + 128) * 128 + 128) + 4 * ((128 + 64) * 64 + 64)
    stacked += (64 * 32 + 32) + (32 * 8 + 8)
    assert learned(zoo.build("lstm_stacked", 128, 13, 8, {})) == stacked


def test_looking_ahead_is_the_reversed_input_of_the_authors():
    """TIM-Net: with the same weights in both halves, time may run backwards."""
    model = zoo.build("timnet", 32, 5, 3, {"filters": 4, "scales": 3})
    convolutions = sorted(
        (x for x in model.layers if isinstance(x, tf_keras.layers.Conv1D)),
        key=lambda layer: int(layer.name.partition("_")[2] or 0),  # as they were made
    )
    assert len(convolutions) == 2 + 3 * 4
    window = voices(4)[:, :32, :5]

    def change():
        back = model.predict(window[:, ::-1], verbose=0)
        return np.abs(model.predict(window, verbose=0) - back).max()

    before = change()
    assert before > 0
    pairs = [(0, 1), *((n + k, n + k + 2) for n in (2, 6, 10) for k in (0, 1))]
    for past, future in ((convolutions[p], convolutions[f]) for p, f in pairs):
        kernel, bias = past.get_weights()
        future.set_weights([kernel[::-1], bias])
    assert change() < before / 20


def test_a_convolution_over_the_bands_knows_where_a_sound_is():
    windows = np.zeros((2, FRAMES, FEATURES, 1), np.float32)
    low, high = slice(8, 12), slice(20, 24)  # far from the edges, a whole pool apart
    windows[0, 20:40, low] = windows[1, 20:40, high] = 1
    windows = windows[..., 0]

    def change(**settings) -> float:
        set_seed(1)
        settings = {"channels": [8], "stem_kernel": 3, **settings}
        model = zoo.build("resnet2d", FRAMES, FEATURES, CLASSES, settings)
        first, second = model.predict(windows, verbose=0)
        return np.abs(first - second).max() / np.abs(first).max()

    assert change() < 1e-5
    assert change(over_frequency=8) > 0.05


@pytest.mark.parametrize("views", [2, 3])
def test_a_window_is_heard_half_a_band_lower_and_higher(views):
    settings = {"channels": [8, 12], "over_frequency": 8, "towers": 2, "dropout": 0.0}
    once = zoo.build("resnet2d", FRAMES, FEATURES, CLASSES, settings)
    settings["views"] = views
    often = zoo.build("resnet2d", FRAMES, FEATURES, CLASSES, settings)
    often.set_weights(once.get_weights())
    x = voices(5)
    lower = (np.concatenate([x[:, :, :1], x[:, :, :-1]], axis=2) + x) / 2
    higher = (np.concatenate([x[:, :, 1:], x[:, :, -1:]], axis=2) + x) / 2
    heard = [lower, higher, x][:views]
    answers = [once.predict(each, verbose=0) for each in heard]
    told = often.predict(x, verbose=0)
    np.testing.assert_allclose(told, np.mean(answers, 0), atol=1e-5)
    assert np.abs(answers[1] - answers[0]).max() > 1e-3
    # Training knows one view.
    expected = once(x, training=True)
    np.testing.assert_allclose(often(x, training=True), expected, atol=1e-5)
    times = macs(convert(often, None)) / macs(convert(once, None))
    assert times == pytest.approx(views, rel=0.001)


def test_macs_are_counted_in_the_graph():
    layers = tf_keras.layers
    inputs = layers.Input((16, 8))
    x = layers.Reshape((16, 8, 1))(inputs)
    x = layers.Conv2D(4, 3, padding="same")(x)  # 16 * 8 * 4 outputs of 3 * 3 * 1
    x = layers.DepthwiseConv2D(3, padding="same")(x)  # 16 * 8 * 4 of 3 * 3
    x = layers.Reshape((16, 32))(x)
    x = layers.LSTM(6)(x)  # 16 steps of 4 * 6 * (32 + 6)
    model = tf_keras.Model(inputs, layers.Dense(2)(x))  # 6 * 2
    expected = 16 * 8 * 4 * 9 + 16 * 8 * 4 * 9 + 16 * 4 * 6 * (32 + 6) + 6 * 2
    assert macs(convert(model, None)) == expected
    with pytest.raises(ConversionError, match="not a TFLite flatbuffer"):
        macs(b"no model")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_can_be_read_and_built(path):
    parsed = config.load(path)
    assert parsed.name == path.stem
    assert parsed.protocol == "ravdess"
    spec = parsed.features
    model = zoo.build(
        parsed.architecture, spec.frames_per_window, spec.n_features, 8, parsed.model
    )
    assert model.output_shape == (None, 8)


def test_every_architecture_has_a_recipe():
    named = {config.load(path).architecture for path in CONFIGS}
    assert named | {"resnet2d"} == set(zoo.ARCHITECTURES)
