"""`edge-ser bench`: figures that fit together, for people and for programs."""

from __future__ import annotations

import dataclasses
import json
import os
import platform

import numpy as np
import pytest

from edge_ser import __version__, cli, machine, stopwatch
from edge_ser.cli import bench


def test_the_figures_fit_together(capsys):
    before = os.sched_getaffinity(0)
    core = str(min(before))
    try:
        assert cli.main(["bench", "--json", "--seconds", "0.1", "--core", core]) == 0
    finally:
        os.sched_setaffinity(0, before)
    report = json.loads(capsys.readouterr().out)
    assert report["machine"]["cores"] == 1
    assert report["core"] == int(core)
    assert report["versions"] == {
        "edge-ser": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    decision = report["timings"]["decision"]
    assert report["ms_a_second_of_audio"] == pytest.approx(
        decision["p50_ms"] / report["hop_s"]
    )
    for timing in [*report["timings"].values(), report["first_decision"]]:
        assert 0 < timing["p50_ms"] <= timing["p95_ms"] <= timing["p99_ms"]
    # A process's start costs more than anything it does twice a second.
    assert report["first_decision"]["p50_ms"] > decision["p50_ms"]
    assert 10 < report["rss_mib"] <= report["peak_rss_mib"]
    assert report["quantization"].startswith("int8")


def test_the_kernels_asked_for_are_named(capsys):
    assert cli.main(["bench", "--json", "--seconds", "0.01", "--portable"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["portable"], report["delegate"]) == (True, None)


def test_people_get_a_table(capsys):
    assert cli.main(["bench", "--seconds", "0.05"]) == 0
    text = capsys.readouterr().out
    for word in ("inference", "a second of audio", "first decision", "MiB"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--core", "9999"], "--core is 9999; valid here: "),
        (["--core", "-1"], "--core is -1; valid here: "),
        (["--seconds", "0"], "--seconds is 0; valid: 0.01 to 600"),
        (["--seconds", "nan"], "--seconds is nan; valid: 0.01 to 600"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    assert cli.main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_what_spoils_a_measurement_is_named():
    steady = stopwatch.Timing(100, 1.0, 1.2, 1.5, 0.99, 1.01)
    shaken = stopwatch.Timing(100, 1.0, 2.5, 9.0, 0.9, 1.1)
    cool = dataclasses.replace(machine.describe(), clock_mhz=1500.0, slowed=False)
    slow = dataclasses.replace(cool, clock_mhz=600.0, slowed=True)
    warnings = bench._warnings(cool, slow, {"a": steady, "b": shaken})
    assert len(warnings) == 3
    assert "heat" in warnings[0]
    assert "1500 to 600 MHz" in warnings[1]
    assert warnings[2].startswith("p95 of b is")
    assert bench._warnings(cool, cool, {"a": steady}) == []
