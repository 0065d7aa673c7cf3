"""The Edge TPU compiler's rules: what maps, and what must not."""

from __future__ import annotations

import json
import os
import stat

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="its schema reads flatbuffers")

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from conversion import edgetpu
from conversion.__main__ import main
from conversion.errors import ConversionError
from edge_ser import bundle
from tiny_model import TINY_MODEL

MODEL = bundle.read(TINY_MODEL).model
MUL, ADD, RESHAPE, CONV, SECOND_CONV, MEAN, DENSE = range(7)


def altered(change) -> bytes:
    """The tiny model after `change(root, graph)`."""
    root = schema.ModelT.InitFromObj(schema.Model.GetRootAs(MODEL))
    change(root, root.subgraphs[0])
    builder = flatbuffers.Builder(len(MODEL))
    builder.Finish(root.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def refused(change, place: int) -> str:
    """Why the operator at a place is refused after a change; all before it map."""
    placements = edgetpu.check(altered(change))
    assert all(p.is_mapped for p in placements[:place])
    assert not placements[place].is_mapped
    assert placements[place].refusals
    assert not any(p.is_mapped for p in placements[place + 1 :])  # all depend on it
    return placements[place].status


def code_of(root, graph, place):
    return root.operatorCodes[graph.operators[place].opcodeIndex]


def own_code(root, graph, place, name, options=None, kind=None):
    """Give one operator a code of its own."""
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = 1
    root.operatorCodes.append(code)
    graph.operators[place].opcodeIndex = len(root.operatorCodes) - 1
    graph.operators[place].builtinOptions = options
    graph.operators[place].builtinOptionsType = kind or 0
    return code


def output(graph, place):
    return graph.tensors[graph.operators[place].outputs[0]]


def test_the_tiny_model_maps_wholly():
    placements = edgetpu.check(MODEL)
    assert [p.status for p in placements] == ["Edge TPU"] * 7
    assert "7 of 7 operators" in edgetpu.as_text(placements)
    assert edgetpu.check(altered(lambda root, graph: None)) == placements


def test_an_operator_that_is_not_supported():
    def change(root, graph):
        own_code(root, graph, CONV, "BATCH_MATMUL")

    assert "BATCH_MATMUL is not supported" in refused(change, CONV)


def test_a_newer_version():
    def change(root, graph):
        code_of(root, graph, DENSE).version = 12

    assert "version 12; valid: up to 9" in refused(change, DENSE)


def test_float():
    def change(root, graph):
        output(graph, RESHAPE).type = schema.TensorType.FLOAT32

    assert "is float32; valid: int8" in refused(change, RESHAPE)


def test_sixteen_bits():
    def change(root, graph):
        output(graph, CONV).type = schema.TensorType.INT16

    assert "is int16" in refused(change, CONV)


def test_no_quantization():
    def change(root, graph):
        output(graph, CONV).quantization = None

    assert "is not quantized" in refused(change, CONV)


def test_a_size_known_only_as_it_runs():
    def change(root, graph):
        output(graph, RESHAPE).shapeSignature = np.array([-1, 64, 64, 1], np.int32)

    assert "known only as it runs" in refused(change, RESHAPE)


def test_a_batch_of_pictures():
    def change(root, graph):
        output(graph, RESHAPE).shape = np.array([2, 32, 64, 1], np.int32)

    assert "three dimensions above 1" in refused(change, RESHAPE)


def test_uneven_dilation():
    def change(root, graph):
        graph.operators[CONV].builtinOptions.dilationHFactor = 2

    assert "dilation 2 x 1" in refused(change, CONV)


def test_weights_that_are_computed():
    def change(root, graph):
        graph.tensors[graph.operators[CONV].inputs[1]].buffer = 0

    assert "weights computed as it runs" in refused(change, CONV)


def test_shuffled_weights():
    def change(root, graph):
        graph.operators[DENSE].builtinOptions.weightsFormat = 1

    assert "shuffled weights" in refused(change, DENSE)


def test_a_dense_layer_over_time():
    def change(root, graph):
        output(graph, DENSE).shape = np.array([16, 3], np.int32)

    assert "output (16, 3); valid: one dimension" in refused(change, DENSE)


@pytest.mark.parametrize(
    ("axes", "word"), [([0, 1], "batch"), ([3], "depth of 10; valid: multiples of 4")]
)
def test_reductions(axes, word):
    def change(root, graph):
        mean = graph.operators[MEAN]
        graph.tensors[mean.inputs[0]].shape = np.array([1, 15, 14, 10], np.int32)
        buffer = root.buffers[graph.tensors[mean.inputs[1]].buffer]
        buffer.data = np.array(axes, np.int32).view(np.uint8)

    assert word in refused(change, MEAN)


def test_a_softmax_over_time_and_one_too_long():
    def change(root, graph):
        own_code(root, graph, CONV, "SOFTMAX")

    status = refused(change, CONV)
    assert "valid: one dimension above 1" in status

    def long(root, graph):
        own_code(root, graph, RESHAPE, "SOFTMAX")
        output(graph, RESHAPE).shape = np.array([1, 1, 1, 16001], np.int32)

    assert "16001 elements" in refused(long, RESHAPE)


def test_pooling_with_an_activation():
    def change(root, graph):
        options = schema.Pool2DOptionsT()
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        kind = schema.BuiltinOptions.Pool2DOptions
        own_code(root, graph, CONV, "MAX_POOL_2D", options, kind)

    assert "a fused activation" in refused(change, CONV)


def test_a_constant_that_is_joined():
    def change(root, graph):
        options = schema.ConcatenationOptionsT()
        kind = schema.BuiltinOptions.ConcatenationOptions
        own_code(root, graph, CONV, "CONCATENATION", options, kind)

    status = refused(change, CONV)
    assert "a constant among more than 2 inputs" in status
    assert "not all zeros" in status


def constant(root, graph, values):
    """A further tensor that holds int32 numbers; its index."""
    buffer = schema.BufferT()
    buffer.data = np.array(values, np.int32).view(np.uint8)
    root.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.name = b"parameter"
    tensor.shape = np.array([len(values)], np.int32)
    tensor.type = schema.TensorType.INT32
    tensor.buffer = len(root.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def feed(graph, *parameters):
    """What comes after the sound into the operator in the place of RESHAPE."""
    operator = graph.operators[RESHAPE]
    operator.inputs = [operator.inputs[0], *parameters]


def options_of(name, **values):
    made = getattr(schema, f"{name}T")()
    for key, value in values.items():
        setattr(made, key, value)
    return made, getattr(schema.BuiltinOptions, name)


def padded(amounts):
    def change(root, graph):
        own_code(root, graph, RESHAPE, "PAD")
        feed(graph, constant(root, graph, amounts))

    return change


def sliced(strides, **options):
    def change(root, graph):
        made = options_of("StridedSliceOptions", **options)
        own_code(root, graph, RESHAPE, "STRIDED_SLICE", *made)
        edges = [constant(root, graph, each) for each in ([0] * 4, [1] * 4, strides)]
        feed(graph, *edges)

    return change


def split(axis):
    def change(root, graph):
        own_code(root, graph, RESHAPE, "SPLIT", *options_of("SplitOptions"))
        sound = graph.operators[RESHAPE].inputs[0]
        graph.operators[RESHAPE].inputs = [constant(root, graph, [axis]), sound]

    return change


def packed(axis):
    def change(root, graph):
        own_code(root, graph, RESHAPE, "PACK", *options_of("PackOptions", axis=axis))
        feed(graph)

    return change


def rectified(*shape):
    def change(root, graph):
        own_code(root, graph, RESHAPE, "PRELU")
        alpha = constant(root, graph, [1])
        graph.tensors[alpha].shape = np.array(shape, np.int32)
        feed(graph, alpha)

    return change


def resized(*shape):
    def change(root, graph):
        made = options_of("ResizeBilinearOptions")
        own_code(root, graph, RESHAPE, "RESIZE_BILINEAR", *made)
        feed(graph, constant(root, graph, [4, 4]))
        output(graph, RESHAPE).shape = np.array(shape, np.int32)

    return change


def without_parameter(change):
    """The same with the parameter computed as it runs."""

    def both(root, graph):
        change(root, graph)
        graph.tensors[-1].buffer = 0

    return both


@pytest.mark.parametrize(
    ("maps", "is_refused", "word"),
    [
        (padded([0, 0, 1, 1]), padded([1, 0, 1, 1]), "pads the batch dimension"),
        (padded([0, 0]), without_parameter(padded([0, 0])), "padding computed"),
        (sliced([1] * 4), sliced([1, 2, 1, 1]), "strides other than 1"),
        (sliced([1] * 4), without_parameter(sliced([1] * 4)), "strides other than 1"),
        (sliced([1] * 4), sliced([1] * 4, ellipsisMask=1), "ellipsisMask is set"),
        (sliced([1] * 4), sliced([1] * 4, newAxisMask=1), "newAxisMask is set"),
        (split(-1), split(-4), "along the batch dimension"),
        (split(1), without_parameter(split(1)), "an axis computed"),
        (packed(-1), packed(0), "along the batch dimension"),
        (rectified(1, 1, 16), rectified(1, 8, 16), "alpha of more than one dimension"),
        (resized(1, 16, 8, 4), resized(8, 16, 4), "valid: 3-D"),
    ],
)
def test_shapes_and_parameters_of_further_operators(maps, is_refused, word):
    assert edgetpu.check(altered(maps))[RESHAPE].is_mapped
    assert word in refused(is_refused, RESHAPE)


def test_control_flow():
    def change(root, graph):
        root.subgraphs.append(root.subgraphs[0])

    assert "more than one subgraph" in refused(change, MUL)


def test_the_command_line(capsys, tmp_path):
    assert main(["edgetpu", str(TINY_MODEL), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["mapped"] for answer in answers] == [True] * 7
    path = tmp_path / "float.tflite"

    def change(root, graph):
        output(graph, CONV).type = schema.TensorType.FLOAT32

    bundle.write(path, bundle.read(TINY_MODEL).card, altered(change))
    assert main(["edgetpu", str(path)]) == 1
    assert "3 of 7 operators map" in capsys.readouterr().out


def test_the_compiler(capsys, tmp_path, monkeypatch):
    """A program of its name stands in: Coral's own is for no one to redistribute."""
    out = tmp_path / "compiled.tflite"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["edgetpu", str(TINY_MODEL), "--out", str(out)]) == 1
    assert "not on the PATH" in capsys.readouterr().err
    compiler = tmp_path / edgetpu.COMPILER
    compiler.write_text(
        "#!/bin/sh\n"
        'test "$1 $2" = "--show_operations -o" || exit 3\n'
        '/bin/cp "${0%/*}/made" "$3/model_edgetpu.tflite"\n'
        'echo "Mapped to Edge TPU"\n'
    )

    def compile_all(root, graph):
        code = root.operatorCodes[graph.operators[CONV].opcodeIndex]
        code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"edgetpu-custom-op"

    made = tmp_path / "made"
    made.write_bytes(altered(compile_all))
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    assert main(["edgetpu", str(TINY_MODEL), "--json", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert all(answer["mapped"] for answer in json.loads(told.out))
    assert "Mapped to Edge TPU" in told.err
    packed = bundle.read(out)
    assert packed.model == made.read_bytes()
    assert packed.card.quantization == "int8-edgetpu"
    assert all(placement.is_mapped for placement in edgetpu.check(packed.model))
    assert main(["edgetpu", str(out), "--out", str(tmp_path / "again.tflite")]) == 1
    assert "int8-edgetpu; valid: int8, not compiled yet" in capsys.readouterr().err
    made.write_bytes(MODEL)
    assert main(["edgetpu", str(TINY_MODEL), "--out", str(tmp_path / "x.tflite")]) == 1
    assert "mapped no operator" in capsys.readouterr().err
    assert packed.card.labels == bundle.read(TINY_MODEL).card.labels
    compiler.write_text("#!/bin/sh\necho 'Internal compiler error.' >&2; exit 1\n")
    os.unlink(out)
    assert main(["edgetpu", str(TINY_MODEL), "--out", str(out)]) == 1
    assert "Internal compiler error" in capsys.readouterr().err
    assert not out.exists()


def test_what_is_no_model():
    with pytest.raises(ConversionError, match="not a TFLite"):
        edgetpu.check(b"something else")
