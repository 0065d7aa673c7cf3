"""The course of one training: history, validation, early stopping, checkpoints.

A checkpoint holds everything that the next epoch depends on. What is random in an epoch
follows from the seed and its number, so a training that goes on from a checkpoint ends
as one that was never interrupted.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import time
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from training.keras import reseed, tf_keras

Arrays = list[npt.NDArray[Any]]
BEST = "validation_ua"
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a cut or altered npz file may raise."""


class Progress(tf_keras.callbacks.Callback):
    """Watches a training, epoch by epoch.

    Args:
        epochs: planned.
        validate: figures of the network as it is, or None.
        every: epochs between validations.
        patience: epochs without a better validation UA before training stops, and the
            best epoch's weights are kept; 0 keeps the last.
        seed: of what is random inside the network (dropout).
        checkpoint: the file to go on from, or None to be without.
        identity: what the checkpoint must belong to.
    """

    def __init__(
        self,
        *,
        epochs: int,
        validate: Callable[[], dict[str, float]] | None,
        every: int,
        patience: int,
        seed: int,
        checkpoint: pathlib.Path | None,
        identity: str,
    ) -> None:
        super().__init__()
        self.epochs, self.validate, self.every = epochs, validate, every
        self.patience, self.seed = patience, seed
        self.checkpoint, self.identity = checkpoint, identity
        self.history: list[dict[str, float]] = []
        self.best: Arrays = []
        self.best_epoch = 0
        self._variables: list[Any] = []
        self._snapshot: Callable[[], Arrays] = list

    def watch(self, variables: list[Any], snapshot: Callable[[], Arrays]) -> None:
        """Says what to save, and how to take the weights that might be kept.

        Goes on from the checkpoint if there is one.
        """
        self._variables, self._snapshot = variables, snapshot
        if self.checkpoint is not None and self.checkpoint.exists():
            self._resume(self.checkpoint)
        # In a log file, a line now and then instead of a bar.
        self.bar = tqdm(
            total=self.epochs,
            initial=len(self.history),
            desc="training",
            unit="epoch",
            disable=None,
        )
        self._started, self._done_before = time.monotonic(), len(self.history)

    @property
    def finished(self) -> bool:
        """Whether no epoch is left to do."""
        return len(self.history) >= self.epochs or self._out_of_patience

    @property
    def _out_of_patience(self) -> bool:
        return (
            0 < self.patience <= len(self.history) - self.best_epoch
            and self.best_epoch > 0
        )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Seeds what is random in the epoch."""
        reseed(self.model, self.seed, epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Adds a row to the history, and saves it all."""
        logs = logs or {}
        row = {"epoch": epoch + 1, "loss": logs["loss"], "accuracy": logs["accuracy"]}
        told = (epoch + 1) % self.every == 0 or epoch + 1 == self.epochs
        if self.validate and told:
            row.update(self.validate())
        self.history.append(row)
        if self.patience and BEST in row:
            best = self.history[self.best_epoch - 1][BEST] if self.best_epoch else -1.0
            if row[BEST] > best:
                self.best, self.best_epoch = self._snapshot(), epoch + 1
        if self.finished:
            self.model.stop_training = True
        self._tell(row, told)
        if self.checkpoint is not None:
            self._save(self.checkpoint)

    def _tell(self, row: dict[str, float], told: bool) -> None:
        shown = {key: f"{v:.3f}" for key, v in row.items() if key != "epoch"}
        if self.bar.disable and told:
            done = len(self.history)
            each = (time.monotonic() - self._started) / (done - self._done_before)
            print(
                f"epoch {done} of {self.epochs}: {shown}, "
                f"at most {each * (self.epochs - done) / 60:.0f} min left",
                flush=True,
            )
        self.bar.set_postfix(shown)
        self.bar.update()
        if self.finished:
            self.bar.close()

    def _save(self, file: pathlib.Path) -> None:
        arrays = {f"v{i}": v.numpy() for i, v in enumerate(self._variables)}
        arrays |= {f"b{i}": array for i, array in enumerate(self.best)}
        state = {
            "identity": self.identity,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best": len(self.best),
        }
        partial = file.with_name(f".partial-{file.name}")
        # Through memory: a zip file that a full disk cuts off complains once more
        # when it is let go of.
        packed = io.BytesIO()
        np.savez(packed, state=np.array(json.dumps(state)), **arrays)
        try:
            with partial.open("wb") as opened:
                opened.write(packed.getbuffer())
                opened.flush()
                os.fsync(opened.fileno())  # a power cut must not leave an empty file
            partial.replace(file)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def _resume(self, file: pathlib.Path) -> None:
        try:
            with file.open("rb") as opened, np.load(opened) as stored:
                state = json.loads(str(stored["state"]))
                values = [stored[f"v{i}"] for i in range(len(self._variables))]
                best = [stored[f"b{i}"] for i in range(state["best"])]
        except DAMAGE:
            tqdm.write(f"{file}: damaged; training starts anew")
            return
        if state["identity"] != self.identity:
            tqdm.write(f"{file}: of another training; this one starts anew")
            return
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)
        self.history, self.best_epoch = state["history"], state["best_epoch"]
        self.best = best
        tqdm.write(f"{file}: going on after epoch {len(self.history)}")
