"""Plots of the reports; each takes a verb's JSON and gives a matplotlib figure."""

from __future__ import annotations

from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

_GRID = {"alpha": 0.3, "linewidth": 0.6}
_COLOURS = ("#2a6f97", "#d1495b", "#6a994e", "#8d6a9f", "#e09f3e", "#4a4e69")


def accuracy_against(report: dict[str, Any], quantity: str) -> Any:
    """UA with its interval against ``size`` (kB) or ``latency`` (inference, ms)."""
    figure, axis = pyplot.subplots(figsize=(7.2, 4.0), layout="constrained")
    label = {
        "size": "model, kB",
        "latency": "inference, ms of processor time a window",
    }[quantity]
    rows = report["variants"]
    places = [
        row["model_bytes"] / 1000
        if quantity == "size"
        else row["bench"]["timings"]["inference"]["cpu_ms"]
        for row in rows.values()
    ]
    # A little apart, or variants of one size would hide each other.
    apart = 0.012 * max(places)
    for index, (name, row) in enumerate(rows.items()):
        value, low, high = (100 * u for u in row["ua"])
        axis.errorbar(
            places[index] + apart * (index - (len(rows) - 1) / 2),
            value,
            yerr=[[value - low], [high - value]],
            fmt="osD^vP*X"[index % 8],
            capsize=3,
            color=_COLOURS[index % len(_COLOURS)],
            label=name,
        )
    axis.set(xlabel=label, ylabel="UA on strangers, %", xlim=(0, 1.1 * max(places)))
    axis.grid(**_GRID)
    figure.legend(loc="outside upper right", frameon=False, ncols=4, fontsize=9)
    return figure


def recall_by_class(report: dict[str, Any]) -> Any:
    """A group of bars a class, a bar a variant."""
    labels, variants = report["labels"], report["variants"]
    figure, axis = pyplot.subplots(figsize=(9, 3.6), layout="constrained")
    width = 0.8 / len(variants)
    for index, (name, row) in enumerate(variants.items()):
        places = [p - 0.4 + width * (index + 0.5) for p in range(len(labels))]
        axis.bar(
            places,
            [100 * x for x in row["recall"]],
            width,
            label=name,
            color=_COLOURS[index % len(_COLOURS)],
        )
    axis.set_xticks(range(len(labels)), labels)
    axis.set(ylabel="recall, %", ylim=(0, 100))
    axis.grid(axis="y", **_GRID)
    figure.legend(loc="outside upper right", frameon=False, ncols=len(variants))
    return figure


def robustness(report: dict[str, Any]) -> Any:
    """The difference in UA under every change, and the share of answers that stay."""
    variants = report["variants"]
    names = [row["name"] for row in next(iter(variants.values()))["changes"]]
    height = 1.2 + 0.21 * len(names)
    figure, axes = pyplot.subplots(
        1, 2, figsize=(10, height), sharey=True, layout="constrained"
    )
    bar = 0.8 / len(variants)
    for index, (variant, figures) in enumerate(variants.items()):
        places = [p - 0.4 + bar * (index + 0.5) for p in range(len(names))]
        colour = _COLOURS[index % len(_COLOURS)]
        rows = figures["changes"]
        axes[0].barh(
            places,
            [100 * row["ua_change"][0] for row in rows],
            bar,
            xerr=[
                [100 * (row["ua_change"][0] - row["ua_change"][1]) for row in rows],
                [100 * (row["ua_change"][2] - row["ua_change"][0]) for row in rows],
            ],
            error_kw={"linewidth": 0.7, "ecolor": "0.3"},
            color=colour,
            label=variant,
        )
        axes[1].barh(
            places, [100 * row["unchanged"] for row in rows], bar, color=colour
        )
    for place, row in enumerate(next(iter(variants.values()))["changes"]):
        for axis, key in ((axes[0], "least_ua_change"), (axes[1], "least_unchanged")):
            if row[key] is not None:
                axis.plot([100 * row[key]] * 2, [place - 0.45, place + 0.45], "k-")
    axes[0].set_yticks(range(len(names)), names, fontsize=9)
    axes[0].invert_yaxis()
    axes[0].set(xlabel="difference in UA, points (line: wanted)")
    axes[1].set(xlabel="answers unchanged, % (line: wanted)", xlim=(0, 100))
    for axis in axes:
        axis.grid(axis="x", **_GRID)
    figure.legend(loc="outside upper right", frameon=False, ncols=len(variants))
    return figure


def places(report: dict[str, Any]) -> Any:
    """UA in each kind of place, alone and after others were heard there."""
    rows = report["groups"]
    modes = list(next(iter(rows.values())))
    figure, axis = pyplot.subplots(figsize=(8, 3.4), layout="constrained")
    bar = 0.8 / len(modes)
    for index, mode in enumerate(modes):
        uas = [[100 * each for each in row[mode]["ua"]] for row in rows.values()]
        axis.barh(
            [place - 0.4 + bar * (index + 0.5) for place in range(len(rows))],
            [value for value, _, _ in uas],
            bar,
            xerr=[
                [value - low for value, low, _ in uas],
                [high - value for value, _, high in uas],
            ],
            error_kw={"linewidth": 0.7, "ecolor": "0.3"},
            color=_COLOURS[index],
            label=mode,
        )
    axis.set_yticks(range(len(rows)), list(rows), fontsize=9)
    axis.invert_yaxis()
    axis.set(xlabel="UA on strangers, %")
    axis.grid(axis="x", **_GRID)
    figure.legend(loc="outside upper right", frameon=False, ncols=len(modes))
    return figure


def scaling(report: dict[str, Any]) -> Any:
    """Cost against window and hop, streams and hours, and memory against hours."""
    figure, axes = pyplot.subplots(2, 2, figsize=(9.6, 6.4), layout="constrained")
    (windows, streams), (hours, memory) = axes
    for index, window_s in enumerate(
        sorted({r["window_s"] for r in report["windows"]})
    ):
        rows = [row for row in report["windows"] if row["window_s"] == window_s]
        windows.plot(
            [row["hop_s"] for row in rows],
            [row["ms_a_second_of_audio"] for row in rows],
            "o-",
            ms=4,
            color=_COLOURS[index % len(_COLOURS)],
            label=f"window {window_s:.2f} s",
        )
    windows.legend(frameon=False, fontsize=9)
    cost = "ms a second of audio"
    panels = (
        (windows, None, "hop_s", "a decision every so many s", cost),
        (streams, "streams", "streams", "streams in one process", cost),
        (hours, "hours", "seconds", "audio", cost),
        (memory, "hours", "seconds", "audio", "RSS, MiB"),
    )
    for axis, part, x, label, y in panels:
        if part is not None:
            key = "rss_mib" if axis is memory else "ms_a_second_of_audio"
            rows = report[part]
            axis.plot([row[x] for row in rows], [row[key] for row in rows], "o-", ms=4)
        axis.set(xlabel=label, ylabel=y)
        axis.set_xscale("log")
        ticks = sorted({row[x] for row in report[part or "windows"]})
        words = [_span(tick) if x == "seconds" else f"{tick:g}" for tick in ticks]
        axis.set_xticks(ticks, words)
        axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
        axis.grid(**_GRID)
    return figure


def _span(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def peers(report: dict[str, Any]) -> Any:
    """What a second of audio costs each contender, features and inference apart."""
    rows = report["rows"]
    names = [f"{r['name']}, {r['arithmetic']}, {r['features']}" for r in rows]
    height = 1.1 + 0.34 * len(rows)
    figure, axis = pyplot.subplots(figsize=(9.6, height), layout="constrained")
    start = [0.0] * len(rows)
    for part, colour in (("features", _COLOURS[4]), ("inference", _COLOURS[0])):
        times = [row[f"{part}_ms"] / report["hop_s"] for row in rows]
        bars = axis.barh(names, times, left=start, color=colour, label=part)
        start = [a + b for a, b in zip(start, times, strict=True)]
    words = [f"{row['ms_a_second_of_audio']:.1f} ms" for row in rows]
    axis.bar_label(bars, words, padding=3, fontsize=9)
    axis.invert_yaxis()
    axis.set(xlabel="processor time a second of audio, ms")
    axis.margins(x=0.12)
    axis.grid(axis="x", **_GRID)
    figure.legend(loc="outside upper right", frameon=False, ncols=2, fontsize=9)
    return figure


def features(report: dict[str, Any]) -> Any:
    """Times of the contenders as multiples of the bare FFT, by length of audio."""
    clips = report["clips"]
    names = [name for name in clips[0]["ms"] if name != "floor"]
    figure, axis = pyplot.subplots(figsize=(7.2, 3.4), layout="constrained")
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        places = [p - 0.4 + width * (index + 0.5) for p in range(len(clips))]
        times = [clip["ms"][name] / clip["ms"]["floor"] for clip in clips]
        bars = axis.bar(
            places, times, width, label=name, color=_COLOURS[index % len(_COLOURS)]
        )
        words = [f"{clip['ms'][name]:.2f} ms" for clip in clips]
        axis.bar_label(bars, words, fontsize=8, padding=2)
    axis.axhline(1, color="0.3", linewidth=0.8)
    axis.set_xticks(range(len(clips)), [f"{c['seconds']:g} s of audio" for c in clips])
    axis.set(ylabel="times the bare FFT")
    axis.margins(y=0.15)
    axis.grid(axis="y", **_GRID)
    figure.legend(loc="outside upper right", frameon=False, ncols=3, fontsize=9)
    return figure


def boards(report: dict[str, Any]) -> Any:
    """Least time a window on boards that are not here."""
    rows = report["boards"]
    figure, axis = pyplot.subplots(
        figsize=(7.2, 0.8 + 0.42 * len(rows)), layout="constrained"
    )
    bars = axis.barh(
        [row["name"] for row in rows],
        [row["least_ms"] for row in rows],
        color=_COLOURS[0],
    )
    axis.bar_label(bars, [f"{row['least_ms']:.2f} ms" for row in rows], padding=3)
    axis.invert_yaxis()
    axis.set(xlabel="at least so many ms a window, one core (estimate)")
    axis.margins(x=0.15)
    axis.grid(axis="x", **_GRID)
    return figure
