import numpy as np
import pytest

from training import confidence
from training.predict import clip_means, softmax


def clips(sharpness, seed=0):
    """Logits whose probabilities are right at a temperature of 1 / sharpness."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (4000, 4)).astype(np.float32)
    shares = softmax(logits)
    truth = (shares.cumsum(1) < random.random((4000, 1))).sum(1)
    return logits * np.float32(sharpness), np.ones(4000, np.int64), truth


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
def test_the_temperature_undoes_overconfidence(sharpness):
    logits, windows, truth = clips(sharpness)
    fitted = confidence.fit_temperature(logits, windows, truth)
    assert fitted == pytest.approx(sharpness, rel=0.08)
    told = confidence.figures(softmax(logits / fitted), truth)
    assert told["ece"] < 0.02


def test_a_clips_probabilities_are_the_mean_of_its_windows():
    logits, _, _ = clips(1.0)
    windows = np.array([1, 3, 2])
    means = clip_means(softmax(logits[:6]), windows)
    np.testing.assert_allclose(means[1], softmax(logits[1:4]).mean(0), rtol=1e-6)
    np.testing.assert_allclose(means.sum(1), 1, rtol=1e-5)


def test_the_surest_answers_are_the_better_ones():
    logits, _, truth = clips(1.0)
    told = confidence.figures(softmax(logits), truth)
    assert told["ua_of_surest"] > told["ua"] + 0.05


def test_the_table_speaks_of_saved_predictions():
    rows = [
        {"label": "a", "predicted": "a", "p_a": "0.90000", "p_b": "0.10000"},
        {"label": "b", "predicted": "a", "p_a": "0.60000", "p_b": "0.40000"},
        {"label": "b", "predicted": "b", "p_a": "0.20000", "p_b": "0.80000"},
    ]
    (row,) = confidence.table({"int8": rows}, ["a", "b"])
    assert row["ua"] == 0.75
    # confidences 0.9 right, 0.6 wrong, 0.8 right, each in a bin of its own
    assert row["ece"] == pytest.approx((0.1 + 0.6 + 0.2) / 3, abs=1e-4)
    assert "| int8 | 0.300 | 75.0 |" in confidence.markdown([row])
