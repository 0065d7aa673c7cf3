"""Training batches: augmented windows with their targets, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from training.augment import WindowSampler, model_inputs
from training.config import Config
from training.dataset import FeatureSet
from training.keras import tf

Float32 = npt.NDArray[np.float32]


def label_indices(
    features: FeatureSet, labels: tuple[str, ...]
) -> npt.NDArray[np.int64]:
    """Each clip's label as a position in `labels`, shape (clips,)."""
    return np.array([labels.index(clip.emotion) for clip in features.clips], np.int64)


def _turns(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many equal keys stand before each."""
    grouped = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys[grouped], keys[grouped])
    turns = np.empty_like(grouped)
    turns[grouped] = np.arange(len(keys)) - starts
    return turns


class Batches:
    """Endless epochs of augmented batches with soft, class-weighted targets.

    What an epoch holds follows from the seed and the epoch's number alone, so that a
    training that was interrupted goes on as if it had not been.

    Args:
        further: targets beside the emotion, shape (clips, columns), or None.
        first_epoch: where to begin.
    """

    def __init__(
        self,
        features: FeatureSet,
        config: Config,
        seed: int,
        *,
        further: Float32 | None = None,
        first_epoch: int = 0,
    ) -> None:
        self.sampler = WindowSampler(features, config.augmentation, seed)
        self.features, self.config, self.seed = features, config, seed
        self.first_epoch = first_epoch
        self.labels = label_indices(features, config.labels)
        recipe = config.recipe
        speakers = [clip.speaker_key for clip in features.clips]
        self.speakers = np.unique(speakers, return_inverse=True)[1]
        of_speaker = np.bincount(self.speakers)
        most = recipe.clips_per_speaker or of_speaker.max()
        self.shown = np.minimum(of_speaker, most)
        often = (self.shown / of_speaker)[self.speakers]
        count = np.bincount(self.labels, often, len(config.labels))
        power = 0.0 if recipe.balanced_sampling else recipe.class_weight_power
        weights = np.maximum(count, 1.0) ** -power
        weights[count == 0] = 0
        self.class_weights = weights / (weights @ count / count.sum())
        clips = int(self.shown.sum())
        self.size = min(recipe.batch_size, clips)
        self.per_epoch = clips // self.size
        truth = np.eye(len(config.labels))[self.labels]
        truth = truth * (1 - recipe.label_smoothing)
        truth += recipe.label_smoothing / len(config.labels)
        truth *= self.class_weights[self.labels][:, None]
        parts = [truth] if further is None else [truth, further]
        self.targets = np.concatenate(parts, 1).astype(np.float32)

    def _order(self) -> npt.NDArray[np.int64]:
        """The clips of an epoch: each once, or what the recipe asks for."""
        random = self.sampler.random
        if not self.config.recipe.balanced_sampling:
            order = random.permutation(len(self.labels))
            turn = _turns(self.speakers[order])
            return order[turn < self.shown[self.speakers[order]]]
        present = np.unique(self.labels)
        each = -(-len(self.labels) // len(present))
        drawn = []
        for label in present:
            clips = np.flatnonzero(self.labels == label)
            rounds = [random.permutation(clips) for _ in range(-(-each // len(clips)))]
            drawn.append(np.concatenate(rounds)[:each])
        return random.permutation(np.concatenate(drawn))[: len(self.labels)]

    def __iter__(self) -> Iterator[tuple[Float32, Float32]]:
        spec, epoch = self.features.spec, self.first_epoch
        while True:
            self.sampler.random = np.random.default_rng([self.seed, epoch])
            order = self._order()
            for step in range(self.per_epoch):
                chosen = order[step * self.size : (step + 1) * self.size]
                inputs = model_inputs(self.sampler.windows(chosen), spec)
                inputs = self.sampler.mask(inputs).astype(np.float32)
                yield self.sampler.mix(inputs, self.targets[chosen])
            epoch += 1

    def dataset(self) -> tf.data.Dataset:
        """As a tf.data pipeline that prepares batches while the network computes."""
        spec = self.features.spec
        return tf.data.Dataset.from_generator(
            lambda: iter(self),
            output_signature=(
                tf.TensorSpec(
                    (self.size, spec.frames_per_window, spec.n_features), tf.float32
                ),
                tf.TensorSpec((self.size, self.targets.shape[1]), tf.float32),
            ),
        ).prefetch(4)
