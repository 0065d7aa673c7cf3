"""Is this machine fit to listen? One check a function, each with a line of advice."""

from __future__ import annotations

import dataclasses
import pathlib
import platform
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ser import bundle as bundles
from edge_ser import machine, signing
from edge_ser.classifier import Classifier
from edge_ser.errors import EdgeSerError
from edge_ser.interpreter import choose_runtime, installed_runtimes

Float32 = npt.NDArray[np.float32]

OK, WARNING, FAILURE = "ok", "warning", "failure"
# Processor features that the kernels of TFLite and numpy gain most from.
_FEATURES = (
    *("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"),
    *("neon", "asimd", "asimddp", "i8mm"),
)
_SLOW_SHARE, _TOO_SLOW_SHARE = 0.5, 1.0
_QUIET_DBFS, _SILENT_DBFS = -60.0, -80.0
_CLIPPED_SHARE, _FULL_SCALE = 1e-4, 0.999
_DC_OFFSET = 0.02
_DROPPED_SHARE = 0.02
_HOT_CELSIUS = 80.0


@dataclasses.dataclass(frozen=True)
class Check:
    """What one look at the machine found."""

    name: str
    status: str
    """``ok``, ``warning`` (it runs, but not as it could) or ``failure``."""
    found: str
    advice: str = ""
    """What to do; empty if all is well."""
    exit_code: int = 1
    """Of the command, if this is its first failure."""


def check_runtime(name: str | None) -> Check:
    """Which TFLite interpreter runs here."""
    try:
        chosen, _ = choose_runtime(name)
    except EdgeSerError as error:
        return Check("interpreter", FAILURE, "none", str(error), error.exit_code)
    versions = installed_runtimes()
    others = [f"{other} {v}" for other, v in versions.items() if other != chosen]
    found = f"{chosen} {versions.get(chosen, 'of unknown version')}"
    if others:
        found += f" (also installed: {', '.join(others)})"
    if chosen == "tflite-runtime" and platform.machine() in ("x86_64", "aarch64"):
        advice = "ai-edge-litert is faster here: pip install ai-edge-litert"
        return Check("interpreter", WARNING, found, advice)
    return Check("interpreter", OK, found)


def check_numpy() -> Check:
    """Which numpy, on which Python."""
    found = f"{np.__version__}, Python {platform.python_version()}"
    # Debian's own numpy comes and goes with the system: pip must leave it alone.
    is_debians = "dist-packages" in pathlib.Path(np.__file__).parts
    is_old = int(np.__version__.split(".")[0]) < 2
    if is_old and not is_debians and platform.machine() != "armv7l":
        advice = "numpy 2 computes features a third faster: pip install 'numpy>=2'"
        if "tflite-runtime" in installed_runtimes():
            advice += " with ai-edge-litert (tflite-runtime needs numpy 1)"
        return Check("numpy", OK, found, advice)
    return Check("numpy", OK, found)


def check_processor(root: pathlib.Path = pathlib.Path("/")) -> Check:
    """Features, governor and temperature of the processor.

    Args:
        root: of the file system, for tests.
    """
    flags: set[str] = set()
    for line in machine.read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags.update(value.split())
    known = [name for name in _FEATURES if name in flags]
    facts = machine.describe(root)
    governor, celsius = facts.governor, facts.celsius
    found = f"{facts.architecture}, {' '.join(known) or 'no vector features known'}"
    if governor:
        found += f", governor {governor}"
    if celsius is not None:
        found += f", {celsius:.0f} °C"
    if celsius is not None and celsius >= _HOT_CELSIUS:
        advice = "it is about to slow itself down: add a heat sink or a fan"
        return Check("processor", WARNING, found, advice)
    if governor == "powersave":
        advice = (
            "powersave keeps it at its lowest clock: echo ondemand | "
            "sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        )
        return Check("processor", WARNING, found, advice)
    return Check("processor", OK, found)


def check_bundle(path: str | None, public_keys: Sequence[str] = ()) -> Check:
    """Whether the model file is whole, unaltered, consistent and signed as asked."""
    try:
        trusted = signing.load_public_keys(public_keys)
        bundle = bundles.read(path, public_keys=trusted)
    except EdgeSerError as error:
        advice = "copy or download it again; `edge-ser info` shows a good one"
        return Check("model", FAILURE, str(error), advice, error.exit_code)
    card = bundle.card
    found = (
        f"{card.title}, {card.quantization}, {len(bundle.model) / 1000:.0f} kB, "
        f"sha256 {bundle.sha256[:12]}"
    )
    if not card.quantization.startswith("int8"):
        advice = "an int8 model is smaller and mostly faster: python -m conversion"
        return Check("model", OK, found, advice)
    return Check("model", OK, found)


def check_speed(classifier: Classifier, seconds: float = 1.0) -> Check:
    """Time of one decision (new features and inference) against real time.

    Args:
        seconds: of the machine's time to spend.
    """
    hop_s = classifier.card.hop_s
    rate_hz = classifier.sample_rate_hz
    random = np.random.default_rng(0)
    hop = (random.standard_normal(round(hop_s * rate_hz)) * 0.1).astype(np.float32)
    stream = classifier.stream()
    while not stream.push(hop):
        pass
    times_s: list[float] = []
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s or len(times_s) < 3:
        start_s = time.perf_counter()
        stream.push(hop)
        times_s.append(time.perf_counter() - start_s)
    return judge_speed(statistics.median(times_s), max(times_s), hop_s)


def judge_speed(typical_s: float, worst_s: float, hop_s: float) -> Check:
    """What the times of decisions mean, if one is due every `hop_s`."""
    share = typical_s / hop_s
    found = (
        f"{typical_s * 1000:.2f} ms a decision (worst {worst_s * 1000:.1f}), "
        f"one due every {hop_s * 1000:.0f} ms: {share:.1%} of the time"
    )
    if share >= _TOO_SLOW_SHARE:
        advice = "too slow to listen: a smaller model, or ai-edge-litert"
        return Check("speed", FAILURE, found, advice)
    if share >= _SLOW_SHARE or worst_s >= hop_s:
        advice = "little is left for bursts: stop other programs, or a smaller model"
        return Check("speed", WARNING, found, advice)
    return Check("speed", OK, found)


class ClippingMeter:
    """Counts samples at full scale, channel by channel.

    To be asked before channels are averaged and the rate is changed: either hides that
    a channel was cut off.
    """

    def __init__(self) -> None:
        self._clipped: npt.NDArray[np.int64] | None = None
        self._frames = 0

    def push(self, frames: npt.NDArray[np.floating[Any]]) -> None:
        """A block as it was recorded, shape (frames, channels), in [-1, 1]."""
        clipped = np.count_nonzero(np.abs(frames) >= _FULL_SCALE, axis=0)
        self._clipped = clipped if self._clipped is None else self._clipped + clipped
        self._frames += len(frames)

    @property
    def share(self) -> float:
        """Of the samples of the worst channel, 0 to 1."""
        if self._clipped is None or not self._frames:
            return 0.0
        return float(self._clipped.max()) / self._frames


def judge_sound(
    samples: Float32, rate_hz: int, clipped: float, elapsed_s: float | None
) -> list[Check]:
    """Level, clipping, DC offset and loss of recorded sound.

    Args:
        samples: shape (samples,), float32 in [-1, 1].
        clipped: see `ClippingMeter.share`.
        elapsed_s: how long the recording took; None if it did not keep time's pace.
    """
    if not len(samples):
        advice = "is it muted or unplugged? `edge-ser devices` lists what there is"
        return [Check("level", FAILURE, "no sound at all came", advice, 5)]
    offset = float(samples.mean(dtype=np.float64))
    power = float(np.square(samples - np.float32(offset)).mean(dtype=np.float64))
    level_dbfs = 10 * np.log10(power + 1e-12)
    peak = float(np.abs(samples).max())
    checks = [_judge_level(level_dbfs, peak)]
    advice = "" if clipped < _CLIPPED_SHARE else "turn the capture gain down: alsamixer"
    status = WARNING if advice else OK
    checks.append(Check("clipping", status, f"{clipped:.3%} of the samples", advice))
    advice = ""
    if abs(offset) >= _DC_OFFSET:
        advice = "a cheap sound card; a USB microphone or another input may do better"
    status = WARNING if advice else OK
    checks.append(Check("dc offset", status, f"{offset:+.4f} of full scale", advice))
    if elapsed_s is not None:
        checks.append(_judge_loss(len(samples) / rate_hz, elapsed_s))
    return checks


def _judge_level(level_dbfs: float, peak: float) -> Check:
    found = f"{level_dbfs:.0f} dBFS, peak {20 * np.log10(peak + 1e-6):.0f} dBFS"
    if level_dbfs <= _SILENT_DBFS:
        advice = "digital silence: unmute the input (alsamixer, F4), check the plug"
        return Check("level", WARNING, found, advice)
    if level_dbfs <= _QUIET_DBFS:
        advice = "very quiet: speak meanwhile, or turn the capture gain up (alsamixer)"
        return Check("level", WARNING, found, advice)
    return Check("level", OK, found)


def _judge_loss(heard_s: float, elapsed_s: float) -> Check:
    lost = max(0.0, 1 - heard_s / elapsed_s) if elapsed_s > 0 else 0.0
    found = f"{heard_s:.2f} s of sound in {elapsed_s:.2f} s"
    if lost > _DROPPED_SHARE:
        advice = f"{lost:.0%} is lost: a busy machine, or USB power; try another port"
        return Check("dropped audio", WARNING, found, advice)
    return Check("dropped audio", OK, found)
