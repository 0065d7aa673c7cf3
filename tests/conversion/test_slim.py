"""Channels that are taken away: the rest must compute what they did before."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from conversion.errors import ConversionError
from conversion.slim import _macs, _Plan, slim
from training import zoo
from training.keras import tf_keras

layers = tf_keras.layers


def network() -> tf_keras.Model:
    """Residual, depthwise, flattened, joined and attended: every rule once."""
    tf_keras.utils.set_random_seed(3)
    inputs = layers.Input((16, 8))
    x = layers.Reshape((16, 8, 1))(inputs)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    y = layers.Conv2D(16, 1)(layers.ReLU()(y))
    x = layers.MaxPooling2D(2)(layers.Add()([x, y]))
    x = layers.Reshape((8, 4 * 16))(x)
    x = layers.Dense(24, activation="relu")(x)
    weights = layers.Softmax(axis=1)(layers.Dense(1)(x))
    attended = layers.Flatten()(layers.Dot(axes=1)([weights, x]))
    pooled = layers.Concatenate()([attended, layers.GlobalMaxPooling1D()(x)])
    model = tf_keras.Model(inputs, layers.Dense(3)(pooled))
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.1, 1, w.shape) for w in model.get_weights()])
    return model


def test_all_channels_kept_is_the_same_network():
    model = network()
    plan = _Plan(model)
    same = plan.build(set(plan.roots.values()))
    windows = np.random.default_rng(1).normal(size=(4, 16, 8)).astype(np.float32)
    np.testing.assert_array_equal(same(windows), model(windows))


def test_what_is_left_answers_as_if_the_others_were_zero():
    model = network()
    plan = _Plan(model)
    keep = plan.kept(0.5)
    smaller = plan.build(keep)
    assert plan.macs(keep) < 0.6 * plan.macs(set(plan.roots.values()))
    assert smaller.count_params() < 0.7 * model.count_params()
    # The same network with what feeds the lost channels' readers set to zero.
    for layer in model.layers:
        weights = layer.get_weights()
        if type(layer).__name__ in ("Conv2D", "Dense"):
            channels = plan.layers[layer.name].inputs[0]
            gone = np.setdiff1d(
                np.arange(len(channels)), plan.positions(channels, keep)
            )
            weights[0][..., gone, :] = 0
            layer.set_weights(weights)
    windows = np.random.default_rng(1).normal(size=(4, 16, 8)).astype(np.float32)
    np.testing.assert_allclose(smaller(windows), model(windows), rtol=1e-4)


def test_the_least_important_channels_go():
    model = network()
    first = next(x for x in model.layers if type(x).__name__ == "Dense")
    kernel, bias = first.get_weights()
    kernel[:, :12] *= 1e-3
    first.set_weights([kernel, bias])
    plan = _Plan(model)
    kept = plan.positions(plan.layers[first.name].output, plan.kept(0.5))
    np.testing.assert_array_equal(kept, np.arange(12, 24))


def test_a_fine_tuning_sees_the_small_network():
    seen = []
    smaller = slim(network(), 0.4, lambda model, callbacks: seen.append(model))
    assert seen == [smaller]


def test_what_is_heard_twice_counts_twice():
    tf_keras.utils.set_random_seed(3)
    settings = {"channels": [16, 24], "over_frequency": 16, "views": 2}
    model = zoo.build("resnet2d", 32, 16, 3, settings)
    plan = _Plan(model)
    everything = plan.macs(set(plan.roots.values()))
    assert everything == pytest.approx(_macs(model), rel=0.01)  # but for the attention
    smaller = slim(model, 0.4, lambda model, callbacks: None)
    assert _macs(smaller) <= 0.6 * _macs(model)
    pooled = smaller.get_layer("mean_of_views").output_shape[-1]
    assert pooled < model.get_layer("mean_of_views").output_shape[-1]


def test_what_is_not_understood_stays():
    inputs = layers.Input((16, 8))
    x = layers.Conv1D(12, 3)(inputs)
    x = layers.LayerNormalization()(x)
    x = layers.Conv1D(20, 3)(layers.Conv1D(16, 3)(x))
    model = tf_keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling1D()(x)))
    plan = _Plan(model)
    names = [x.name for x in model.layers if type(x).__name__ == "Conv1D"]
    keep = plan.kept(0.5)
    left = [len(plan.positions(plan.layers[name].output, keep)) for name in names]
    assert left == [12, 8, 10] or left == [12, 8, 12] or left == [12, 8, 8]


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU])
def test_recurrent_layers_lose_units(kind):
    tf_keras.utils.set_random_seed(3)
    inputs = layers.Input((12, 6))
    x = layers.Conv1D(16, 3, padding="same")(inputs)
    x = kind(16, return_sequences=True)(x)
    x = kind(12)(layers.Dropout(0.1)(x))
    model = tf_keras.Model(inputs, layers.Dense(3)(x))
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=w.shape) / 3 for w in model.get_weights()])
    plan = _Plan(model)
    everything = set(plan.roots.values())
    gates = 4 if kind is layers.LSTM else 3
    expected = 12 * 3 * 6 * 16 + 12 * gates * 16 * 32 + 12 * gates * 12 * 28 + 12 * 3
    assert plan.macs(everything) == expected
    keep = plan.kept(0.5)
    smaller = plan.build(keep)
    assert plan.macs(keep) < 0.5 * expected
    # The same network with what reads the lost units set to zero.
    for layer in model.layers:
        if not layer.weights:
            continue
        weights = layer.get_weights()
        plans = plan.layers[layer.name]
        for matrix, channels in ((0, plans.inputs[0]), (1, plans.output)):
            if matrix == 0 or type(layer) is kind:
                kept = plan.positions(channels, keep)
                gone = np.setdiff1d(np.arange(len(channels)), kept)
                weights[matrix][..., gone, :] = 0
        layer.set_weights(weights)
    windows = random.normal(size=(4, 12, 6)).astype(np.float32)
    np.testing.assert_allclose(smaller(windows), model(windows), atol=1e-5)


def test_what_cannot_be_thinned_counts_too():
    """Attention stays, so the rest must save for it; or it is said that it cannot."""
    inputs = layers.Input((16, 8))
    x = layers.Dense(32)(inputs)
    x = layers.MultiHeadAttention(2, 8)(x, x)
    x = layers.Dense(64, activation="relu")(x)
    model = tf_keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    before = _macs(model)
    assert _macs(slim(model, 0.2, lambda model, callbacks: None)) <= 0.8 * before
    with pytest.raises(ConversionError, match="no 60% of the multiplications"):
        slim(model, 0.6, lambda model, callbacks: None)
