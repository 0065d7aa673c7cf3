"""What a training minimises: the emotion's loss, further heads', and the teachers'.

All targets are columns of one matrix, and all answers columns of one output, so that
mixup and class weights treat them alike: emotion, then each head, then, where they hear
windows, the teachers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ser.errors import ConfigError
from training.config import Config
from training.keras import tf, tf_keras
from training.targets import Distillation, Head

Float32 = npt.NDArray[np.float32]

SHARE = "share_"
"""How the names of the layers begin that give the logits of a network's towers: their
sum is the network's answer, and each, times their number, learns as if alone."""


def soft_cross_entropy(targets: Any, logits: Any, focal_gamma: float = 0.0) -> Any:
    """``-sum(t (1 - p)^gamma log p)`` with ``p = softmax(z)``, shape (batch,).

    For targets of any sum. TensorFlow's own takes its gradient as ``softmax - t``,
    which is right only for targets that sum to 1; class-weighted ones do not, and
    training diverges. With gamma above 0 it is the focal loss, Lin et al. 2017,
    arXiv:1708.02002: what the network is sure of counts less.
    """
    logs = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    if focal_gamma:
        targets = targets * (1 - tf.exp(logs)) ** focal_gamma
    return -tf.reduce_sum(targets * logs, axis=-1)


@tf_keras.utils.register_keras_serializable("edge_ser")
class GradientReversal(tf_keras.layers.Layer):
    """Passes its input on, and the gradient back with the other sign.

    Ganin & Lempitsky 2015, arXiv:1409.7495; `strength` is their lambda.
    """

    def build(self, shape: Any) -> None:
        """Makes the strength a weight, so that an epoch can change it."""
        self.strength = self.add_weight(
            "strength", shape=(), initializer="zeros", trainable=False
        )

    def call(self, inputs: Any) -> Any:
        """The inputs."""

        @tf.custom_gradient
        def reverse(values: Any) -> Any:
            return tf.identity(
                values
            ), lambda above: -tf.cast(self.strength, above.dtype) * above

        return reverse(inputs)


class _ReversalSchedule(tf_keras.callbacks.Callback):
    """Lets the reversed gradient grow from 0 to 1, as its authors do."""

    def __init__(self, layer: GradientReversal, epochs: int) -> None:
        super().__init__()
        self.layer, self.epochs = layer, epochs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Sets the strength of this epoch."""
        self.layer.strength.assign(2 / (1 + math.exp(-10 * epoch / self.epochs)) - 1)


class Objective:
    """The network in training: with its heads and teachers, and their joint loss.

    Args:
        student: from windows to logits; trained in place.
        heads: further questions; they listen to what the last layer hears.
        teachers: Keras models that answer to the same windows, or none.
        clip_teaching: the target matrix ends with the teachers' probabilities.
    """

    def __init__(
        self,
        student: Any,
        config: Config,
        epochs: int,
        heads: Sequence[Head] = (),
        teachers: Sequence[Any] = (),
        clip_teaching: bool = False,
    ) -> None:
        self.recipe, self.distillation = config.recipe, config.distillation
        self.classes, self.heads = len(config.labels), tuple(heads)
        self.taught = bool(teachers) or clip_teaching
        self.callbacks: list[Any] = []
        self.asks_teachers = bool(teachers)
        outputs = [student.output]
        for head in heads:
            outputs.append(self._head(head, _embedding(student), epochs))
        shares = shares_of(student)
        self.towers = len(shares)
        outputs += shares
        if teachers:
            outputs.append(_answers(teachers, student.input, self.distillation))
        self.model = student
        if len(outputs) > 1:
            outputs = [
                tf_keras.layers.Activation("linear", dtype="float32")(output)
                for output in outputs
            ]
            joined = tf_keras.layers.Concatenate(dtype="float32")(outputs)
            self.model = tf_keras.Model(student.input, joined)
        self.frozen = {id(weight) for model in teachers for weight in model.weights}

    def _head(self, head: Head, embedding: Any, epochs: int) -> Any:
        layers = tf_keras.layers
        if head.name.startswith("adversarial_"):
            reversal = GradientReversal(name=head.name)
            embedding = reversal(embedding)
            # An adversary must be able to find what is hidden: one layer more.
            embedding = layers.Dense(64, activation="relu")(embedding)
            self.callbacks.append(_ReversalSchedule(reversal, epochs))
        return layers.Dense(len(head.classes), name=f"{head.name}_logits")(embedding)

    def loss(self, targets: Any, outputs: Any) -> Any:
        """The weighted sum of all losses, shape (batch,)."""
        learners = self._learners(outputs)
        total = sum(self._emotion_loss(targets, outputs, one) for one in learners)
        total /= len(learners)
        start = self.classes
        for head in self.heads:
            columns = slice(start, start + len(head.classes))
            total += head.weight * soft_cross_entropy(
                targets[:, columns], outputs[:, columns]
            )
            start = columns.stop
        return total

    def _learners(self, outputs: Any) -> list[Any]:
        """The logits that are to be right: the network's, or each of its towers'."""
        if not self.towers:
            return [outputs[:, : self.classes]]
        start = self.classes + sum(len(head.classes) for head in self.heads)
        shares = outputs[:, start : start + self.towers * self.classes]
        return [self.towers * one for one in tf.split(shares, self.towers, axis=1)]

    def _emotion_loss(self, targets: Any, outputs: Any, logits: Any) -> Any:
        truth = targets[:, : self.classes]
        own = soft_cross_entropy(truth, logits, self.recipe.focal_gamma)
        if not self.taught:
            return own
        weight, heat = self.distillation.weight, self.distillation.temperature
        answers = (outputs if self.asks_teachers else targets)[:, -self.classes :]
        # heat ** 2: else the gradient of softer answers would be weaker.
        lesson = heat**2 * soft_cross_entropy(answers, logits / heat)
        return (1 - weight) * own + weight * lesson

    def accuracy(self, targets: Any, outputs: Any) -> Any:
        """Whether the likeliest emotion is that of the clip (the mixture's larger)."""
        return tf_keras.metrics.categorical_accuracy(
            targets[:, : self.classes], outputs[:, : self.classes]
        )


def shares_of(student: Any) -> list[Any]:
    """What the towers give to the answer, or nothing where there are no towers.

    By the graph, back from the output: in a network that is pruned or made aware of
    quantization, layers have other names, or belong to a second network as well.
    """
    tensor = student.output
    while True:
        layer, index, _ = tensor._keras_history
        inputs = tf.nest.flatten(layer.inbound_nodes[index].keras_inputs)
        if len(inputs) != 1:
            break
        tensor = inputs[0]
    makers = [tensor._keras_history.layer.name for tensor in inputs]
    return inputs if all(SHARE in name for name in makers) else []


def _embedding(student: Any) -> Any:
    """What the layer that gives the logits takes in."""
    for layer in student.layers:
        if layer.name == "logits" and not isinstance(layer.input, list):
            return layer.input
    raise ConfigError(
        "heads need an architecture whose last dense layer is named 'logits', and one "
        "tower"
    )


def _answers(teachers: Sequence[Any], inputs: Any, settings: Distillation) -> Any:
    """The teachers' mean probabilities for a batch of windows."""
    layers, answers = tf_keras.layers, []
    cooled = layers.Rescaling(1 / settings.temperature, dtype="float32")
    for teacher in teachers:
        teacher.trainable = False
        logits = cooled(teacher(inputs, training=False))
        answers.append(layers.Softmax(dtype="float32")(logits))
    return layers.Average(dtype="float32")(answers) if answers[1:] else answers[0]
