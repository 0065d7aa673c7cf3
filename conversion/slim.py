"""Structured pruning: whole channels go, so every interpreter has less to compute.

Li et al. 2017, "Pruning filters for efficient ConvNets", arXiv:1608.08710: a channel
counts by the norm of its kernel, here as batch normalisation scales it; a unit of a
recurrent layer by that of all its gates (Wen et al. 2018, arXiv:1709.05027). Channels
that are added to one another (residual connections) go together, as in Fang et al.
2023, "DepGraph", arXiv:2301.12900.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion import flatbuffer
from conversion.errors import ConversionError
from conversion.prune import FineTune

Channels = npt.NDArray[np.int64]
"""The channel that each position of a tensor's last axis belongs to."""

# Kernels are fastest for whole vectors of channels.
_MULTIPLE = 4
_LEAST_CHANNELS = 4

_KEEPS_CHANNELS = (
    "Activation",
    "AveragePooling1D",
    "AveragePooling2D",
    "Dropout",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "HalfBandViews",
    "LeakyReLU",
    "MaxPooling1D",
    "MaxPooling2D",
    "MeanOfViews",
    "ReLU",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "ZeroPadding1D",
    "ZeroPadding2D",
)
_JOINS = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")
_RECURRENT = ("LSTM", "GRU")
_PRODUCERS = ("Conv1D", "Conv2D", "Dense", *_RECURRENT)


@dataclasses.dataclass
class _Layer:
    """What a layer does to channels."""

    inputs: list[Channels]
    output: Channels
    times: int
    """How often it computes for one window: once for each view (`conversion.views`)."""


class _Plan:
    """Which channels of a network depend on one another, and what each is worth."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._parents: list[int] = []
        self._frozen: set[int] = set()
        self._of_tensor: dict[int, Channels] = {}
        self._times: dict[int, int] = {}
        self.layers: dict[str, _Layer] = {}
        for tensor in model.inputs:
            self._of_tensor[id(tensor)] = self._fresh(tensor.shape[-1], frozen=True)
            self._times[id(tensor)] = 1
        for layer in model.layers:
            if type(layer).__name__ != "InputLayer":
                self._follow(layer)
        for tensor in model.outputs:
            self._freeze(self._of_tensor[id(tensor)])
        self.roots = {c: self._root(c) for c in range(len(self._parents))}
        self._frozen = {self._root(channel) for channel in self._frozen}

    def _fresh(self, count: int, *, frozen: bool = False) -> Channels:
        first = len(self._parents)
        new = np.arange(first, first + count)
        self._parents += new.tolist()
        if frozen:
            self._freeze(new)
        return new

    def _freeze(self, channels: Channels) -> None:
        self._frozen |= set(channels.tolist())

    def _root(self, channel: int) -> int:
        while self._parents[channel] != channel:
            channel = self._parents[channel]
        return channel

    def _join(self, one: Channels, other: Channels) -> None:
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            self._parents[self._root(a)] = self._root(b)

    def _follow(self, layer: Any) -> None:
        if len(layer.inbound_nodes) != 1:
            raise ConversionError(
                f"layer {layer.name} is used {len(layer.inbound_nodes)} times; its "
                "channels cannot be pruned"
            )
        inputs = [self._of_tensor[id(t)] for t in _as_list(layer.input)]
        count = int(layer.output.shape[-1])
        kind = type(layer).__name__
        rule = getattr(self, f"_follow_{kind.lower()}", None)
        if kind in _KEEPS_CHANNELS and len(inputs[0]) == count:
            output = inputs[0]
        elif kind in _JOINS and all(len(channels) == count for channels in inputs):
            for other in inputs[1:]:
                self._join(inputs[0], other)
            output = inputs[0]
        elif kind in _PRODUCERS and getattr(layer, "groups", 1) == 1:
            output = self._fresh(count)
            if layer.activation.__name__ == "softmax":
                self._freeze(output)
        elif rule is not None:
            output = rule(layer, inputs, count)
        else:
            output = self._opaque(inputs, count)
        times = max(self._times[id(t)] for t in _as_list(layer.input))
        self.layers[layer.name] = _Layer(inputs, output, times)
        self._of_tensor[id(layer.output)] = output
        if kind in ("HalfBandViews", "MeanOfViews"):
            times = layer.views if kind == "HalfBandViews" else 1
        self._times[id(layer.output)] = times

    def _opaque(self, inputs: list[Channels], count: int) -> Channels:
        """What is not understood stays as it is, and so does what feeds it."""
        for channels in inputs:
            self._freeze(channels)
        return self._fresh(count, frozen=True)

    def _follow_batchnormalization(
        self, layer: Any, inputs: list[Channels], count: int
    ) -> Channels:
        last = len(layer.input.shape) - 1
        axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
        return inputs[0] if axis in (-1, last) else self._opaque(inputs, count)

    def _follow_depthwiseconv2d(
        self, layer: Any, inputs: list[Channels], count: int
    ) -> Channels:
        single = layer.depth_multiplier == 1
        return inputs[0] if single else self._opaque(inputs, count)

    def _follow_softmax(
        self, layer: Any, inputs: list[Channels], count: int
    ) -> Channels:
        # Over the channels themselves each one matters to all.
        last = layer.axis in (-1, len(layer.input.shape) - 1)
        return self._opaque(inputs, count) if last else inputs[0]

    def _follow_concatenate(
        self, layer: Any, inputs: list[Channels], count: int
    ) -> Channels:
        if layer.axis in (-1, len(layer.output.shape) - 1):
            return np.concatenate(inputs)
        for other in inputs[1:]:
            self._join(inputs[0], other)
        return inputs[0]

    def _follow_flatten(
        self, layer: Any, inputs: list[Channels], count: int
    ) -> Channels:
        return np.tile(inputs[0], count // len(inputs[0]))

    def _follow_reshape(
        self, layer: Any, inputs: list[Channels], count: int
    ) -> Channels:
        # The last axis survives, or is joined by those before it.
        if count % len(inputs[0]):
            return self._opaque(inputs, count)
        return np.tile(inputs[0], count // len(inputs[0]))

    def _follow_dot(self, layer: Any, inputs: list[Channels], count: int) -> Channels:
        # Sums over the axis before the channels, as attention does.
        axes = layer.axes if isinstance(layer.axes, (list, tuple)) else [layer.axes] * 2
        if [len(t.shape) for t in layer.input] != [3, 3] or list(axes) != [1, 1]:
            return self._opaque(inputs, count)
        self._freeze(inputs[0])
        return inputs[1]

    def importance(self) -> dict[int, float]:
        """Mean norm of each group of channels, relative to its layer's mean.

        Groups that must stay are left out.
        """
        found: dict[int, list[float]] = {}
        scales = self._batch_norm_scales()
        for layer in self.model.layers:
            if type(layer).__name__ not in _PRODUCERS:
                continue
            output = self.layers[layer.name].output
            kernels = [w.numpy() for w in layer.weights if len(w.shape) > 1]
            if type(layer).__name__ in _RECURRENT:
                kernels = kernels[:2]  # of input and state; GRU's bias has two axes
            # Of recurrent layers, gate by gate.
            squares = [(k**2).reshape(-1, len(output)).sum(0) for k in kernels]
            norms = np.sqrt(sum(squares))
            norms = norms * scales.get(layer.name, 1.0)
            for channel, norm in zip(output, norms / norms.mean(), strict=True):
                found.setdefault(self.roots[int(channel)], []).append(float(norm))
        return {
            root: float(np.mean(values))
            for root, values in found.items()
            if root not in self._frozen
        }

    def _batch_norm_scales(self) -> dict[str, npt.NDArray[np.float64]]:
        """By the layer before it: what batch normalisation multiplies channels by."""
        scales = {}
        for layer in self.model.layers:
            if type(layer).__name__ == "BatchNormalization":
                (node,) = layer.inbound_nodes
                gamma = layer.gamma.numpy() if layer.scale else 1.0
                deviation = np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
                scales[node.inbound_layers.name] = np.abs(gamma) / deviation
        return scales

    def families(self) -> list[list[int]]:
        """Groups of channels by the layers that make them: each family is thinned."""
        makers: dict[int, set[str]] = {}
        for name, layer in self.layers.items():
            kind = type(self.model.get_layer(name)).__name__
            if kind in _PRODUCERS:
                for channel in layer.output:
                    makers.setdefault(self.roots[int(channel)], set()).add(name)
        families: dict[tuple[str, ...], list[int]] = {}
        for root, names in makers.items():
            if root not in self._frozen:
                families.setdefault(tuple(sorted(names)), []).append(root)
        return list(families.values())

    def kept(self, share: float) -> set[int]:
        """The most important `share` of every family, and what must stay."""
        worth = self.importance()
        keep = set(self.roots.values()) - set(worth)
        for family in self.families():
            best = sorted(family, key=lambda root: (-worth[root], root))
            count = round(share * len(family) / _MULTIPLE) * _MULTIPLE
            keep |= set(best[: max(_LEAST_CHANNELS, count)])
        return keep

    def positions(self, channels: Channels, keep: set[int]) -> npt.NDArray[np.int64]:
        """Which positions of a tensor's last axis stay."""
        roots = [self.roots[int(channel)] for channel in channels]
        return np.flatnonzero([root in keep for root in roots])

    def macs(self, keep: set[int]) -> int:
        """Of the convolutions and dense layers with only these channels."""
        total = 0
        for layer in self.model.layers:
            kind = type(layer).__name__
            if kind not in (*_PRODUCERS, "DepthwiseConv2D"):
                continue
            plan = self.layers[layer.name]
            places = int(np.prod(layer.output.shape[1:-1]))
            outputs = len(self.positions(plan.output, keep))
            window = int(np.prod(getattr(layer, "kernel_size", ())))
            inputs = len(self.positions(plan.inputs[0], keep))
            if kind == "DepthwiseConv2D":
                inputs = 1
            elif kind in _RECURRENT:
                places = layer.input.shape[1]
                window, inputs = _gates(layer), inputs + outputs
            total += plan.times * places * window * inputs * outputs
        return total

    def build(self, keep: set[int]) -> Any:
        """The network of the kept channels, with their weights."""
        import tf_keras

        def smaller(layer: Any) -> Any:
            config = layer.get_config()
            plan = self.layers.get(layer.name)
            kind = type(layer).__name__
            if plan is not None:
                count = len(self.positions(plan.output, keep))
                if kind in _PRODUCERS:
                    config["units" if "units" in config else "filters"] = count
                elif kind == "Reshape":
                    config["target_shape"] = (*config["target_shape"][:-1], count)
            return type(layer).from_config(config)

        copy = tf_keras.models.clone_model(self.model, clone_function=smaller)
        for layer in self.model.layers:
            if layer.weights:
                copy.get_layer(layer.name).set_weights(self._weights(layer, keep))
        return copy

    def _weights(self, layer: Any, keep: set[int]) -> list[npt.NDArray[Any]]:
        plan, kind = self.layers[layer.name], type(layer).__name__
        inputs = self.positions(plan.inputs[0], keep)
        outputs = self.positions(plan.output, keep)
        weights = layer.get_weights()
        if kind in _RECURRENT:
            count = len(plan.output)
            of_gates = [outputs + gate * count for gate in range(_gates(layer))]
            columns = np.concatenate(of_gates)
            kernel, state = weights[0][inputs], weights[1][outputs]
            biases = [bias[..., columns] for bias in weights[2:]]
            return [kernel[:, columns], state[:, columns], *biases]
        if kind in _PRODUCERS:
            kernel = weights[0][..., inputs, :][..., outputs]
            return [kernel, *(bias[outputs] for bias in weights[1:])]
        if kind == "BatchNormalization":
            return [weight[outputs] for weight in weights]
        if kind == "DepthwiseConv2D":
            kernel = weights[0][..., inputs, :]
            return [kernel, *(bias[outputs] for bias in weights[1:])]
        return weights


def slim(model: Any, fewer_macs: float, fine_tune: FineTune) -> Any:
    """A copy with fewer channels, fine-tuned; the original stays as it is.

    Every layer, or group of layers that are added to one another, keeps the same share
    of its channels, in steps of 4.

    Args:
        model: a functional Keras 2 model.
        fewer_macs: the share of multiplications to save at least, 0 to below 1.
        fine_tune: makes up for what was lost; see `FineTune`.

    Raises:
        ConversionError: the share is out of range, or cannot be reached.
    """
    if not 0 <= fewer_macs < 1:
        raise ConversionError(f"fewer_macs is {fewer_macs}; valid: 0 to below 1")
    plan = _Plan(model)
    everything = set(plan.roots.values())
    total = _macs(model)
    # What the plan does not know (attention, say) stays as it is.
    fixed = max(0, total - plan.macs(everything))
    allowed = (1 - fewer_macs) * total - fixed
    for share in np.arange(1, 0, -0.01):
        keep = plan.kept(float(share))
        if plan.macs(keep) <= allowed:
            smaller = plan.build(keep)
            fine_tune(smaller, ())
            return smaller
    raise ConversionError(
        f"no {fewer_macs:.0%} of the multiplications can be saved: too few channels "
        "can be taken away"
    )


def _macs(model: Any) -> int:
    """Of a whole network, as its file has them."""
    import tensorflow as tf

    window = tf.TensorSpec([1, *model.input_shape[1:]], tf.float32)
    function = tf.function(model).get_concrete_function(window)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    return flatbuffer.read(converter.convert()).macs


def _gates(layer: Any) -> int:
    return int(layer.cell.kernel.shape[-1]) // int(layer.units)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
