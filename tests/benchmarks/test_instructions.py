"""A decision takes no more instructions than it did: see `benchmarks.instructions`."""

import json
import shutil
import sys

import pytest

from benchmarks import __main__ as command_line
from benchmarks import instructions


@pytest.fixture(scope="module")
def valgrind():
    if not shutil.which("valgrind"):
        pytest.skip("counts with callgrind: apt install valgrind")


@pytest.mark.long
def test_a_decision_has_not_become_dearer(valgrind):
    reference = json.loads(instructions.REFERENCE.read_text())["counts"]
    counted = instructions.counts()
    compared = {row["part"] for _, row in instructions.comparable(reference, counted)}
    if compared < {"features", "streaming features", "inference"}:
        pytest.skip(f"no reference for the versions that are here: {counted}")
    worse = list(instructions.dearer(reference, counted))
    assert not worse, "\n".join(worse)


def counted(part, millions, version="1.26.4"):
    count = {"part": part, "package": "numpy", "version": version}
    return [count | {"instructions": millions * 1e6}]


def test_five_percent_more_is_dearer():
    old = counted("features", 8.0)
    assert not list(instructions.dearer(old, counted("features", 8.39)))
    (line,) = instructions.dearer(old, counted("features", 8.41))
    assert "8.41 M instructions, 5.1 % more than instructions.json says" in line
    assert "renew it: python -m benchmarks instructions --json" in line


def test_other_versions_and_parts_are_not_compared():
    old = counted("features", 8.0)
    assert not list(instructions.dearer(old, counted("features", 80, "2.5.5")))
    assert not list(instructions.dearer(old, counted("inference", 80)))


def test_nothing_judged_is_no_success(valgrind, monkeypatch, capsys):
    monkeypatch.setattr(
        instructions, "counts", lambda model: counted("features", 1, "0.1")
    )
    assert command_line.main(["instructions", "--check"]) != 0
    assert "no count by the versions that are here" in capsys.readouterr().err


def test_stretches_are_counted_apart(valgrind):
    loop = "for _ in range({}): pass\nos.getpgid(0)\n"
    program = "import os\nos.getpgid(0)\n" + loop.format(20000) + loop.format(60000)
    first, short, long, last = instructions.callgrind(
        [sys.executable, "-S", "-c", program], marks=("getpgid", "__getpgid")
    )
    assert long == pytest.approx(3 * short, rel=0.05)
    assert min(first, last) > 0


def test_a_program_that_fails_is_told(valgrind):
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        instructions.callgrind([sys.executable, "-S", "-c", "1 / 0"])
