"""Proof of what a bundle is: read back from the file, run in every interpreter."""

from __future__ import annotations

import collections
import dataclasses
import gzip
import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion import flatbuffer
from conversion.errors import ConversionError
from conversion.variants import BY_NAME, FEWER_MACS, Variant
from edge_ser import bundle
from edge_ser.bundle import Card
from edge_ser.errors import EdgeSerError
from edge_ser.interpreter import Interpreter, installed_runtimes
from edge_ser.spec import brief

Float32 = npt.NDArray[np.float32]


MIN_AGREEMENT = 0.85
"""Less agreement than this with the Keras model is a fault, no quantization noise."""
_ZEROS_MISSING = 0.05  # so much less than promised is a fault
_PORTABLE_WINDOWS = 8  # the reference kernels take their time
_PORTABLE_STEPS = 1
_OF_MODEL = ("quantization", "labels", "hop_frames", "temperature")
"""What a card says of its model, beside the features."""
# Beside the numbers themselves: spectra, indices and conditions.
_FLOAT = {"float32", "complex64", "int32", "int64", "bool"}
_DTYPES = {
    "float32": _FLOAT,
    "float16": _FLOAT | {"float16"},
    "dynamic-range": _FLOAT | {"int8"},
    # int16: the cell state of a fused LSTM.
    "int8": {"int8", "int16", "int32"},
}


@dataclasses.dataclass(frozen=True)
class Score:
    """How a bundle did on speakers whom its model never heard, by the device runtime.

    Intervals are of 95 %, from a bootstrap over speakers; None for a single speaker.
    """

    protocol: str
    fold: int
    clips: int
    speakers: int
    ua: float
    ua_95: tuple[float, float] | None
    wa: float
    wa_95: tuple[float, float] | None
    ua_minus_keras: float
    """Over the same clips."""
    ua_minus_keras_95: tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class Proof:
    """What was found in one bundle."""

    variant: str
    """What it is to be."""
    card_faults: list[str]
    """Where its card says something else than what it was made from."""
    model_bytes: int
    compressed_bytes: int
    """Of the model part, gzip -9."""
    tensors: dict[str, int]
    """Number of tensors by dtype."""
    operators: dict[str, int]
    """Number of operators by name and version: ``CONV_2D 3``."""
    input_dtype: str
    input_quantization: tuple[float, int] | None
    """Scale and zero point."""
    output_dtype: str
    output_quantization: tuple[float, int] | None
    macs: int
    """Multiplications for one window, see `flatbuffer.Operator.macs`."""
    channels: list[int]
    """Of every layer with weights, in order."""
    zero_fraction: float
    sparsity: float | None
    """The share of zeros that it promises; None for what is not pruned."""
    agreement: float
    """Share of windows on which the device runtime and Keras choose the same label."""
    largest_difference: float
    """Of any probability between the two."""
    runtimes: dict[str, str]
    """By interpreter: ``runs``, or why not."""
    spread: float
    """Largest difference of any output between two interpreters: in quantization
    steps for int8, in logits for float."""

    portable_spread: float
    """The same over the first windows with the reference kernels (``portable``)."""
    portable_shift: dict[str, float]
    """By interpreter: largest difference of any output between its reference and its
    fast kernels, over the first windows, in the unit of `spread`."""
    score: Score | None = None
    """None if it was not scored."""

    @property
    def promise(self) -> Variant:
        """What a variant of this name stands for."""
        return BY_NAME[self.variant]

    @property
    def tolerance(self) -> float:
        """How much interpreters may differ.

        XNNPACK rounds halves to even where TFLite's own kernels round them up, which
        moves one value in a thousand by one step in each layer. The reference kernels
        of int8 may differ by `_PORTABLE_STEPS` only: those of ai-edge-litert 2 and
        tflite-runtime 2.14 did in one of 256 outputs of a small network. Dynamic range
        quantizes activations as it runs, in ways of each interpreter's own.
        """
        return {"int8": 8, "dynamic-range": 0.5}.get(self.promise.arithmetic, 1e-2)

    @property
    def problems(self) -> list[str]:
        """What breaks the variant's promise; empty if it keeps it."""
        found = list(self.card_faults)
        promise = self.promise
        for dtype in sorted(set(self.tensors) - _DTYPES[promise.arithmetic]):
            found.append(f"{self.tensors[dtype]} {dtype} tensors in {self.variant}")
        ends = "int8" if promise.is_int8 else "float32"
        if (self.input_dtype, self.output_dtype) != (ends, ends):
            found.append(f"input {self.input_dtype}, output {self.output_dtype}")
        least = (self.sparsity or 0.0) - _ZEROS_MISSING
        if self.zero_fraction < least:
            found.append(
                f"{self.zero_fraction:.1%} zeros; {self.sparsity:.0%} were to be pruned"
            )
        if self.agreement < MIN_AGREEMENT:
            found.append(f"agrees with Keras on {self.agreement:.1%} only")
        if promise.is_int8:
            found += [f"{k}: {v}" for k, v in self.runtimes.items() if v != "runs"]
        if self.spread > self.tolerance:
            found.append(f"interpreters differ by {self.told(self.spread)}")
        if promise.is_int8 and self.portable_spread > _PORTABLE_STEPS:
            found.append(
                f"reference kernels differ by {self.told(self.portable_spread)}"
            )
        found += [
            f"{name}: reference kernels are {self.told(shift)} from the fast ones"
            for name, shift in self.portable_shift.items()
            if shift > self.tolerance
        ]
        return found

    def told(self, difference: float) -> str:
        """A difference of outputs with its unit."""
        if self.promise.is_int8:
            return f"{difference:.0f} steps"
        return f"{difference:.2g} logit"


def _softmax(logits: Float32) -> Float32:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def prove(
    path: pathlib.Path,
    card: Card,
    saved: pathlib.Path,
    windows: Float32,
    sparsity: float = 0.5,
) -> Proof:
    """Read a bundle back and compare it with what it was made from.

    Args:
        path: the bundle.
        card: what its own is to say, the variant first of all; see `_OF_MODEL`.
        saved: the model, see `conversion.source`.
        windows: model inputs that neither training nor calibration saw,
            shape (windows, frames, n_features).
        sparsity: of the pruned variants that name none themselves.

    Raises:
        BundleError: the bundle itself is refused.
        ConversionError: no installed interpreter runs it.
    """
    from conversion.source import Source

    checked = bundle.read(path)
    variant = card.quantization
    expected = _softmax(Source(saved).logits(windows))
    outputs: dict[str, npt.NDArray[Any]] = {}
    portable: dict[str, npt.NDArray[Any]] = {}
    logits: dict[str, Float32] = {}
    runtimes = {}
    for name in installed_runtimes():
        try:
            interpreter = Interpreter(checked.model, runtime=name)
            inputs = [interpreter.quantized_input(window) for window in windows]
            raw = np.stack([interpreter.invoke(each) for each in inputs])
            answers = np.stack([interpreter.logits(window) for window in windows])
            reference = Interpreter(checked.model, runtime=name, portable=True)
            first = [
                reference.invoke(reference.quantized_input(window))
                for window in windows[:_PORTABLE_WINDOWS]
            ]
            if not (np.isfinite(raw).all() and np.isfinite(first).all()):
                raise ConversionError(f"{name} answers NaN or infinity")
            outputs[name], logits[name] = raw.astype(np.float64), answers
            portable[name] = np.stack(first).astype(np.float64)
            runtimes[name] = "runs"
        except EdgeSerError as error:
            runtimes[name] = " ".join(str(error).split())
    if not outputs:
        reasons = "; ".join(runtimes.values())
        raise ConversionError(f"no interpreter runs it: {reasons}")
    main = next(iter(outputs))
    answered = _softmax(logits[main])
    graph = flatbuffer.read(checked.model)
    # A fused LSTM has empty float tensors, which carry the scales of its gates.
    dtypes = collections.Counter(t.dtype for t in graph.tensors if 0 not in t.shape)
    operators = collections.Counter(f"{op.name} {op.version}" for op in graph.operators)
    return Proof(
        variant=variant,
        card_faults=_card_faults(checked.card, card),
        model_bytes=len(checked.model),
        compressed_bytes=len(gzip.compress(checked.model, 9, mtime=0)),
        tensors=dict(sorted(dtypes.items())),
        operators=dict(sorted(operators.items())),
        input_dtype=graph.inputs[0].dtype,
        input_quantization=_quantization(graph.inputs[0]),
        output_dtype=graph.outputs[0].dtype,
        output_quantization=_quantization(graph.outputs[0]),
        macs=graph.macs,
        channels=flatbuffer.channels(graph),
        zero_fraction=flatbuffer.zero_fraction(graph),
        sparsity=BY_NAME[variant].zeros(sparsity),
        agreement=float((expected.argmax(1) == answered.argmax(1)).mean()),
        largest_difference=float(np.abs(expected - answered).max()),
        runtimes=runtimes,
        spread=_spread(*outputs.values()),
        portable_spread=_spread(*portable.values()),
        portable_shift={
            name: _spread(outputs[name][:_PORTABLE_WINDOWS], portable[name])
            for name in outputs
        },
    )


def _card_faults(found: Card, expected: Card) -> list[str]:
    pairs = [
        (name, getattr(found, name), getattr(expected, name)) for name in _OF_MODEL
    ]
    pairs += [
        (f"features.{name}", value, expected.features.to_dict()[name])
        for name, value in found.features.to_dict().items()
    ]
    return [
        f"its card's {name}: {brief(one)}; valid: {brief(other)}"
        for name, one, other in pairs
        if one != other
    ]


def _spread(*answers: npt.NDArray[Any]) -> float:
    """Largest difference of any output."""
    return float(np.ptp(np.stack(answers), axis=0).max())


def _quantization(tensor: flatbuffer.Tensor) -> tuple[float, int] | None:
    if not tensor.scales:
        return None
    return tensor.scales[0], tensor.zero_points[0]


def all_problems(proofs: list[Proof]) -> list[str]:
    """What breaks a promise, of one variant or between two."""
    found = [f"{p.variant}: {text}" for p in proofs for text in p.problems]
    whole = max((p.macs for p in proofs if not p.promise.slim), default=0)
    for proof in proofs:
        saved = 1 - proof.macs / whole if whole else 1.0
        if proof.promise.slim and saved < FEWER_MACS:
            found.append(f"{proof.variant}: {saved:.1%} fewer multiplications only")
    return found


def as_markdown(proofs: list[Proof]) -> str:
    """Tables over all bundles: what each is, holds and, if it was scored, reaches."""
    lines = [
        "| variant | kB | gzip kB | M MACs | zeros | agrees with Keras "
        "| largest difference | interpreters | they differ by "
        "| with reference kernels | these from the fast ones |",
        "| --- " * 11 + "|",
    ]
    for proof in proofs:
        runs = ", ".join(
            name if state == "runs" else f"not {name}"
            for name, state in proof.runtimes.items()
        )
        shift = max(proof.portable_shift.values())
        lines.append(
            f"| {proof.variant} | {proof.model_bytes / 1000:.1f} "
            f"| {proof.compressed_bytes / 1000:.1f} | {proof.macs / 1e6:.1f} "
            f"| {proof.zero_fraction:.1%} | {proof.agreement:.1%} "
            f"| {proof.largest_difference:.3f} | {runs} | {proof.told(proof.spread)} "
            f"| {proof.told(proof.portable_spread)} | {proof.told(shift)} |"
        )
    lines += ["", "| variant | tensors | input | output | operators |"]
    lines.append("| --- " * 5 + "|")
    for proof in proofs:
        dtypes = ", ".join(f"{n} {dtype}" for dtype, n in proof.tensors.items())
        operators = ", ".join(f"{n} {op}" for op, n in proof.operators.items())
        first = _end(proof.input_dtype, proof.input_quantization)
        last = _end(proof.output_dtype, proof.output_quantization)
        lines.append(f"| {proof.variant} | {dtypes} | {first} | {last} | {operators} |")
    lines += [
        "",
        "| variant | channels of each layer with weights |",
        "| --- " * 2 + "|",
    ]
    for proof in proofs:
        lines.append(f"| {proof.variant} | {' '.join(map(str, proof.channels))} |")
    lines += _scores_as_markdown(proofs)
    refused = [
        f"- {proof.variant} does not run in {name}: {state}"
        for proof in proofs
        for name, state in proof.runtimes.items()
        if state != "runs"
    ]
    if refused:
        lines += ["", *refused]
    return "\n".join(lines)


def _scores_as_markdown(proofs: list[Proof]) -> list[str]:
    """What the bundles reach, in percent; nothing if none was scored."""
    scored = {proof.variant: proof.score for proof in proofs if proof.score}
    if not scored:
        return []
    first = next(iter(scored.values()))
    spread = "; 95 % intervals over speakers" if first.ua_95 else ""
    lines = [
        "",
        f"Scored on {first.clips} clips of {first.speakers} speaker(s) whom fold "
        f"{first.fold} of {first.protocol} tests, percent{spread}",
        "",
        "| variant | UA | WA | UA against Keras, paired |",
        "| --- " * 4 + "|",
    ]
    for variant, score in scored.items():
        cells = [
            _percent(score.ua, score.ua_95),
            _percent(score.wa, score.wa_95),
            _percent(score.ua_minus_keras, score.ua_minus_keras_95, "+"),
        ]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return lines


def _percent(share: float, interval: tuple[float, float] | None, sign: str = "") -> str:
    """A share with its interval, if it has one.

    >>> _percent(0.01, (-0.02, 0.04), "+"), _percent(0.5, None)
    ('+1.0 [-2.0, +4.0]', '50.0')
    """
    ends = ", ".join(f"{100 * end:{sign}.1f}" for end in interval or ())
    return f"{100 * share:{sign}.1f}" + (f" [{ends}]" if ends else "")


def _end(dtype: str, quantization: tuple[float, int] | None) -> str:
    if quantization is None:
        return dtype
    return f"{dtype}, scale {quantization[0]:.6g}, zero {quantization[1]}"
