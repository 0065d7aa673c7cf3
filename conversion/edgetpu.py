"""What of a model the Edge TPU would run, by the compiler's published rules.

The rules are the table "Supported operations" and the list of requirements of Coral's
"TensorFlow models on the Edge TPU" (https://coral.ai/docs/edgetpu/models-intro), for
runtime 14 and compiler 16. Two more are from its maintainers: the compiler stops at the
first operator that it cannot map and leaves all that depend on it to the CPU, and it
knows operators as TensorFlow 2.8 versions them, refusing a file with a newer one
(https://github.com/google-coral/edgetpu/issues/631). The compiler may still leave out
what the rules allow; only the compiler itself is sure.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable

import numpy as np

from conversion.errors import ConversionError
from conversion.flatbuffer import Graph, Operator, Tensor, read
from edge_ser import bundle

COMPILER = "edgetpu_compiler"
_COMPILED = "edgetpu-custom-op"
"""What the compiler puts in the place of all that it maps."""
_KIND = "-edgetpu"
_LIMIT_S = 300
_SOFTMAX_ELEMENTS = 16_000

# The newest version of each operator that TensorFlow 2.8 registers.
_NEWEST = {
    "ADD": 4,
    "AVERAGE_POOL_2D": 3,
    "CONCATENATION": 3,
    "CONV_2D": 5,
    "DEPTHWISE_CONV_2D": 6,
    "EXPAND_DIMS": 1,
    "FULLY_CONNECTED": 9,
    "L2_NORMALIZATION": 2,
    "LOGISTIC": 3,
    "MAXIMUM": 4,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MINIMUM": 4,
    "MUL": 5,
    "PACK": 3,
    "PAD": 4,
    "PRELU": 1,
    "QUANTIZE": 3,
    "REDUCE_MAX": 3,
    "REDUCE_MIN": 3,
    "RELU": 3,
    "RELU6": 3,
    "RELU_N1_TO_1": 1,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 4,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "RSQRT": 2,
    "SLICE": 5,
    "SOFTMAX": 3,
    "SPACE_TO_DEPTH": 2,
    "SPLIT": 4,
    "SQUARED_DIFFERENCE": 2,
    "SQUEEZE": 2,
    "STRIDED_SLICE": 6,
    "SUB": 5,
    "SUM": 2,
    "TANH": 3,
    "TRANSPOSE": 5,
    "TRANSPOSE_CONV": 3,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 3,
}


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where one operator would run."""

    operator: str
    version: int
    output: str
    shape: tuple[int, ...]
    refusals: tuple[str, ...]
    """Rules that it breaks."""
    is_after_cpu: bool
    """It depends on an operator that stays on the CPU."""

    @property
    def is_mapped(self) -> bool:
        """Whether the Edge TPU would run it."""
        return not self.refusals and not self.is_after_cpu

    @property
    def status(self) -> str:
        """In words."""
        if self.refusals:
            return "CPU: " + "; ".join(self.refusals)
        return "CPU: after one that stays there" if self.is_after_cpu else "Edge TPU"


def check(model: bytes) -> list[Placement]:
    """Where each operator would run, in the order of the graph.

    Raises:
        ConversionError: not a TFLite flatbuffer.
    """
    graph = read(model)
    on_cpu: set[int] = set()
    placements = []
    for operator in graph.operators:
        refusals = tuple(_refusals(operator, graph))
        after = any(id(t) in on_cpu for t in operator.inputs if t is not None)
        if refusals or after:
            on_cpu |= {id(tensor) for tensor in operator.outputs}
        first = operator.outputs[0]
        placements.append(
            Placement(
                operator.name,
                operator.version,
                first.name.split(";")[0],
                first.shape,
                refusals,
                after,
            )
        )
    return placements


def _refusals(operator: Operator, graph: Graph) -> list[str]:
    """The rules that an operator breaks."""
    found = []
    if graph.subgraphs > 1:
        found.append("more than one subgraph (control flow)")
    if operator.name == _COMPILED:
        return []
    if operator.name not in _NEWEST:
        return [*found, f"{operator.name} is not supported"]
    newest = _NEWEST[operator.name]
    if operator.version > newest:
        found.append(f"version {operator.version}; valid: up to {newest}")
    for tensor in (*operator.inputs, *operator.outputs):
        if tensor is not None:
            found += _tensor_refusals(tensor)
    rule = _RULES.get(operator.name)
    if rule is not None:
        found += rule(operator)
    return list(dict.fromkeys(found))


def _tensor_refusals(tensor: Tensor) -> list[str]:
    """The requirements on every tensor."""
    name = tensor.name.split(";")[0]
    found = []
    if any(size < 0 for size in tensor.shape):
        found.append(f"{name} has a size known only as it runs")
    if tensor.constant is not None:
        if tensor.dtype not in ("int8", "uint8", "int32"):
            found.append(f"{name} holds {tensor.dtype}; valid: int8, uint8")
    elif tensor.dtype not in ("int8", "uint8"):
        found.append(f"{name} is {tensor.dtype}; valid: int8, uint8")
    elif not tensor.scales:
        found.append(f"{name} is not quantized")
    elif any(size > 1 for size in tensor.shape[:-3]):
        found.append(f"{name} is {tensor.shape}; valid: three dimensions above 1")
    return found


def _no_fused_activation(operator: Operator) -> list[str]:
    fused = operator.options.get("fusedActivationFunction", 0)
    return ["a fused activation; valid: none"] if fused else []


def _same_dilation(operator: Operator) -> list[str]:
    x = operator.options.get("dilationWFactor", 1)
    y = operator.options.get("dilationHFactor", 1)
    if x != y:
        return [f"dilation {y} x {x}; valid: the same in both directions"]
    return []


def _constant_parameters(operator: Operator) -> list[str]:
    for tensor in operator.inputs[1:]:
        if tensor is not None and tensor.constant is None:
            return ["weights computed as it runs; valid: constants"]
    return []


def _convolution(operator: Operator) -> list[str]:
    return _same_dilation(operator) + _constant_parameters(operator)


def _fully_connected(operator: Operator) -> list[str]:
    found = _constant_parameters(operator)
    if operator.options.get("weightsFormat", 0):
        found.append("shuffled weights; valid: the default format")
    shape = operator.outputs[0].shape
    if sum(size > 1 for size in shape) > 1:
        found.append(f"output {shape}; valid: one dimension above 1")
    return found


def _concatenation(operator: Operator) -> list[str]:
    found = _no_fused_activation(operator)
    constants = [t for t in operator.inputs if t is not None and t.constant is not None]
    if constants and len(operator.inputs) != 2:
        found.append("a constant among more than 2 inputs")
    for tensor in constants:
        zero = tensor.zero_points[0] if tensor.zero_points else 0
        if (tensor.constant != zero).any():
            found.append("a constant that is not all zeros")
    return found


def _axes(operator: Operator) -> list[int]:
    """The axes that are reduced, counted from the first."""
    axes = operator.inputs[1]
    if axes is None or axes.constant is None or operator.inputs[0] is None:
        return []
    rank = len(operator.inputs[0].shape)
    return [int(axis) % rank for axis in axes.constant]


def _reduction(operator: Operator) -> list[str]:
    axes, first = _axes(operator), operator.inputs[0]
    batch = 0 in axes and first is not None and len(first.shape) > 1
    return ["reduces the batch dimension"] if batch else []


def _mean(operator: Operator) -> list[str]:
    found = _reduction(operator)
    first = operator.inputs[0]
    if first is not None and len(first.shape) - 1 in _axes(operator):
        depth = first.shape[-1]
        if depth % 4:
            found.append(f"mean over a depth of {depth}; valid: multiples of 4")
    return found


def _softmax(operator: Operator) -> list[str]:
    shape = operator.outputs[0].shape
    found = []
    if sum(size > 1 for size in shape) > 1:
        found.append(f"input {shape}; valid: one dimension above 1")
    if np.prod(shape) > _SOFTMAX_ELEMENTS:
        found.append(f"{np.prod(shape)} elements; valid: up to {_SOFTMAX_ELEMENTS}")
    return found


def _pad(operator: Operator) -> list[str]:
    amounts = operator.inputs[1]
    if amounts is None or amounts.constant is None:
        return ["padding computed as it runs"]
    return ["pads the batch dimension"] if amounts.constant[:2].any() else []


def _strided_slice(operator: Operator) -> list[str]:
    strides = operator.inputs[3]
    if strides is None or strides.constant is None or (strides.constant != 1).any():
        return ["strides other than 1"]
    masks = ("ellipsisMask", "newAxisMask")
    return [f"{m} is set" for m in masks if operator.options.get(m, 0)]


def _not_over_batch(option: str) -> Callable[[Operator], list[str]]:
    def rule(operator: Operator) -> list[str]:
        rank = len(operator.outputs[0].shape)
        along = operator.options.get(option, 0) % rank
        return ["along the batch dimension"] if along == 0 else []

    return rule


def _split(operator: Operator) -> list[str]:
    axis = operator.inputs[0]
    if axis is None or axis.constant is None:
        return ["an axis computed as it runs"]
    rank = len(operator.outputs[0].shape)
    return ["along the batch dimension"] if int(axis.constant[0]) % rank == 0 else []


def _prelu(operator: Operator) -> list[str]:
    alpha = operator.inputs[1]
    if alpha is None or any(size > 1 for size in alpha.shape[:-1]):
        return ["an alpha of more than one dimension; share it over both axes"]
    return []


def _resize(operator: Operator) -> list[str]:
    shape = operator.outputs[0].shape
    return [] if len(shape) <= 4 and shape[0] == 1 else [f"output {shape}; valid: 3-D"]


_RULES: dict[str, Callable[[Operator], list[str]]] = {
    "AVERAGE_POOL_2D": _no_fused_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _no_fused_activation,
    "MEAN": _mean,
    "PACK": _not_over_batch("axis"),
    "PAD": _pad,
    "PRELU": _prelu,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _reduction,
    "TRANSPOSE_CONV": _same_dilation,
}


def as_text(placements: list[Placement]) -> str:
    """A line an operator, and how many are mapped."""
    lines = [
        f"{p.operator:20} v{p.version}  {p.shape!s:20} {p.status}" for p in placements
    ]
    mapped = sum(p.is_mapped for p in placements)
    lines.append(f"{mapped} of {len(placements)} operators map to the Edge TPU")
    return "\n".join(lines)


def compile_bundle(path: str | os.PathLike[str], out: pathlib.Path) -> str:
    """Compile a bundle for the Edge TPU and write it with its card.

    Returns:
        What the compiler said of each operator.

    Raises:
        ConversionError: no int8 bundle, or one that was compiled; no compiler on the
            PATH, or it refuses the model or maps nothing.
        BundleError: the bundle is refused, or `out` cannot be written.
    """
    checked = bundle.read(path)
    kind = checked.card.quantization
    if not kind.startswith("int8") or kind.endswith(_KIND):
        raise ConversionError(f"{path} is {kind}; valid: int8, not compiled yet")
    if shutil.which(COMPILER) is None:
        raise ConversionError(
            f"{COMPILER} is not on the PATH; Coral has Debian packages of it"
        )
    with tempfile.TemporaryDirectory(prefix="edge-ser-edgetpu-") as name:
        folder = pathlib.Path(name)
        (folder / "model.tflite").write_bytes(checked.model)
        try:
            result = subprocess.run(
                [COMPILER, "--show_operations", "-o", name, folder / "model.tflite"],
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ConversionError(
                f"{COMPILER} took longer than {_LIMIT_S} s"
            ) from error
        compiled = folder / "model_edgetpu.tflite"
        if result.returncode or not compiled.exists():
            lines = (result.stderr + result.stdout).strip().splitlines() or ["nothing"]
            raise ConversionError(f"{COMPILER} failed: it said: {lines[-1]}")
        made = compiled.read_bytes()
        if all(operator.name != _COMPILED for operator in read(made).operators):
            raise ConversionError(f"{COMPILER} mapped no operator to the Edge TPU")
        card = dataclasses.replace(checked.card, quantization=kind + _KIND)
        bundle.write(out, card, made)
    return result.stdout


def as_json(placements: list[Placement]) -> str:
    """All placements, for programs."""
    return json.dumps(
        [dataclasses.asdict(p) | {"mapped": p.is_mapped} for p in placements]
    )
