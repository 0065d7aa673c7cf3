"""What a .tflite really holds, read back from the flatbuffer itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from conversion.errors import ConversionError
from conversion.prune import MIN_KERNEL_SIZE

_STORED = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64")
_AS_IT_WAS = ("DEQUANTIZE", "EXPAND_DIMS", "QUANTIZE", "RESHAPE", "SQUEEZE")
_ACTIVATIONS = (
    *("ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "PRELU", "RELU", "RELU6"),
    *("RELU_0_TO_1", "RELU_N1_TO_1", "TANH"),
)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of the graph."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """-1 for what is known only when it runs."""
    constant: Any
    """The stored values as a numpy array, or None for activations."""
    scales: tuple[float, ...] = ()
    """Of its quantization: one, or one a channel; empty for none."""
    zero_points: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Operator:
    """One node of the graph."""

    name: str
    """As the schema has it: ``CONV_2D``; a custom one's own name."""
    version: int
    inputs: tuple[Tensor | None, ...]
    """None for an optional one that is left out."""
    outputs: tuple[Tensor, ...]
    options: dict[str, Any]
    """The schema's options of this kind of operator, by their names there."""

    @property
    def macs(self) -> int:
        """Multiplications and additions for one window, as pairs.

        Convolutions, fully connected layers, matrix products and LSTM; what is done
        once an element (additions, pooling, activations) is not counted.
        """
        out = self.outputs[0].shape if self.outputs else ()
        if self.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            weights = self.inputs[1]
            assert weights is not None
            kernel = weights.shape
            # Each output value is one product with what its channel's kernel spans.
            if self.name == "DEPTHWISE_CONV_2D":
                kernel = (1, *kernel[1:3])
            return int(np.prod(out) * np.prod(kernel[1:]))
        if self.name == "BATCH_MATMUL":
            left = self.inputs[0]
            assert left is not None
            inner = left.shape[-2 if self.options.get("adjX") else -1]
            return int(np.prod(out) * inner)
        if self.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            first = self.inputs[0]
            assert first is not None
            steps = first.shape[0 if self.options.get("timeMajor") else 1]
            matrices = [t for t in self.inputs[1:9] if t is not None]
            return steps * sum(int(np.prod(t.shape)) for t in matrices)
        return 0


@dataclasses.dataclass(frozen=True)
class Graph:
    """A model's main graph."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    subgraphs: int

    @property
    def macs(self) -> int:
        """See `Operator.macs`."""
        return sum(operator.macs for operator in self.operators)

    @property
    def has_loops(self) -> bool:
        """Whether an operator hides its size in other subgraphs."""
        return any(operator.name in ("WHILE", "IF") for operator in self.operators)


def read(model: bytes) -> Graph:
    """The main graph of a model.

    Raises:
        ConversionError: not a TFLite flatbuffer.
    """
    from ai_edge_litert import schema_py_generated as schema

    if model[4:8] != b"TFL3":
        raise ConversionError("not a TFLite flatbuffer")
    root = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model))
    dtypes = _names(schema.TensorType)
    codes = _names(schema.BuiltinOperator)
    graph = root.subgraphs[0]
    tensors = [
        _tensor(tensor, dtypes[tensor.type].lower(), root.buffers[tensor.buffer].data)
        for tensor in graph.tensors
    ]
    operators = []
    for node in graph.operators:
        code = root.operatorCodes[node.opcodeIndex]
        # Older files keep the code in a byte of its own.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        name = codes[number]
        if name == "CUSTOM":
            name = code.customCode.decode()
        operators.append(
            Operator(
                name,
                code.version,
                tuple(tensors[i] if i >= 0 else None for i in node.inputs),
                tuple(tensors[i] for i in node.outputs),
                dict(vars(node.builtinOptions)) if node.builtinOptions else {},
            )
        )
    return Graph(
        tuple(tensors),
        tuple(operators),
        tuple(tensors[i] for i in graph.inputs),
        tuple(tensors[i] for i in graph.outputs),
        len(root.subgraphs),
    )


def _names(enumeration: Any) -> dict[int, str]:
    return {
        value: name
        for name, value in vars(enumeration).items()
        if not name.startswith("_")
    }


def _tensor(tensor: Any, dtype: str, raw: Any) -> Tensor:
    constant = None
    if raw is not None and len(raw) and dtype in _STORED:
        constant = np.frombuffer(bytes(bytearray(raw)), dtype)
    shape = tensor.shape if tensor.shape is not None else ()
    if tensor.shapeSignature is not None:
        shape = tensor.shapeSignature
    quantization = tensor.quantization
    scales, zeros = (
        () if values is None else tuple(np.atleast_1d(values).tolist())
        for values in (
            getattr(quantization, "scale", None),
            getattr(quantization, "zeroPoint", None),
        )
    )
    name = tensor.name.decode() if tensor.name else ""
    return Tensor(name, dtype, tuple(map(int, shape)), constant, scales, zeros)


def kernels(graph: Graph) -> list[Tensor]:
    """The weights that pruning may touch, see `conversion.prune.MIN_KERNEL_SIZE`."""
    return [
        tensor
        for tensor in graph.tensors
        if tensor.constant is not None
        and tensor.dtype in ("float32", "float16", "int8")
        and tensor.constant.size >= MIN_KERNEL_SIZE
    ]


def channels(graph: Graph) -> list[int]:
    """Output channels of every convolution and fully connected layer, in order."""
    weighted = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    return [op.outputs[0].shape[-1] for op in graph.operators if op.name in weighted]


def last_activation(graph: Graph) -> str | None:
    """The activation, but a softmax, that the output comes from, by its schema's name.

    Of a softmax only the answers tell: a model may write it out.
    """
    from ai_edge_litert import schema_py_generated as schema

    makers = {id(tensor): op for op in graph.operators for tensor in op.outputs}
    operator = makers.get(id(graph.outputs[0]))
    while operator and operator.name in _AS_IT_WAS:
        operator = makers.get(id(operator.inputs[0]))
    if operator is None:
        return None
    if operator.name in _ACTIVATIONS:
        return operator.name
    fused = operator.options.get("fusedActivationFunction", 0)
    return _names(schema.ActivationFunctionType)[fused] if fused else None


def zero_fraction(graph: Graph) -> float:
    """Share of exact zeros over all `kernels`.

    int8 weights are symmetric (zero point 0), so a stored 0 is a weight of 0; small
    weights that round to 0 count too.
    """
    weights = kernels(graph)
    total = sum(tensor.constant.size for tensor in weights)
    zeros = sum(int((tensor.constant == 0).sum()) for tensor in weights)
    return zeros / total if total else 0.0
