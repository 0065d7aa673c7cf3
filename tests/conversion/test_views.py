"""Networks that hear each window several times convert like any other."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from conversion import flatbuffer
from conversion.prune import prune
from conversion.quantize import quantization_aware
from conversion.source import Source
from conversion.tflite import emit
from training import zoo
from training.keras import tf_keras


def test_pruned_and_quantized_in_training(tmp_path):
    settings = {"channels": [16, 24], "over_frequency": 16, "views": 3}
    model = zoo.build("resnet2d", 32, 16, 3, settings)
    random = np.random.default_rng(0)
    windows = random.normal(size=(64, 32, 16)).astype(np.float32)
    truth = np.eye(3)[random.integers(0, 3, 64)]

    def fine_tune(model, callbacks):
        loss = tf_keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss)
        model.fit(windows, truth, epochs=2, verbose=0, callbacks=list(callbacks))

    pruned = prune(model, 0.5, fine_tune)
    zeros = [np.mean(w == 0) for w in pruned.get_weights() if w.size > 2000]
    assert zeros == pytest.approx([0.5] * len(zeros), abs=0.01)
    aware = quantization_aware(pruned, fine_tune, keep_zeros=True)
    aware.save(tmp_path / "aware.h5")
    source = Source(tmp_path / "aware.h5")
    assert source.logits(windows).shape == (64, 3)
    made = flatbuffer.read(emit(source, "int8", None))
    assert {t.dtype for o in made.operators for t in o.outputs} == {"int8"}
    assert made.outputs[0].shape == (1, 3)
