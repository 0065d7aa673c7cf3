"""What other recognisers cost for the same work, beside their accuracy where scored.

The work: two decisions a second over the last 3 s of a stream, one thread,
ai-edge-litert. Light-SERNet (float32 and dynamic-range TFLite, as its authors convert
it), TIM-Net, two stacked LSTM and a CNN-LSTM, each once with librosa's features of the
whole window at every decision, and once with our incremental features of the hop that
is new; openSMILE's eGeMAPS with an SVM; and bundles of edge-ser, which hear the window
that they were made for.

Their weights are random, since the cost of a network does not depend on them; UA is
that of the published rows of the zoo (`python -m training zoo`), trained and scored
under the same folds. The SVM is fitted to random vectors, as many as RAVDESS's training
folds have, nearly all of which become support vectors: the most that it can cost.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import pathlib
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import amounts, machine, output, process
from edge_ser import bundle, stopwatch
from edge_ser.errors import ConfigError
from edge_ser.features import FeatureStream, model_input
from edge_ser.interpreter import Interpreter
from edge_ser.machine import memory_mib
from edge_ser.spec import FeatureSpec

NETWORKS = ("light-sernet", "tim-net", "lstm-stacked", "cnn1d-lstm")
_WINDOW_S, _HOP_S = 3.0, 0.5
_RUNTIME = "ai-edge-litert"
# RAVDESS without a fold's four speakers; eGeMAPS has 88 functionals.
_SVM_ROWS, _FUNCTIONALS, _CLASSES = 1199, 88, 8
_RIVAL = "light-sernet"
_MOST_MACS, _LEAST_UA = 0.25, 0.05


@dataclasses.dataclass(frozen=True)
class Goal:
    """How many times cheaper than the rival a bundle of ours shall be."""

    ours: str
    features: str
    """The rival's: ``librosa`` or ``incremental``."""
    at_least: float


_OURS = ("standard", "nano")
GOALS = (
    Goal("standard", "librosa", 5),
    Goal("standard", "incremental", 3),
    Goal("nano", "librosa", 12),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "--standard",
        metavar="BUNDLE",
        default="standard",
        help="ours (the bundled default)",
    )
    parser.add_argument(
        "--nano", metavar="BUNDLE", default="nano", help="our smaller one (the bundled)"
    )
    parser.add_argument(
        "--rounds",
        type=amounts.at_least_one,
        default=3,
        help="fresh processes a contender (3)",
    )
    parser.add_argument(
        "--seconds", type=amounts.positive, default=0.5, help="of each timing (0.5)"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these peers alone"
    )
    parser.add_argument("--protocol", default="ravdess", metavar="NAME")
    output.add_argument(parser)
    parser.add_argument("--one", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    if arguments.one:
        plan = json.loads(arguments.one)
        print(json.dumps(measure(plan, arguments.seconds)))
        return 0
    known = (*NETWORKS, "egemaps-svm")
    unknown = sorted(set(arguments.only) - set(known))
    if unknown:
        raise SystemExit(f"no peer {unknown[0]!r}; valid: {', '.join(known)}")
    chosen = arguments.only or known
    # An unknown protocol is told before anything is measured, not after.
    _scores(arguments.protocol)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        plans = [*_ours(arguments), *_peers(chosen, pathlib.Path(folder))]
        # Rounds alternate, so that a busy minute of the machine hits every contender.
        rounds = [
            [_alone(plan, arguments.seconds) for plan in plans]
            for _ in range(arguments.rounds)
        ]
    rows = []
    for number, plan in enumerate(plans):
        row = {key: plan[key] for key in ("name", "arithmetic", "features", "macs")}
        rows.append(
            row | {"bytes": plan["bytes"]} | _middle([each[number] for each in rounds])
        )
    measured = {
        "command": output.command(),
        "machine": machine.describe(),
        "window_s": _WINDOW_S,
        "hop_s": _HOP_S,
        "protocol": arguments.protocol,
        "rows": rows,
        "ratios": ratios(rows),
    }
    report = scored(measured)
    output.tell(report, markdown(report), arguments.json)
    return 0


def _ours(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from conversion.macs import macs

    plans = []
    for name in _OURS:
        path = getattr(arguments, name)
        read = bundle.read(path)
        plans.append(
            {
                "name": name,
                "arithmetic": read.card.quantization,
                "features": "incremental",
                "model": bundle.located(path),
                "is_bundle": True,
                "bytes": len(read.model),
                "macs": macs(read.model),
            }
        )
    return plans


def _peers(names: tuple[str, ...], folder: pathlib.Path) -> list[dict[str, Any]]:
    from conversion.macs import macs
    from conversion.worker import alone

    plans: list[dict[str, Any]] = []
    for name in names:
        if name == "egemaps-svm":
            plan = {"name": name, "arithmetic": "float64", "features": "openSMILE"}
            plans.append(plan | {"bytes": None, "macs": None})
            continue
        files, spec = alone(f"the conversion of {name}", _converted, name)
        for arithmetic, model in files.items():
            path = folder / f"{name}-{arithmetic}.tflite"
            path.write_bytes(model)
            common = {
                "name": name,
                "arithmetic": arithmetic,
                "model": str(path),
                "spec": spec,
                "bytes": len(model),
                "macs": macs(model),
            }
            plans += [common | {"features": x} for x in ("librosa", "incremental")]
    return plans


def _converted(name: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A peer's TFLite files by arithmetic, and its features; random weights."""
    from conversion.source import Source
    from conversion.tflite import emit
    from training import zoo
    from training.zoo_run import recipes

    config = recipes(name)["paper"]
    spec = config.features
    # As many as librosa's centred frames of 3 s.
    frames = 1 + round(_WINDOW_S * spec.sample_rate_hz) // spec.hop_samples
    width = spec.n_features
    spec = dataclasses.replace(
        spec, frames_per_window=frames, mean=(0.0,) * width, std=(1.0,) * width
    )
    labels = len(config.labels)
    model = zoo.build(config.architecture, frames, width, labels, config.model)
    arithmetic = ("float32", "dynamic-range") if name == _RIVAL else ("float32",)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        source = Source(path)
        files = {each: emit(source, each, None) for each in arithmetic}
    return files, dataclasses.asdict(spec)


def _alone(plan: dict[str, Any], seconds: float) -> dict[str, float]:
    options = ["--one", json.dumps(plan), "--seconds", str(seconds)]
    found: dict[str, float] = process.answer(process.command("peers", *options))
    return found


def measure(plan: dict[str, Any], seconds: float) -> dict[str, float]:
    """Milliseconds of one decision, in this process, and the memory it took."""
    if plan.get("is_bundle"):
        work = _bundle_work(plan["model"])
    elif plan["features"] == "openSMILE":
        work = _svm_work()
    else:
        work = _network_work(plan)
    timings = {part: stopwatch.measure(call, seconds) for part, call in work.items()}
    found = {f"{part}_ms": timing.cpu_ms or 0.0 for part, timing in timings.items()}
    found |= {f"{part}_p95_ms": timing.p95_ms for part, timing in timings.items()}
    return found | {"peak_rss_mib": memory_mib("VmHWM") or 0.0}


def _bundle_work(path: str) -> dict[str, Callable[[], Any]]:
    from edge_ser.classifier import Classifier

    work = stopwatch.decision_work(Classifier.load(path, runtime=_RUNTIME))
    return {"features": work["streaming features"], "inference": work["inference"]}


def _noise(sample_rate_hz: int) -> Any:
    random = np.random.default_rng(0)
    count = round(_WINDOW_S * sample_rate_hz)
    return (random.standard_normal(count) * 0.05).astype(np.float32)


def _network_work(plan: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    spec = FeatureSpec.from_dict(plan["spec"])
    model = pathlib.Path(plan["model"]).read_bytes()
    interpreter = Interpreter(model, runtime=_RUNTIME)
    samples = _noise(spec.sample_rate_hz)
    if plan["features"] == "librosa":
        frames = _librosa(samples, spec)

        def features() -> Any:
            return model_input(_librosa(samples, spec), spec)
    else:
        stream = FeatureStream(spec)
        hop = samples[: round(_HOP_S * spec.sample_rate_hz)]
        zeros = np.zeros((spec.frames_per_window, spec.n_static), np.float32)
        frames = np.concatenate([zeros, stream.push(samples)])
        frames = frames[-spec.frames_per_window :]

        def features() -> Any:
            return stream.push(hop), model_input(frames, spec)

    window = model_input(frames, spec)
    return {"features": features, "inference": lambda: interpreter.logits(window)}


def _librosa(samples: Any, spec: FeatureSpec) -> Any:
    """The spec's MFCC, or log-mel in dB, as librosa makes them."""
    import librosa

    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=spec.sample_rate_hz,
        n_fft=spec.n_fft,
        win_length=spec.window_samples,
        hop_length=spec.hop_samples,
        n_mels=spec.n_mels,
        fmin=spec.f_min_hz,
        fmax=spec.f_max_hz,
        htk=spec.mel_scale == "htk",
        norm="slaney" if spec.mel_norm == "area" else None,
    )
    frames = librosa.power_to_db(mel)
    if spec.n_mfcc is not None:
        frames = librosa.feature.mfcc(S=frames, n_mfcc=spec.n_mfcc)
    return np.ascontiguousarray(frames.T, np.float32)


def _svm_work() -> dict[str, Callable[[], Any]]:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    from training.baselines.functionals import SAMPLE_RATE_HZ, opensmile_set

    functionals = opensmile_set("eGeMAPSv02")
    samples = _noise(SAMPLE_RATE_HZ)
    random = np.random.default_rng(0)
    rows = random.standard_normal((_SVM_ROWS, _FUNCTIONALS))
    classifier = make_pipeline(StandardScaler(), SVC(break_ties=True))
    classifier.fit(rows, np.arange(_SVM_ROWS) % _CLASSES)
    vector = functionals(samples)[None]
    return {
        "features": lambda: functionals(samples),
        "inference": lambda: classifier.predict(vector),
    }


def _middle(measured: list[dict[str, float]]) -> dict[str, Any]:
    """Medians over the rounds, and what a second of audio costs in each of them."""
    costs = [(each["features_ms"] + each["inference_ms"]) / _HOP_S for each in measured]
    found: dict[str, Any] = {
        key: statistics.median(each[key] for each in measured) for key in measured[0]
    }
    return found | {
        "ms_a_second_of_audio": statistics.median(costs),
        "rounds_ms_a_second": costs,
    }


@functools.cache
def _scores(protocol: str) -> dict[str, list[float]]:
    """UA with its interval of the published rows: of the bundled, what ships.

    Raises:
        ConfigError: no row was scored so.
    """
    from training import zoo_results

    found: dict[str, list[float]] = {}
    published = zoo_results.load()
    known = sorted({row["protocol"] for row in published})
    if protocol not in known:
        raise ConfigError(
            f"no row of the zoo has protocol {protocol!r}; valid: {', '.join(known)}"
        )
    for row in published:
        is_ours = row["folder"] in bundle.SHIPPED
        if row["protocol"] == protocol:
            name, figures = (
                (row["folder"], row["last"]) if is_ours else (row["name"], row["float"])
            )
            found[name] = [figures["ua"], *figures["ua_95"]]
    return found


def scored(report: dict[str, Any]) -> dict[str, Any]:
    """The report with the UA that the zoo's rows have now, and the goals on it.

    Raises:
        ConfigError: no row was scored under the report's protocol.
    """
    scores = _scores(report["protocol"])
    rows = [row | {"ua": scores.get(row["name"])} for row in report["rows"]]
    return report | {"rows": rows, "goals": goals(rows)}


def ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times cheaper ours are than Light-SERNet's cheaper file, with the goals.

    The range is over the rounds, each against the same round of the rival.
    """
    found = []
    for goal in GOALS:
        ours = [row for row in rows if row["name"] == goal.ours]
        rivals = [
            row
            for row in rows
            if row["name"] == _RIVAL and row["features"] == goal.features
        ]
        if not ours or not rivals:
            continue
        rival = min(rivals, key=lambda row: row["ms_a_second_of_audio"])
        pairs = zip(
            rival["rounds_ms_a_second"], ours[0]["rounds_ms_a_second"], strict=True
        )
        times = [theirs / our for theirs, our in pairs]
        found.append(
            dataclasses.asdict(goal)
            | {
                "rival": f"{rival['name']} {rival['arithmetic']}",
                "times": statistics.median(times),
                "range": [min(times), max(times)],
                "passed": statistics.median(times) >= goal.at_least,
            }
        )
    return found


def goals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `standard` shall reach in MACs and, where both are scored, in UA."""
    first = {row["name"]: row for row in reversed(rows)}
    ours = first.get("standard")
    if ours is None:
        return []
    found = []
    if _RIVAL in first:
        share = ours["macs"] / first[_RIVAL]["macs"]
        found.append(
            {
                "goal": f"MACs, as a share of {_RIVAL}'s: at most {_MOST_MACS}",
                "value": share,
                "told": f"{share:.3f}",
                "passed": share <= _MOST_MACS,
            }
        )
    for name in (_RIVAL, "tim-net"):
        if name not in first:
            continue
        goal = f"UA above {name}'s: at least {100 * _LEAST_UA:g} points"
        scored = ours["ua"] and first[name]["ua"]
        gap = ours["ua"][0] - first[name]["ua"][0] if scored else None
        found.append(
            {
                "goal": goal,
                "value": gap,
                "told": None if gap is None else f"{100 * gap:+.1f} points",
                "passed": None if gap is None else gap >= _LEAST_UA,
            }
        )
    return found


def markdown(report: dict[str, Any]) -> str:
    """A row a contender, and the ratios that matter."""
    lines = [
        machine.headline(report["machine"]),
        "",
        f"A decision every {report['hop_s']:g} s over {report['window_s']:g} s of "
        "audio (`standard` and `nano`: over the window that they were made for), one "
        f"thread, {_RUNTIME}. Milliseconds: median of processor time / 95th percentile "
        "of wall time. A second of audio: features and inference by the former, "
        "without what a stream adds around them. "
        "Weights of the peers are random: cost does not depend on them. UA: the float "
        f"model of the zoo's row under the folds of {report['protocol']}; of "
        "`standard` and `nano`, the int8 files that ship.",
        "",
        "| model | arithmetic | features by | M MACs | kB | features | inference "
        "| second of audio | RSS | UA |",
        "| --- " * 10 + "|",
    ]
    for row in report["rows"]:
        macs = "" if row["macs"] is None else f"{row['macs'] / 1e6:.1f}"
        size = "" if row["bytes"] is None else f"{row['bytes'] / 1000:.0f}"
        score = "not scored"
        if row["ua"]:
            score = output.interval(row["ua"])
        parts = [
            f"{row[f'{part}_ms']:.2f} / {row[f'{part}_p95_ms']:.1f}"
            for part in ("features", "inference")
        ]
        lines.append(
            f"| {row['name']} | {row['arithmetic']} | {row['features']} | {macs} "
            f"| {size} | {parts[0]} | {parts[1]} "
            f"| {row['ms_a_second_of_audio']:.2f} | {row['peak_rss_mib']:.0f} MiB "
            f"| {score} |"
        )
    if report["ratios"]:
        lines += [
            "",
            "| ours | against | its features | times cheaper | range of the rounds "
            "| wanted |",
            "| --- " * 6 + "|",
        ]
    for row in report["ratios"]:
        low, high = row["range"]
        lines.append(
            f"| {row['ours']} | {row['rival']} | {row['features']} "
            f"| {row['times']:#.4g} | {low:#.4g} to {high:#.4g} "
            f"| {row['at_least']:g}: {'passed' if row['passed'] else 'missed'} |"
        )
    lines += ["", "| goal of `standard` | measured |", "| --- | --- |"]
    for row in report["goals"]:
        verdict = {None: "not scored", True: "passed", False: "missed"}[row["passed"]]
        told = f"{row['told']}: " if row["told"] else ""
        lines.append(f"| {row['goal']} | {told}{verdict} |")
    return "\n".join(lines)
