"""Teachers for distillation: found, proved strangers to the tests, and asked."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ser.features import FeatureSpec
from training import protocol as protocols
from training import runs, zoo
from training.config import Config
from training.corpora import Clip
from training.dataset import FeatureSet, frame_spec
from training.errors import ProtocolError, RunError
from training.extraction import extract
from training.predict import keras_logits, predict_clips, softmax

Float32 = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Teaching:
    """What teachers give to a training."""

    models: tuple[Any, ...] = ()
    """Keras models to be asked in every step."""
    answers: Float32 | None = None
    """Or their probabilities of each training clip, shape (clips, classes)."""


def find_teachers(
    config: Config,
    seed: int,
    fold: int | None,
    clips: Iterable[Clip],
    strangers: Sequence[Clip],
) -> tuple[runs.Run, ...]:
    """The runs that the config names as teachers.

    Args:
        clips: all clips of the data, to tell what speakers the teachers heard.
        strangers: test and validation clips of the student.

    Raises:
        RunError: a folder without a run, or one of other labels.
        ProtocolError: a teacher has heard a speaker of `strangers`.
    """
    known = list(clips)
    teachers = []
    for name in config.distillation.folders(seed, fold):
        teacher = runs.load(pathlib.Path(name))
        if teacher.config.labels != config.labels:
            raise RunError(
                f"teacher {name} knows {', '.join(teacher.config.labels)}; the config "
                f"asks for {', '.join(config.labels)}"
            )
        assert_has_not_heard(teacher, known, strangers)
        teachers.append(teacher)
    return tuple(teachers)


def assert_has_not_heard(
    run: runs.Run, clips: Iterable[Clip], strangers: Sequence[Clip]
) -> None:
    """Refuse to learn from a run that knows whom the learner will be judged by.

    Args:
        clips: all clips of the data.
        strangers: test and validation clips.

    Raises:
        ProtocolError: it has heard one of their speakers.
    """
    heard = [clip for clip in clips if run.has_heard(clip)]
    try:
        protocols.assert_strangers(heard, strangers)
    except ProtocolError as error:
        raise ProtocolError(f"{run.folder}, to learn from: {error}") from error


def teach(
    config: Config, teachers: Sequence[runs.Run], learned: FeatureSet
) -> Teaching | None:
    """Ask the teachers, or make them ready to be asked; None without any.

    Args:
        learned: the student's training clips, under its fitted spec.

    Raises:
        RunError: a teacher that is to hear the student's windows takes other features.
    """
    if not teachers:
        return None
    settings = config.distillation
    if settings.by == "window":
        for teacher in teachers:
            if teacher.spec != learned.spec:
                raise RunError(
                    f"teacher {teacher.folder} takes other features than the student: "
                    f"{_difference(teacher.spec, learned.spec)}; valid: the same, or "
                    "distillation by = 'clip'"
                )
        return Teaching(models=tuple(teacher.model() for teacher in teachers))
    answers = []
    for teacher in teachers:
        features = learned
        if frame_spec(teacher.spec) != frame_spec(learned.spec):
            of_samples = zoo.takes_samples(teacher.config.architecture)
            features = extract(learned.clips, teacher.spec, samples=of_samples)
        logits = keras_logits(teacher.model())
        answers.append(
            predict_clips(
                lambda inputs, ask=logits: softmax(ask(inputs) / settings.temperature),
                features.with_spec(teacher.spec),
                teacher.config.hop_frames,
            )
        )
    return Teaching(answers=np.mean(answers, 0).astype(np.float32))


def _difference(one: FeatureSpec, other: FeatureSpec) -> str:
    first, second = one.to_dict(), other.to_dict()
    return ", ".join(key for key in first if first[key] != second.get(key))
