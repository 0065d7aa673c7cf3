"""What listening costs: processor time and memory, in silence and in speech.

`edge-ser listen` runs as a process of its own and hears, in real time through PyAudio
and a PulseAudio of its own, a quiet room and then one voice after the other. With
--instructions also, under valgrind's callgrind, the instructions per second of audio:
a figure that does not move with the machine's load.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import amounts, output
from benchmarks.instructions import callgrind
from benchmarks.machine import describe, headline
from benchmarks.microphone import Feeder, Pulse, missing_for_pulse
from edge_ser.audio.file import read_blocks

Float32 = npt.NDArray[np.float32]

RATE_HZ = 16000
SPEECH = pathlib.Path(__file__).parents[1] / "examples" / "audio" / "kitchen.wav"
_SETTLING_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--model", type=pathlib.Path, metavar="BUNDLE")
    parser.add_argument(
        "--seconds",
        type=amounts.positive,
        default=60,
        help="of silence, and of speech",
    )
    parser.add_argument(
        "--instructions", action="store_true", help="count them (slow; valgrind)"
    )
    output.add_argument(parser)


def quiet_room(seconds: float) -> Float32:
    """Hiss at -65 dBFS."""
    noise = np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))
    return (noise * 10 ** (-65 / 20)).astype(np.float32)


def talk(seconds: float) -> Float32:
    """The voices of the example recording without its pauses, over and over."""
    sound = np.concatenate(list(read_blocks(SPEECH, RATE_HZ)))
    steps = sound[: len(sound) // 1600 * 1600].reshape(-1, 1600)
    loud = np.sqrt((steps**2).mean(1)) > 0.01
    voices = steps[loud].reshape(-1)
    count = round(seconds * RATE_HZ)
    return np.tile(voices, -(-count // len(voices)))[:count]


def processor_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> dict[str, float]:
    """RSS, its peak, and PSS (a page shared by n processes counts as 1/n)."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {}
    for name, key, text in (
        ("rss_mib", "VmRSS", status),
        ("peak_rss_mib", "VmHWM", status),
        ("pss_mib", "Pss", rollup),
    ):
        match = re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)
        found[name] = int(match[1]) / 1024 if match else float("nan")
    return found


def real_time(seconds: float, model: pathlib.Path | None) -> dict[str, dict]:
    """Costs in silence and then in speech, each for so long."""
    costs = {}
    with tempfile.TemporaryDirectory(prefix="cost") as folder:
        pulse = Pulse(pathlib.Path(folder))
        feeder = Feeder(pulse.fifo)
        process = subprocess.Popen(
            command(model), stdout=subprocess.PIPE, env=os.environ | pulse.env
        )
        try:
            time.sleep(_SETTLING_S)
            for name, sound in (("silence", None), ("speech", talk(seconds + 5))):
                if sound is not None:
                    feeder.say(sound)
                    time.sleep(2)
                begun_s, before_s = time.monotonic(), processor_s(process.pid)
                time.sleep(seconds)
                spent_s = processor_s(process.pid) - before_s
                share = spent_s / (time.monotonic() - begun_s)
                costs[name] = {"cpu_share": share, **memory_mib(process.pid)}
        finally:
            process.terminate()
            output, _ = process.communicate()
            feeder.close()
            pulse.kill()
    if not output:
        raise SystemExit("no event: the listener has not heard the speech")
    return costs


def command(model: pathlib.Path | None, *source: str) -> list[str]:
    """How the listener is started."""
    start = [sys.executable, "-m", "edge_ser", "listen", "--json", *source]
    return [*start, *(["--model", str(model)] if model else [])]


def instructions(samples: Float32, model: pathlib.Path | None) -> int:
    """Of one whole run over these samples, start included."""
    pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    return callgrind(command(model, "--pipe", "-"), stdin=pcm)[0]


def per_second(
    make: Callable[[float], Float32], model: pathlib.Path | None, longer_s: float
) -> float:
    """Instructions per second of audio, without those of the start."""
    few, many = (instructions(make(each), model) for each in (5, 5 + longer_s))
    return (many - few) / longer_s


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    missing = missing_for_pulse()
    if missing:
        raise SystemExit(f"needs {missing}")
    machine = describe()
    costs = real_time(arguments.seconds, arguments.model)
    if arguments.instructions:
        for name, make in (("silence", quiet_room), ("speech", talk)):
            counted = per_second(make, arguments.model, 10)
            costs[name]["instructions_per_s_of_audio"] = counted
    report = {"command": output.command(), "machine": machine, **costs}
    output.tell(report, markdown(report), arguments.json)
    return 0


def markdown(report: dict[str, Any]) -> str:
    """Silence and speech."""
    lines = [
        headline(report["machine"]),
        "",
        "| | of a core | RSS | peak | PSS | instructions a second of audio |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in ("silence", "speech"):
        cost = report[name]
        counted = cost.get("instructions_per_s_of_audio")
        shown = f"{counted / 1e6:.2f} M" if counted else "not counted"
        lines.append(
            f"| {name} | {100 * cost['cpu_share']:.2f} % | {cost['rss_mib']:.1f} MiB "
            f"| {cost['peak_rss_mib']:.1f} MiB | {cost['pss_mib']:.1f} MiB | {shown} |"
        )
    return "\n".join(lines)
