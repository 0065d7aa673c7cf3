import numpy as np
import pytest

from training.metrics import (
    Scored,
    by_class,
    confusion,
    expected_calibration_error,
    intervals,
    paired_difference,
    unpaired_difference,
    unweighted_average_recall,
)

TRUTH = np.array([0, 0, 0, 1, 1, 2])
GUESS = np.array([0, 0, 1, 1, 1, 0])


def scored(guess=GUESS, speakers=("a", "b", "a", "b", "a", "b")):
    return Scored(TRUTH, np.asarray(guess), np.array(speakers))


def test_ua_is_the_mean_recall():
    assert unweighted_average_recall(TRUTH, GUESS) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_confusion_counts_rows_of_truth():
    assert confusion(TRUTH, GUESS, "abc").tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_intervals_hold_the_figure_and_are_reproducible():
    both = intervals(scored())
    assert both["UA"].value == pytest.approx(unweighted_average_recall(TRUTH, GUESS))
    assert both["WA"].value == pytest.approx(4 / 6)
    assert both["UA"].low <= both["UA"].value <= both["UA"].high
    assert both == intervals(scored())


def test_one_speaker_leaves_no_uncertainty():
    both = intervals(scored(speakers=["a"] * 6))
    assert both["UA"].low == both["UA"].high == pytest.approx(both["UA"].value)


def test_more_speakers_narrow_the_interval():
    random = np.random.default_rng(0)
    truth = np.tile(np.arange(4), 300)
    guess = np.where(random.random(1200) < 0.7, truth, 0)

    def width(speakers):
        names = np.array([str(n) for n in np.arange(1200) % speakers])
        found = intervals(Scored(truth, guess, names))["UA"]
        return found.high - found.low

    assert width(100) < width(4) * 1.5
    assert 0.01 < width(100) < 0.1


def test_paired_difference_of_a_model_with_itself_is_zero():
    same = paired_difference(scored(), scored())
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_paired_difference_has_the_sign_of_the_second():
    assert paired_difference(scored(), scored(TRUTH)).value == pytest.approx(4 / 9)


def test_unpaired_rows_are_refused():
    other = Scored(TRUTH[::-1], GUESS, scored().speaker)
    with pytest.raises(ValueError, match="same clips"):
        paired_difference(scored(), other)


def test_calibration_error_of_known_confidences():
    confidence = np.array([0.9] * 10 + [0.5] * 10)
    correct = np.array([True] * 9 + [False] + [True] * 2 + [False] * 8)
    # 0.9 is right as often as it says; 0.5 is right 2 times in 10.
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.15)
    assert expected_calibration_error(np.ones(4), np.ones(4, bool)) == 0
    assert expected_calibration_error(np.ones(4), np.zeros(4, bool)) == 1


def test_precision_recall_and_f1():
    counts = np.array([[6, 2, 0], [2, 2, 0], [0, 0, 0]])
    first, second, none = by_class(counts)
    assert first == pytest.approx((6 / 8, 6 / 8, 6 / 8, 8))
    assert second == pytest.approx((0.5, 0.5, 0.5, 4))
    assert none == (0, 0, 0, 0)


def test_unpaired_difference_of_one_speaker_each_is_sure():
    worse = scored(guess=[0, 0, 0, 1, 1, 0], speakers=["c"] * 6)
    better = scored(guess=TRUTH, speakers=["d"] * 6)
    gap = unpaired_difference(worse, better)
    assert (gap.value, gap.low, gap.high) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_unpaired_difference_is_less_sure_than_a_paired_one():
    random = np.random.default_rng(0)
    truth = np.tile(np.arange(4), 300)
    speakers = np.array([str(n) for n in np.arange(1200) % 10])
    hard = np.arange(1200) % 10 < 3  # three speakers are recognised by chance alone
    guess = np.where(hard, random.integers(4, size=1200), truth)
    one = Scored(truth, guess, speakers)
    paired, unpaired = paired_difference(one, one), unpaired_difference(one, one)
    assert unpaired.value == paired.value == 0
    assert unpaired.low < -0.05 < paired.low <= paired.high < 0.05 < unpaired.high
