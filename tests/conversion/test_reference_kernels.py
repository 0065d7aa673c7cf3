"""Int8 files answer alike, to the bit, wherever the reference kernels run."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from conversion import flatbuffer
from conversion.tflite import convert
from edge_ser import bundle
from edge_ser.interpreter import choose_runtime, installed_runtimes
from training import zoo


@pytest.mark.parametrize("name", bundle.SHIPPED)
def test_every_interpreter_gives_the_same_bits(name):
    check(bundle.read(name).model)


def test_so_do_networks_that_hear_a_window_three_times():
    network = zoo.build("resnet2d", 32, 16, 3, {"channels": [8, 16], "views": 3})
    windows = np.random.default_rng(0).normal(size=(16, 32, 16)).astype(np.float32)
    check(convert(network, windows))


def check(model):
    graph = flatbuffer.read(model)
    # Rounded once by ai-edge-litert 2, and twice by the others.
    assert "FULLY_CONNECTED" not in {each.name for each in graph.operators}
    random = np.random.default_rng(0)
    shape = (200, *graph.inputs[0].shape)
    windows = random.integers(-128, 128, shape).astype(np.int8)
    answers = []
    for runtime in installed_runtimes():
        _, module = choose_runtime(runtime)
        interpreter = module.Interpreter(
            model_content=model,
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
        )
        interpreter.allocate_tensors()
        (entry,) = interpreter.get_input_details()
        (end,) = interpreter.get_output_details()
        of_runtime = []
        for window in windows:
            interpreter.set_tensor(entry["index"], window)
            interpreter.invoke()
            of_runtime.append(interpreter.get_tensor(end["index"]))
        answers.append(np.concatenate(of_runtime))
    assert len(answers) > 1
    assert answers[0].std() > 10
    for others in answers[1:]:
        np.testing.assert_array_equal(answers[0], others)
