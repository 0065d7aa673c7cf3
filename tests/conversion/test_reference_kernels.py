"""Why interpreters differ by a step with the reference kernels: one operator."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from conversion import flatbuffer
from edge_ser import bundle
from edge_ser.interpreter import choose_runtime, installed_runtimes

WINDOWS = 40


def run(name, model, windows):
    """By window, a function from a tensor to its value."""
    _, module = choose_runtime(name)
    interpreter = module.Interpreter(
        model_content=model,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    places = {t["name"]: t["index"] for t in interpreter.get_tensor_details()}
    (entry,) = interpreter.get_input_details()
    for window in windows:
        interpreter.set_tensor(entry["index"], window)
        interpreter.invoke()
        yield {
            name: interpreter.get_tensor(place).astype(int)
            for name, place in places.items()
            if name
        }


def exact(operator, values):
    """What a fully connected layer gives before it is rounded."""
    entry, kernel, bias = operator.inputs
    (end,) = operator.outputs
    weights = kernel.constant.reshape(kernel.shape).astype(np.int64)
    inputs = values[entry.name].reshape(-1, kernel.shape[-1]) - entry.zero_points[0]
    scale = entry.scales[0] * np.array(kernel.scales) / end.scales[0]
    total = inputs @ weights.T + (0 if bias is None else bias.constant)
    return np.clip(total * scale + end.zero_points[0], -128, 127)


def test_only_fully_connected_layers_differ_and_only_at_halves():
    """Rounded once by ai-edge-litert 2, twice by the others; the rest is equal."""
    model = bundle.read().model
    graph = flatbuffer.read(model)
    random = np.random.default_rng(0)
    shape = (WINDOWS, *graph.inputs[0].shape)
    windows = random.integers(-128, 128, shape).astype(np.int8)
    # tflite-runtime 2.14 adds in place: what was there before cannot be read.
    runtimes = sorted(set(installed_runtimes()) - {"tflite-runtime"})
    assert len(runtimes) > 1
    layers = 0
    for values in zip(*(run(n, model, windows) for n in runtimes), strict=True):
        for operator in graph.operators:
            names = [t.name for t in operator.inputs if t and t.constant is None]
            end = operator.outputs[0].name
            if operator.name == "FULLY_CONNECTED":
                layers += 1
                for each in values:
                    error = each[end].reshape(-1) - exact(operator, each).reshape(-1)
                    # Twice rounded, a value just below a half may still go up.
                    assert np.abs(error).max() < 0.501
            elif all((values[0][n] == each[n]).all() for n in names for each in values):
                for each in values[1:]:
                    np.testing.assert_array_equal(values[0][end], each[end])
    assert layers == 2 * WINDOWS


def test_tflite_runtime_agrees_too_up_to_its_last_pooling():
    """And its last layer is right but for halves."""
    model = bundle.read().model
    graph = flatbuffer.read(model)
    (pooled,) = (o.outputs[0] for o in graph.operators if o.name == "REDUCE_MAX")
    last = graph.operators[-1]
    random = np.random.default_rng(1)
    windows = random.integers(-128, 128, (8, *graph.inputs[0].shape)).astype(np.int8)
    runtimes = installed_runtimes()
    for values in zip(*(run(n, model, windows) for n in runtimes), strict=True):
        assert len({each[pooled.name].tobytes() for each in values}) == 1
        for each in values:
            error = each[last.outputs[0].name] - exact(last, each)
            assert np.abs(error).max() < 0.501
