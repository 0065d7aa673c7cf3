"""One training: features in, a Keras model and its history out."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import pathlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ser.errors import ConfigError
from edge_ser.features import FeatureSpec
from training import runs, zoo
from training.batches import Batches, label_indices
from training.config import Config
from training.dataset import FeatureSet, stored_statistics
from training.errors import RunError
from training.keras import computing_in, reseed, set_seed, tf, tf_keras
from training.metrics import unweighted_average_recall
from training.objective import Objective, shares_of
from training.predict import keras_probabilities, predict_clips
from training.progress import Progress
from training.runs import Run, clip_key
from training.schedule import Schedule
from training.targets import Head, heads_of
from training.teaching import Teaching, teach

Float32 = npt.NDArray[np.float32]


def unfitted_spec(spec: FeatureSpec) -> FeatureSpec:
    """A spec without the statistics that training fills in."""
    return dataclasses.replace(spec, mean=None, std=None)


def fitted_spec(config: Config, features: FeatureSet) -> FeatureSpec:
    """The config's spec, with the statistics of these training clips if it asks."""
    if config.features.normalisation != "stored":
        return config.features
    mean, std = stored_statistics(features)
    return dataclasses.replace(
        config.features,
        mean=tuple(round(float(v), 5) for v in mean),
        std=tuple(round(float(v), 5) for v in std),
    )


def _validator(
    model: Any, validation: FeatureSet, config: Config
) -> Callable[[], dict[str, float]]:
    truth = label_indices(validation, config.labels)

    def validate() -> dict[str, float]:
        scores = predict_clips(
            keras_probabilities(model), validation, config.hop_frames
        )
        true = np.maximum(scores[np.arange(len(truth)), truth], 1e-7)
        return {
            "validation_loss": float(-np.log(true).mean()),
            "validation_accuracy": float((scores.argmax(1) == truth).mean()),
            "validation_ua": unweighted_average_recall(truth, scores.argmax(1)),
        }

    return validate


def fit(
    model: Any,
    features: FeatureSet,
    config: Config,
    seed: int,
    *,
    epochs: int,
    learning_rate: float,
    warmup_epochs: int = 0,
    average_momentum: float = 0.0,
    validation: FeatureSet | None = None,
    callbacks: tuple[Any, ...] = (),
    heads: Sequence[Head] = (),
    teaching: Teaching | None = None,
    checkpoint: pathlib.Path | None = None,
) -> list[dict[str, float]]:
    """Fit a model in place; returns a row a epoch (loss, accuracy, validation).

    Args:
        heads: further questions to the network while it is trained.
        teaching: what teachers give, or None.
        checkpoint: a file that each epoch is saved to, and gone on from; or None.
    """
    set_seed(seed)
    recipe = config.recipe
    teaching = teaching or Teaching()
    parts = [head.truth for head in heads]
    if teaching.answers is not None:
        parts.append(teaching.answers)
    further = np.concatenate(parts, 1) if parts else None
    objective = Objective(
        model, config, epochs, heads, teaching.models, teaching.answers is not None
    )
    validate = _validator(model, validation, config) if validation else None
    progress = Progress(
        epochs=epochs,
        validate=validate,
        every=recipe.validation_every,
        patience=recipe.early_stopping_epochs if validate else 0,
        seed=seed,
        checkpoint=checkpoint,
        identity=_identity(features, validation, config, seed),
    )
    batches = Batches(features, config, seed, further=further)
    beta_1, beta_2 = recipe.adam_betas
    kind = {
        "adamw": partial(tf_keras.optimizers.AdamW, beta_1=beta_1, beta_2=beta_2),
        "rmsprop": tf_keras.optimizers.RMSprop,
    }
    optimizer = kind[recipe.optimizer](
        Schedule(
            recipe.schedule,
            learning_rate,
            warmup_epochs * batches.per_epoch,
            epochs * batches.per_epoch,
        ),
        weight_decay=recipe.weight_decay,
        use_ema=average_momentum > 0,
        ema_momentum=average_momentum or 0.99,
    )
    training = objective.model
    optimizer.build(training.trainable_variables)
    averages = optimizer._model_variables_moving_average if average_momentum else []
    kept = [*training.trainable_variables, *model.non_trainable_variables]
    own = [w for w in training.weights if id(w) not in objective.frozen]

    def snapshot() -> list[Any]:
        sources = [*averages, *kept[len(averages) :]]
        return [variable.numpy() for variable in sources]

    progress.watch([*own, *optimizer.variables], snapshot)
    if not progress.finished:
        batches.first_epoch = len(progress.history)
        training.compile(optimizer, objective.loss, metrics=[objective.accuracy])
        training.fit(
            batches.dataset(),
            initial_epoch=batches.first_epoch,
            epochs=epochs,
            steps_per_epoch=batches.per_epoch,
            verbose=0,
            callbacks=[*callbacks, *objective.callbacks, progress],
        )
    chosen = progress.best or (snapshot() if average_momentum else [])
    for variable, value in zip(kept, chosen, strict=False):
        variable.assign(value)
    if average_momentum:
        # Batches of its own: the pipeline above may have prepared some ahead.
        fresh = Batches(features, config, seed + 500)
        reseed(model, seed + 500, 0)
        recalibrate_batch_norm(model, itertools.islice(fresh, fresh.per_epoch))
    row = progress.history[progress.best_epoch - 1]  # the last one where none is best
    row["kept"] = 1
    if validate and average_momentum:
        row.update(validate())
    return progress.history


def _identity(
    features: FeatureSet, validation: FeatureSet | None, config: Config, seed: int
) -> str:
    """A hash of what decides a training."""
    watched = validation.clips if validation else ()
    clips = [[clip_key(clip) for clip in some] for some in (features.clips, watched)]
    text = json.dumps([config.to_dict(), seed, clips], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def recalibrate_batch_norm(model: Any, batches: Iterable[tuple[Float32, Any]]) -> None:
    """Measure batch-norm statistics anew: averaged weights have other activations.

    The mean over one pass of `batches` of each batch's mean and variance. Izmailov et
    al. 2018, "Averaging weights leads to wider optima", section 3.2.
    """
    norms = [
        layer
        for layer in model.layers
        if isinstance(layer, tf_keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        # Each pass leaves its own statistics. Set before tracing, which freezes it.
        layer.momentum = 0.0
    forward = tf.function(lambda inputs: model(inputs, training=True))
    statistics = [
        w for layer in norms for w in (layer.moving_mean, layer.moving_variance)
    ]
    sums = [np.zeros(weight.shape, np.float64) for weight in statistics]
    count = 0
    for inputs, _ in batches:
        forward(inputs)
        for total, weight in zip(sums, statistics, strict=True):
            total += weight.numpy()
        count += 1
    for total, weight in zip(sums, statistics, strict=True):
        weight.assign((total / count).astype(np.float32))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def find_start(config: Config) -> tuple[Run, ...]:
    """The run that training begins with, if any.

    Raises:
        RunError: the folder holds none.
    """
    folder = config.recipe.start_from
    return (runs.load(pathlib.Path(folder)),) if folder else ()


def start_from(model: Any, run: Run, config: Config) -> None:
    """Give a network the weights of a finished run, in place.

    What answers (the last layer, or each tower's) takes part only if the labels are
    the same.

    Raises:
        RunError: the run's network or features are others.
    """
    for name in ("architecture", "model"):
        theirs, ours = getattr(run.config, name), getattr(config, name)
        if name == "model":  # how often it hears a window changes no weight
            theirs, ours = ({**each, "views": 1} for each in (theirs, ours))
        if theirs != ours:
            raise RunError(
                f"start_from: {run.folder} has another {name}: {theirs}; valid: {ours}"
            )
    if unfitted_spec(run.spec) != unfitted_spec(config.features):
        raise RunError(f"start_from: {run.folder} takes other features")
    same_labels = run.config.labels == config.labels
    with_weights = [layer for layer in model.layers if layer.weights]
    sources = [layer for layer in run.model().layers if layer.weights]
    answering = [share._keras_history.layer for share in shares_of(model)]
    answering = answering or with_weights[-1:]
    for layer, source in zip(with_weights, sources, strict=True):
        if same_labels or all(layer is not other for other in answering):
            layer.set_weights(source.get_weights())


def train(
    features: FeatureSet,
    config: Config,
    seed: int,
    validation: FeatureSet | None = None,
    *,
    teachers: Sequence[Run] = (),
    checkpoint: pathlib.Path | None = None,
) -> tuple[Any, FeatureSpec, list[dict[str, float]]]:
    """Train the configured network from its seed.

    Args:
        features: the training clips' static frames.
        validation: clips of other speakers to watch, or None.
        teachers: runs to learn from beside the labels.
        checkpoint: a file that each epoch is saved to, and gone on from; or None.

    Returns:
        The Keras model (logits), its FeatureSpec with statistics, and the history.

    Raises:
        ConfigError: early stopping without validation clips; or see `heads_of`.
        RunError: see `teach`.
    """
    recipe = config.recipe
    if recipe.early_stopping_epochs and validation is None:
        raise ConfigError(
            "early_stopping_epochs needs validation speakers: give "
            "--validation-speakers, or set it to 0"
        )
    set_seed(seed)
    spec = fitted_spec(config, features)

    def build(compute: str) -> Any:
        with computing_in(compute):
            return zoo.build(
                config.architecture,
                spec.frames_per_window,
                spec.n_features,
                len(config.labels),
                config.model,
            )

    model = build(recipe.compute)
    if recipe.compute != "float32":  # the loss and its targets are float32 all the same
        last = tf_keras.layers.Activation("linear", dtype="float32")
        model = tf_keras.Model(model.inputs, last(model.output))
    for run in find_start(config):
        start_from(model, run, config)
    learned = features.with_spec(spec)
    history = fit(
        model,
        learned,
        config,
        seed,
        epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        warmup_epochs=min(recipe.warmup_epochs, recipe.epochs // 3),
        average_momentum=recipe.average_momentum,
        validation=validation.with_spec(spec) if validation else None,
        heads=heads_of(config.heads, features.clips),
        teaching=teach(config, teachers, learned),
        checkpoint=checkpoint,
    )
    if recipe.compute != "float32":  # what is kept and converted is float32 throughout
        weights = model.get_weights()
        model = build("float32")
        model.set_weights(weights)
    return model, spec, history
