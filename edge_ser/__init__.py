"""edge-ser: speech emotion recognition on the device.

>>> import numpy as np
>>> from edge_ser import Classifier
>>> Classifier.load().classify(np.zeros(32000, np.float32), 16000).duration_s
2.0
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edge_ser.adaptation import Adaptation, AdaptationSettings
from edge_ser.bundle import Bundle, Card
from edge_ser.classifier import Classifier, Prediction, Stream
from edge_ser.errors import (
    AudioError,
    BundleError,
    ConfigError,
    EdgeSerError,
    InterpreterError,
    MicrophoneError,
    SinkError,
)
from edge_ser.features import FeatureSpec, FeatureStream, log_mel, mfcc

if TYPE_CHECKING:
    from edge_ser.audio.file import FileSource
    from edge_ser.audio.microphone import MicrophoneSource
    from edge_ser.audio.pipe import PipeSource
    from edge_ser.audio.source import Source
    from edge_ser.decision import Decider, Decision, DecisionSettings
    from edge_ser.event import Event
    from edge_ser.listener import Listener
    from edge_ser.pipeline import Decided, Pipeline
    from edge_ser.sinks.jsonlines import JsonLinesSink
    from edge_ser.sinks.sink import Sink
    from edge_ser.vad import GateSettings

__version__ = "0.1.0"

__all__ = [
    "Adaptation",
    "AdaptationSettings",
    "AudioError",
    "Bundle",
    "BundleError",
    "Card",
    "Classifier",
    "ConfigError",
    "Decided",
    "Decider",
    "Decision",
    "DecisionSettings",
    "EdgeSerError",
    "Event",
    "FeatureSpec",
    "FeatureStream",
    "FileSource",
    "GateSettings",
    "InterpreterError",
    "JsonLinesSink",
    "Listener",
    "MicrophoneError",
    "MicrophoneSource",
    "PipeSource",
    "Pipeline",
    "Prediction",
    "Sink",
    "SinkError",
    "Source",
    "Stream",
    "__version__",
    "log_mel",
    "mfcc",
]

# What only a listener needs is loaded when it is asked for: a program that embeds the
# classifier pays for nothing else.
_LAZY = {
    "Decided": "edge_ser.pipeline",
    "Decider": "edge_ser.decision",
    "Decision": "edge_ser.decision",
    "DecisionSettings": "edge_ser.decision",
    "Event": "edge_ser.event",
    "FileSource": "edge_ser.audio.file",
    "GateSettings": "edge_ser.vad",
    "JsonLinesSink": "edge_ser.sinks.jsonlines",
    "Listener": "edge_ser.listener",
    "MicrophoneSource": "edge_ser.audio.microphone",
    "PipeSource": "edge_ser.audio.pipe",
    "Pipeline": "edge_ser.pipeline",
    "Sink": "edge_ser.sinks.sink",
    "Source": "edge_ser.audio.source",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'edge_ser' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value
