"""Classifiers by scikit-learn and hmmlearn, their settings chosen on strange speakers.

Scaling, PCA, feature selection and the grid search see training speakers alone; the
search holds whole speakers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from hmmlearn.hmm import GaussianHMM
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectPercentile, f_classif
from sklearn.metrics import pairwise
from sklearn.metrics.pairwise import linear_kernel
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

Scores = npt.NDArray[np.float64]


class _ByLikelihood(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """One density a class; the most likely wins, all classes being equally frequent."""

    def _density(self) -> Any:
        raise NotImplementedError

    def _fit_one(self, model: Any, rows: list[Any]) -> Any:
        return model.fit(np.stack(rows))

    def _score_one(self, model: Any, row: Any) -> float:
        return float(model.score_samples(row[None])[0])

    def fit(self, rows: Any, labels: Any) -> Any:
        """Fit a density to the rows of each class."""
        self.classes_ = np.unique(labels)
        self.models_ = [
            self._fit_one(
                self._density(),
                [row for row, label in zip(rows, labels, strict=True) if label == name],
            )
            for name in self.classes_
        ]
        return self

    def decision_function(self, rows: Any) -> Scores:
        """Log-likelihoods, shape (rows, classes)."""
        return np.array(
            [[self._score_one(model, row) for model in self.models_] for row in rows]
        )

    def predict(self, rows: Any) -> Any:
        """The most likely class of each row."""
        return self.classes_[self.decision_function(rows).argmax(1)]


class GaussianMixtures(_ByLikelihood):
    """A mixture of diagonal Gaussians a class."""

    def __init__(self, components: int = 2) -> None:
        self.components = components

    def _density(self) -> GaussianMixture:
        return GaussianMixture(
            self.components, covariance_type="diag", reg_covar=1e-2, random_state=0
        )


class HiddenMarkov(_ByLikelihood):
    """A hidden Markov model a class, on sequences (frames, features).

    Schuller, Rigoll & Lang 2003, "Hidden Markov model-based speech emotion
    recognition", ICASSP. The score is by frame, so that long clips count as short ones.
    """

    def __init__(self, states: int = 6) -> None:
        self.states = states

    def _density(self) -> GaussianHMM:
        return GaussianHMM(
            self.states,
            covariance_type="diag",
            min_covar=1e-2,
            n_iter=15,
            random_state=0,
        )

    def _fit_one(self, model: Any, rows: list[Any]) -> Any:
        return model.fit(np.concatenate(rows), [len(row) for row in rows])

    def _score_one(self, model: Any, row: Any) -> float:
        return float(model.score(row)) / len(row)


def rbf_kernel(rows: Any, learnt: Any) -> Any:
    """SVC's ``rbf`` with its gamma ``scale``, by matrix products: 20 times as fast."""
    gamma = 1 / (learnt.shape[1] * learnt.var())
    return pairwise.rbf_kernel(rows, learnt, gamma)


def _classifiers() -> dict[str, tuple[Any, dict[str, list[Any]]]]:
    """Each kind's estimator and what its search tries."""
    return {
        "svm": (
            SVC(class_weight="balanced", break_ties=True),
            {"kernel": [linear_kernel, rbf_kernel], "C": [1e-3, 1e-2, 1e-1, 1, 10]},
        ),
        "forest": (
            RandomForestClassifier(500, class_weight="balanced", random_state=0),
            {"min_samples_leaf": [1, 4]},
        ),
        "knn": (
            KNeighborsClassifier(weights="distance"),
            {"n_neighbors": [5, 11, 21, 41]},
        ),
        "gmm": (GaussianMixtures(), {"components": [1, 2, 4]}),
        "hmm": (HiddenMarkov(), {}),
    }


KINDS = ("svm", "forest", "knn", "gmm", "hmm")

REDUCTIONS: dict[str, Any] = {
    "none": "passthrough",
    "pca": PCA(0.95, random_state=0),
    "half": SelectPercentile(f_classif, percentile=50),
    "tenth": SelectPercentile(f_classif, percentile=10),
}
"""Of scaled vectors: as they are; the principal components of 95 % of the variance; the
half or tenth of the features with the highest F score."""


def fitted(
    kind: str,
    rows: Any,
    labels: npt.NDArray[np.str_],
    speakers: npt.NDArray[np.str_],
    *,
    reductions: Sequence[str] = ("none",),
) -> Any:
    """A classifier fitted to training rows, its settings chosen on held-out speakers.

    Args:
        kind: out of `KINDS`; ``hmm`` takes sequences, the others vectors.
        rows: shape (clips, features), or for ``hmm`` a list of (frames, features).
        labels, speakers: of each row.
        reductions: out of `REDUCTIONS`, for the search to choose from.
    """
    estimator, grid = _classifiers()[kind]
    if kind == "hmm":
        return estimator.fit(rows, labels)
    steps = [("scale", StandardScaler()), ("reduce", None), ("classify", estimator)]
    search = GridSearchCV(
        Pipeline(steps),
        {
            "reduce": [REDUCTIONS[name] for name in reductions],
            **{f"classify__{name}": values for name, values in grid.items()},
        },
        scoring="balanced_accuracy",
        cv=GroupKFold(5),
    )
    return search.fit(rows, labels, groups=speakers)


def chosen(classifier: Any) -> dict[str, Any]:
    """What the search chose, by setting; nothing where there was no search."""
    named = {str(reduction): name for name, reduction in REDUCTIONS.items()}
    settings = getattr(classifier, "best_params_", {})
    return {
        name.removeprefix("classify__"): named.get(
            str(value), getattr(value, "__name__", value)
        )
        for name, value in settings.items()
    }


def scores(classifier: Any, rows: Any) -> Scores:
    """Scores that sum to 1, highest for the predicted class, shape (rows, classes).

    Class probabilities where the classifier has them; else the softmax of its decision
    values, which says which class wins and not how sure it is.
    """
    if hasattr(classifier, "predict_proba"):
        return np.asarray(classifier.predict_proba(rows))
    values = classifier.decision_function(rows)
    powers = np.exp(values - values.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))
