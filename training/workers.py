"""Processes that train: one each, one thread each, none without who started it."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Collection, Generator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import TypeVar

from training.errors import RunError

_T = TypeVar("_T")


def pool(jobs: int) -> concurrent.futures.ProcessPoolExecutor:
    """Runs each task in a process of its own: TensorFlow gives back no memory."""
    return concurrent.futures.ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        max_tasks_per_child=1,
        initializer=_prepare,
    )


def completed(
    pending: Collection[concurrent.futures.Future[_T]],
) -> Generator[concurrent.futures.Future[_T], None, None]:
    """Tasks as they end; a failure, or closing it, ends it all: most do not begin.

    Raises:
        Exception: what the task raised.
        RunError: a process was ended from outside.
    """
    try:
        for done in concurrent.futures.as_completed(pending):
            done.result()
            yield done
    except BaseException as error:
        # Shutting the pool down instead would end its thread in a TypeError.
        for task in pending:
            task.cancel()
        if isinstance(error, BrokenProcessPool):
            raise RunError(
                "a process was ended from outside; if memory ran out, take fewer "
                "--jobs: the same command goes on"
            ) from error
        raise


def _prepare() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from training.keras import limit_threads

    limit_threads(1)


def _end_with_parent() -> None:
    """A killed command takes its trainings with it: two must not write one folder."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
