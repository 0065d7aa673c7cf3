"""Makes tiny.tflite, a full-int8 bundle of a few kB that tells low voices from high.

It hears the computed voice of `tests/voice.py` and exists so that tests need neither
TensorFlow nor a trained model. Needs TensorFlow: python tests/data/make_tiny.py
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import tensorflow as tf

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from edge_ser import bundle  # noqa: E402
from edge_ser.features import FeatureSpec, log_mel  # noqa: E402
from voice import hiss, voice  # noqa: E402

LABELS = ("low", "middle", "high")
PITCHES_HZ = (100, 180, 320)
SPEC = FeatureSpec(n_mfcc=None, frames_per_window=64)
EXAMPLES = 300


def examples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    windows, targets = [], []
    for index in range(EXAMPLES):
        target = index % len(LABELS)
        sound = voice(
            PITCHES_HZ[target] * rng.uniform(0.85, 1.15),
            SPEC.model_samples / 16000,
            level=10 ** rng.uniform(-2, -0.7),
            seed=index,
        )
        silent = int(rng.uniform(0, 0.4) * len(sound))
        sound[:silent] = 0  # as when a voice has just begun
        sound += hiss(len(sound) / 16000, 10 ** rng.uniform(-4, -2.5), index)
        windows.append(log_mel(sound, SPEC))
        targets.append(target)
    return np.stack(windows), np.array(targets)


def main() -> None:
    tf.keras.utils.set_random_seed(0)
    windows, targets = examples()
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Input((64, 64), batch_size=1),
            tf.keras.layers.Reshape((64, 64, 1)),
            tf.keras.layers.Rescaling(1 / 8, offset=0.5),
            tf.keras.layers.Conv2D(8, (1, 5), (2, 2), activation="relu"),
            tf.keras.layers.Conv2D(12, (3, 3), (2, 2), activation="relu"),
            tf.keras.layers.GlobalAveragePooling2D(keepdims=True),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(len(LABELS)),
        ]
    )
    trained = tf.keras.Sequential([tf.keras.layers.Input((64, 64)), *model.layers])
    trained.compile(
        tf.keras.optimizers.Adam(0.01),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = trained.fit(windows, targets, epochs=60, batch_size=20, verbose=0)
    print("accuracy", history.history["accuracy"][-1])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in windows[:60])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    card = bundle.Card(
        name="tiny",
        version="1",
        labels=LABELS,
        features=SPEC,
        hop_frames=25,
        quantization="int8",
        intended_use="Tests of edge-ser.",
        licence="Apache-2.0",
    )
    bundle.write(HERE / "tiny.tflite", card, converter.convert())


if __name__ == "__main__":
    main()
