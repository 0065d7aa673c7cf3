"""edge-ser: speech emotion recognition on the device.

>>> import numpy as np
>>> from edge_ser import Classifier
>>> Classifier.load().classify(np.zeros(32000, np.float32), 16000).duration_s
2.0
"""

from __future__ import annotations

from edge_ser.bundle import Bundle, Card
from edge_ser.classifier import Classifier, Prediction, Stream
from edge_ser.decision import Decider, Decision, DecisionSettings
from edge_ser.errors import (
    AudioError,
    BundleError,
    ConfigError,
    EdgeSerError,
    InterpreterError,
    MicrophoneError,
)
from edge_ser.features import FeatureSpec, FeatureStream, log_mel, mfcc

__version__ = "0.1.0"

__all__ = [
    "AudioError",
    "Bundle",
    "BundleError",
    "Card",
    "Classifier",
    "ConfigError",
    "Decider",
    "Decision",
    "DecisionSettings",
    "EdgeSerError",
    "FeatureSpec",
    "FeatureStream",
    "InterpreterError",
    "MicrophoneError",
    "Prediction",
    "Stream",
    "__version__",
    "log_mel",
    "mfcc",
]
