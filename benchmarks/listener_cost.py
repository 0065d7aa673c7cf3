"""What listening costs: processor time and memory, in silence and in speech.

`edge-ser listen` runs as a process of its own and hears a quiet room, or one voice
after the other, as fast as it can; what a longer run takes more than a shorter one is
the cost of the audio, without that of the start. With --instructions the same under
valgrind's callgrind: instructions per second of audio, a figure that does not move
with the machine's load.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
import numpy.typing as npt

from benchmarks.machine import describe
from edge_ser.audio.file import read_blocks

Float32 = npt.NDArray[np.float32]

RATE_HZ = 16000
SPEECH = pathlib.Path(__file__).parents[1] / "examples" / "audio" / "kitchen.wav"
# Of the process that listens: its own threads only.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--model", type=pathlib.Path, metavar="BUNDLE")
    parser.add_argument(
        "--seconds", type=float, default=1800, help="audio of the longer run"
    )
    parser.add_argument(
        "--instructions", action="store_true", help="count them (slow; valgrind)"
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")


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


def listen(
    samples: Float32, model: pathlib.Path | None, wrapper: list[str]
) -> tuple[float, float, int]:
    """CPU seconds, peak RSS in MiB, and events of one run."""
    command = [*wrapper, sys.executable, "-m", "edge_ser", "listen", "--pipe", "-"]
    command += ["--json", *(["--model", str(model)] if model else [])]
    with tempfile.TemporaryFile() as pcm:
        pcm.write((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        pcm.seek(0)
        process = subprocess.Popen(
            command,
            stdin=pcm,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | _ENVIRONMENT,
        )
        peak_mib = 0.0
        while not _ended(process.pid):
            peak_mib = max(peak_mib, _peak_mib(process.pid))
            time.sleep(0.05)
        assert process.stdout is not None
        events = sum(1 for _ in process.stdout)
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, peak_mib, events


def _ended(pid: int) -> bool:
    """Whether it has ended, without collecting it yet."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, pid, options) is not None


def _peak_mib(pid: int) -> float:
    """Peak RSS; `ru_maxrss` would hold that of the process that started it."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0


def instructions(samples: Float32, model: pathlib.Path | None) -> int:
    """Of one whole run, start included."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "callgrind"
        wrapper = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        listen(samples, model, wrapper)
        found = re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1])


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    results: dict[str, object] = {"machine": describe()}
    print(f"{'':10}{'CPU share':>12}{'peak RSS':>12}{'events':>9}{'instructions':>16}")
    for name, make in (("silence", quiet_room), ("speech", talk)):
        short_s = arguments.seconds / 10
        short_cpu_s, _, _ = listen(make(short_s), arguments.model, [])
        cpu_s, rss_mib, events = listen(make(arguments.seconds), arguments.model, [])
        share = (cpu_s - short_cpu_s) / (arguments.seconds - short_s)
        row: dict[str, float] = {
            "cpu_share": share,
            "peak_rss_mib": rss_mib,
            "events": events,
        }
        text = ""
        if arguments.instructions:
            few = instructions(make(10), arguments.model)
            many = instructions(make(30), arguments.model)
            row["instructions_per_s_of_audio"] = (many - few) / 20
            text = f"{(many - few) / 20 / 1e6:.2f} M/s"
        results[name] = row
        print(f"{name:10}{share:12.3%}{rss_mib:8.1f} MiB{events:9}{text:>16}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0
