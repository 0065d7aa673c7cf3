"""How the cost grows: with window and hop, with other streams, with time.

Everything runs in fresh processes with one thread, by processor time. ``windows``: a
second of talk through the whole path of the listener (speech gate, features, model,
decision), against the length of the model's window and the step between decisions.
``streams``: from 1 to 32 in one process through `Classifier.stream`, as firmware would
use it, each with a state of its own over one shared model. ``hours``: one such stream
for up to 10 hours; the time a second of audio takes must stay the same, and the memory
too.

A model takes one length of window, so those of other lengths are the configuration's
network with random weights, quantized like it: their cost is the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import pathlib
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks import amounts, machine, output, process
from benchmarks.listener_cost import talk
from edge_ser import bundle
from edge_ser.classifier import Classifier
from edge_ser.machine import memory_mib
from edge_ser.pipeline import Pipeline

HOPS_S = (0.1, 0.25, 0.5, 1.0, 2.0)
STREAMS = (1, 2, 4, 8, 16, 32)
SECONDS = (1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0)
_BLOCK_S = 0.1
CONFIG = pathlib.Path(__file__).parents[1] / "training/configs/standard.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--model", help="a bundle (the bundled default)")
    parser.add_argument(
        "--config",
        type=pathlib.Path,
        default=CONFIG,
        metavar="TOML",
        help="of the model: other windows take its network (training/configs/"
        "standard.toml)",
    )
    parser.add_argument(
        "--windows",
        type=amounts.positive,
        nargs="+",
        default=[0.5, 1.0, 2.0],
        metavar="N",
        help="windows N times as long as the model's (0.5 1 2); all but 1 need "
        "TensorFlow",
    )
    parser.add_argument(
        "--seconds", type=amounts.positive, default=60, help="of audio a figure (60)"
    )
    parser.add_argument(
        "--longest",
        type=amounts.positive,
        default=SECONDS[-1],
        help="seconds of audio (36000)",
    )
    output.add_argument(parser)
    parser.add_argument("--one", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    if arguments.one:
        print(json.dumps(measure(json.loads(arguments.one), arguments.model)))
        return 0
    report: dict[str, Any] = {
        "command": output.command(),
        "machine": machine.describe(),
    }
    hop_s = bundle.read(arguments.model).card.hop_s
    length_s = arguments.seconds
    plans: dict[str, list[dict[str, float]]] = {
        "streams": [
            {"hop_s": hop_s, "streams": count, "seconds": length_s} for count in STREAMS
        ],
        "hours": [
            {"hop_s": hop_s, "streams": 1, "seconds": seconds}
            for seconds in SECONDS
            if seconds <= max(arguments.longest, SECONDS[0])
        ],
    }
    report["windows"] = _windows(arguments)
    for name, plan in plans.items():
        report[name] = [_alone(each, arguments.model) for each in plan]
    output.tell(report, markdown(report), arguments.json)
    return 0


def _windows(arguments: argparse.Namespace) -> list[Any]:
    """Costs of the listener by window and hop, each in a process of its own."""
    original = bundle.read(arguments.model)
    found = []
    with tempfile.TemporaryDirectory(prefix="windows-") as folder:
        for times in arguments.windows:
            if times != 1 and importlib.util.find_spec("tensorflow") is None:
                continue
            card, model = original.card, original.model
            if times != 1:
                card, model = other_window(card, times, arguments.config)
            step_s = card.features.hop_samples / card.features.sample_rate_hz
            for hop_s in HOPS_S:
                if hop_s > card.window_s:
                    continue
                path = pathlib.Path(folder) / f"{times}-{hop_s}.tflite"
                hop_frames = max(1, round(hop_s / step_s))
                bundle.write(
                    path, dataclasses.replace(card, hop_frames=hop_frames), model
                )
                plan = {"hop_s": hop_s, "listener": 1, "seconds": arguments.seconds}
                row = _alone(plan, str(path))
                found.append({"window_s": card.window_s, **row})
    return found


def other_window(
    card: bundle.Card, times: float, config: pathlib.Path
) -> tuple[bundle.Card, bytes]:
    """The card and an int8 network with random weights for another length of window."""
    from conversion.tflite import convert
    from training import config as configs
    from training import zoo

    parsed = configs.load(config)
    frames = round(card.features.frames_per_window * times)
    spec = dataclasses.replace(card.features, frames_per_window=frames)
    shape = (frames, spec.n_features)
    network = zoo.build(parsed.architecture, *shape, len(card.labels), parsed.model)
    calibration = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    model = convert(network, calibration)
    return dataclasses.replace(card, features=spec), model


def measure(plan: dict[str, float], model: str | None) -> dict[str, float]:
    """Cost of so many streams, or of a listener, of so much audio, in this process."""
    classifier = Classifier.load(model)
    rate_hz = classifier.sample_rate_hz
    spec = classifier.card.features
    listeners: list[Any]
    if "listener" in plan:
        listeners = [Pipeline(classifier)]
        audio = talk(plan["seconds"])
    else:
        count = int(plan["streams"])
        listeners = [classifier.stream(plan["hop_s"]) for _ in range(count)]
        noise = np.random.default_rng(0).standard_normal(round(_BLOCK_S * rate_hz))
        audio = (noise * 0.05).astype(np.float32)
    for each in listeners:  # from the first decision on, every hop costs the same
        each.push(np.zeros(spec.model_samples, np.float32))
    before_mib = memory_mib("VmRSS") or 0.0
    size = round(_BLOCK_S * rate_hz)
    decisions = 0
    start_s = time.process_time()
    for number in range(round(plan["seconds"] / _BLOCK_S)):
        start = number * size % len(audio)
        for each in listeners:
            decisions += len(each.push(audio[start : start + size]))
    cpu_s = time.process_time() - start_s
    if "listener" in plan:
        decisions = listeners[0].windows
    audio_s = plan["seconds"] * len(listeners)
    return {
        **plan,
        "ms_a_second_of_audio": 1000 * cpu_s / audio_s,
        "decisions": decisions,
        "rss_mib": memory_mib("VmRSS") or 0.0,
        "grown_mib": (memory_mib("VmRSS") or 0.0) - before_mib,
    }


def _alone(plan: dict[str, float], model: str | None) -> Any:
    options = ["--one", json.dumps(plan), *(["--model", model] if model else [])]
    return process.answer(process.command("scaling", *options))


def markdown(report: dict[str, Any]) -> str:
    """Three tables."""
    lines = [machine.headline(report["machine"]), ""]
    windows = sorted({row["window_s"] for row in report["windows"]})
    lines += [
        "Milliseconds of processor time a second of talk takes the listener, with its "
        "speech gate:",
        "",
        "| a decision every | "
        + " | ".join(f"window {w:.2f} s" for w in windows)
        + " |",
        "| --- " * (1 + len(windows)) + "|",
    ]
    costs = {
        (row["hop_s"], row["window_s"]): f"{row['ms_a_second_of_audio']:.2f} ms"
        for row in report["windows"]
    }
    for hop_s in sorted({hop for hop, _ in costs}):
        cells = " | ".join(costs.get((hop_s, window), "") for window in windows)
        lines.append(f"| {hop_s:g} s | {cells} |")
    lines += ["", "`Classifier.stream` alone, without a gate:"]
    for name, column, key in (
        ("streams", "streams", "streams"),
        ("hours", "audio", "seconds"),
    ):
        lines += [
            "",
            f"| {column} | ms a second of audio | decisions | RSS | grown by |",
            "| --- | --- | --- | --- | --- |",
        ]
        for row in report[name]:
            shown = f"{row[key]:g}" + ("" if key == "streams" else " s")
            lines.append(
                f"| {shown} | {row['ms_a_second_of_audio']:.2f} "
                f"| {row['decisions']} | {row['rss_mib']:.1f} MiB "
                f"| {row['grown_mib']:.2f} MiB |"
            )
    return "\n".join(lines)
