"""Processes that train: one each, one thread each, none without who started it."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import threading
from multiprocessing import connection


def pool(jobs: int) -> concurrent.futures.ProcessPoolExecutor:
    """Runs each task in a process of its own: TensorFlow gives back no memory."""
    return concurrent.futures.ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        max_tasks_per_child=1,
        initializer=_prepare,
    )


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
