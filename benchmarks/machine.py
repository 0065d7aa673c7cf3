"""What a figure was measured on: processor, load, versions, commit."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

from edge_ser import machine

_PACKAGES = (
    "numpy",
    "ai-edge-litert",
    "tflite-runtime",
    "librosa",
    "python_speech_features",
    "scipy",
)
# One thread, whatever library does the arithmetic.
ONE_THREAD = {
    name: "1"
    for name in (
        "OPENBLAS_NUM_THREADS",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
    )
}


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def describe() -> dict[str, Any]:
    """As JSON values, to stand beside every figure."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    told = machine.describe()
    return {
        "board": told.board,
        "processor": told.processor or platform.machine(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        **state(),
        "python": platform.python_version(),
        "packages": versions,
        "commit": _commit(),
    }


def state() -> dict[str, Any]:
    """What changes while one measures; what the machine does not tell is None."""
    told = dataclasses.asdict(machine.describe())
    found = {key: told[key] for key in ("governor", "clock_mhz", "celsius", "slowed")}
    return found | {"load": round(told["load"], 2)}


def headline(machine: dict[str, Any]) -> str:
    """`describe` in one line."""
    packages = ", ".join(f"{k} {v}" for k, v in machine["packages"].items())
    clock = f", {machine['governor']}" if machine["governor"] else ""
    clock += f" at {machine['clock_mhz']:.0f} MHz" if machine["clock_mhz"] else ""
    named = machine["board"] or machine["processor"]
    return (
        f"{named}, {machine['cores']} cores{clock}, load {machine['load']}; "
        f"Python {machine['python']}; {packages}; commit {machine['commit']}"
    )
