"""The measurements in a folder as one page, and what got slower since another.

Reads the JSON that the other verbs left (see `all`), and writes ``report.html``, which
needs nothing beside it, ``report.md`` and ``report.json``. With ``--compare`` it names
every figure that is worse than in an older ``report.json`` beyond what noise explains.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import (
    estimate,
    features,
    instructions,
    listener_cost,
    listening,
    output,
    peers,
    pictures,
    places,
    quantization,
    robustness,
    scaling,
    startup,
    window,
)
from edge_ser import bundle
from edge_ser.errors import ConfigError
from training.page import Page

_TITLE = "edge-ser: measurements"
# Of medians without an interval; shared machines move by so much.
_NOISE = 0.15
# Beyond their intervals: caches and clocks move whole runs.
_MARGIN = 0.05

_Report = dict[str, Any]
_Picture = tuple[Callable[[_Report], Any], str]
_PARTS: dict[str, tuple[str, Callable[[_Report], str], tuple[_Picture, ...]]] = {
    "quantization": (
        "What quantization costs and gains",
        quantization.markdown,
        (
            (
                lambda part: pictures.accuracy_against(part, "size"),
                "UA on speakers that no training heard, against the size of the model; "
                "bars: 95 % intervals over speakers",
            ),
            (
                lambda part: pictures.accuracy_against(part, "latency"),
                "UA against the time of one inference, one thread",
            ),
            (pictures.recall_by_class, "Recall of each class, by variant"),
        ),
    ),
    "robustness": (
        "What noise, rooms and telephones do",
        robustness.markdown,
        ((pictures.robustness, "Change of UA, and answers that stay, by change"),),
    ),
    "places": (
        "Getting used to a room",
        places.markdown,
        (
            (
                pictures.places,
                "UA on speakers that no training heard, each clip alone and after "
                "others in the same place; bars: 95 % intervals over speakers",
            ),
        ),
    ),
    "corpora": (
        "What another corpus and another language do",
        lambda part: (
            "The network and the recipe of `standard`: each fold learnt "
            f"from three corpora and answers the fourth.\n\n{robustness.markdown(part)}"
        ),
        ((pictures.robustness, "Change of UA, and answers that stay, by change"),),
    ),
    "peers": (
        "Other recognisers at the same work",
        peers.markdown,
        ((pictures.peers, "What a second of audio costs, two decisions a second"),),
    ),
    "window": ("One decision, by interpreter and threads", window.markdown, ()),
    "listening": ("What the listener announces", listening.markdown, ()),
    "scaling": (
        "How the cost grows",
        scaling.markdown,
        (
            (
                pictures.scaling,
                "Processor time a second of audio, against window and step of the "
                "listener, streams in one process, and length; and memory",
            ),
        ),
    ),
    "features": (
        "Features beside other libraries",
        features.markdown,
        ((pictures.features, "Time of MFCC as a multiple of the bare FFT"),),
    ),
    "startup": ("From start to first decision", startup.markdown, ()),
    "listener-cost": ("What listening costs", listener_cost.markdown, ()),
    "instructions": ("Instructions of a decision", instructions.markdown, ()),
    "estimate": (
        "Boards that are not here",
        estimate.markdown,
        ((pictures.boards, "Rooflines: estimates from published peak rates"),),
    ),
}

_WITHOUT_TIMES = ("robustness", "places", "corpora", "listening")
"""Parts that other work on the machine cannot change."""
# What tells the rows of a list apart.
_ABOUT = (
    *("name", "arithmetic", "features", "interpreter", "threads", "pinned", "part"),
    *("package", "version", "window_s", "hop_s", "streams", "seconds"),
)
_RESULTS = pathlib.Path(__file__).parent / "results"
_DOCS = pathlib.Path(__file__).parents[1] / "docs"
# Of the README: file, part, and which of the part's drawings.
_README = (
    ("places.png", "places", 0),
    ("accuracy-size.png", "quantization", 0),
    ("peers.png", "peers", 0),
    ("robustness.png", "robustness", 0),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("folder", type=pathlib.Path, metavar="DIR")
    parser.add_argument(
        "--compare", type=pathlib.Path, metavar="OLD.json", help="an older report.json"
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="copy the report to benchmarks/results and its plots to docs",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the report; 1 if something is worse than in the older one."""
    old = None if arguments.compare is None else read(arguments.compare)
    _score_anew(arguments.folder / "peers.json")
    page = build(arguments.folder)
    print(page)
    if arguments.publish:
        _publish(page)
    if old is None:
        return 0
    now = read(page.with_suffix(".json"))
    if next(_shared(old, now, ()), None) is None:
        raise ConfigError(
            f"{arguments.compare}: has no figure in common with {arguments.folder}; "
            "give the report.json of an older report"
        )
    worse = list(slower(old, now))
    for line in (*unlike(old, now), *worse):
        print(line)
    if not worse:
        print(f"nothing is worse than in {arguments.compare}")
    return 1 if worse else 0


def _score_anew(file: pathlib.Path) -> None:
    """Rows of the zoo that came after the measurement give their UA, too."""
    if file.exists():
        part = _sound(file, peers.scored, read(file))
        file.write_text(json.dumps(part, indent=1) + "\n")


def read(path: pathlib.Path) -> _Report:
    """A report, or a part of one.

    Raises:
        ConfigError: it cannot be read, or is nothing of the kind.
    """
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a report: {error}") from error
    if not isinstance(report, dict):
        raise ConfigError(f"{path}: not a report")
    return report


def build(folder: pathlib.Path) -> pathlib.Path:
    """Write the folder's report; returns the page's path.

    Raises:
        ConfigError: no part is there, or one is damaged.
    """
    parts = {
        name: read(folder / f"{name}.json")
        for name in _PARTS
        if (folder / f"{name}.json").exists()
    }
    if not parts:
        raise ConfigError(f"{folder}: holds no measurement; valid: {', '.join(_PARTS)}")
    told = {name: _told(folder, name, part) for name, part in parts.items()}
    page = Page(_TITLE)
    texts = []
    if in_short(parts):
        texts.append(f"## In short\n\n{in_short(parts)}\n")
        page.text(texts[0])
    for name, (text, drawn) in told.items():
        texts.append(text)
        page.text(text)
        for picture, (_, caption) in zip(drawn, _PARTS[name][2], strict=True):
            page.figure(picture, caption)
    texts.append(f"## How it was measured\n\n{conditions(parts)}\n")
    page.text(texts[-1])
    (folder / "report.md").write_text(f"# {_TITLE}\n\n" + "\n".join(texts))
    (folder / "report.json").write_text(json.dumps(parts, indent=1) + "\n")
    path = folder / "report.html"
    page.write(path)
    return path


def _told(folder: pathlib.Path, name: str, part: _Report) -> tuple[str, list[Any]]:
    """A part's words and its drawings."""
    title, markdown, drawings = _PARTS[name]
    file = folder / f"{name}.json"
    text = f"## {title}\n\n{_sound(file, markdown, part)}\n"
    return text, [_sound(file, draw, part) for draw, _ in drawings]


def _sound(file: pathlib.Path, use: Callable[[_Report], Any], part: _Report) -> Any:
    """What is made of a part.

    Raises:
        ConfigError: it lacks what is needed.
    """
    try:
        return use(part)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{file}: damaged, or made by another version ({error!r}); measure it "
            f"anew: python -m benchmarks all --out {file.parent} --again {file.stem}"
        ) from error


def _shipping(part: _Report) -> tuple[str, _Report]:
    """The variant that ships and its figures; the last, if that is not among them."""
    variants: dict[str, _Report] = part["variants"]
    shipped = bundle.read().card.quantization
    name = shipped if shipped in variants else list(variants)[-1]
    return name, variants[name]


def in_short(parts: _Report) -> str:
    """The figures that a choice begins with, of the variant that ships."""
    lines = []
    if "quantization" in parts:
        part = parts["quantization"]
        name, row = _shipping(part)
        lines.append(
            f"{name}: UA {output.interval(row['ua'])} on {part['clips']} clips of "
            f"speakers that no training heard; {row['model_bytes'] / 1000:.0f} kB"
        )
        if name != part["reference"]:
            change = output.interval(row["ua_change"], "+")
            lines.append(
                f"Against {part['reference']}: {change} "
                f"points of UA, {100 * row['agreement']:.1f} % of answers the same"
            )
    if "window" in parts:
        first = parts["window"]["runs"][0]
        cost_ms = first["timings"]["decision"]["cpu_ms"] / first["hop_s"]
        lines.append(
            f"{cost_ms:.2f} ms of one core a second of audio with "
            f"{first['interpreter']}; {first['peak_rss_mib']:.0f} MiB; first decision "
            f"{first['first_decision']['p50_ms']:.0f} ms after the start"
        )
    for row in parts.get("peers", {}).get("ratios", []):
        verdict = "kept" if row["passed"] else "missed"
        lines.append(
            f"{row['ours']} costs {row['times']:#.4g} times less than {row['rival']} "
            f"with {row['features']} features (goal: {row['at_least']:g}, {verdict})"
        )
    if "robustness" in parts:
        name, row = _shipping(parts["robustness"])
        lines.append(
            f"{name} keeps {row['passed']} of {row['judged']} thresholds of robustness"
        )
    if "listening" in parts:
        noise = parts["listening"]["noise"]
        lines.append(
            f"{noise['events']} announcements in {noise['hours']:.1f} h of noise "
            "without speech"
        )
    timed = {
        name: part
        for name, part in parts.items()
        if "machine" in part and name not in _WITHOUT_TIMES
    }
    slowed = [
        name
        for name, part in timed.items()
        if part["machine"]["slowed"] or part.get("machine_after", {}).get("slowed")
    ]
    if slowed:
        lines.append(
            "The firmware held the clock back (heat, or a weak power supply): times "
            f"are longer than they need be in {', '.join(slowed)}"
        )
    busiest = max(
        (part["machine"] for part in timed.values()),
        key=lambda machine: machine["load"] / machine["cores"],
        default=None,
    )
    # The benchmark itself keeps one core busy.
    if lines and busiest is not None and busiest["load"] > busiest["cores"]:
        lines.append(
            f"The machine was busy with other work (load {busiest['load']:g} on "
            f"{busiest['cores']} cores): times are longer than they need be; "
            "memory, accuracy and the ratios within one part hold"
        )
    return "\n".join(f"- {line}" for line in lines)


def conditions(parts: _Report) -> str:
    """Each part's command, and what the machine was doing before and after."""
    lines = [
        "Every part ran in processes of its own. A machine that does not tell its "
        "clock, temperature or throttling has none here.",
        "",
        "| part | seconds | load | clock, MHz | °C | held back |",
        "| --- " * 6 + "|",
    ]
    for name, part in parts.items():
        before, after = part.get("machine", {}), part.get("machine_after", {})

        def both(key: str, before: _Report = before, after: _Report = after) -> str:
            told = [each.get(key) for each in (before, after)]
            known = [_word(value) for value in told if value is not None]
            return " → ".join(known)

        spent = f"{part['seconds']:.0f}" if "seconds" in part else ""
        cells = [both(key) for key in ("load", "clock_mhz", "celsius", "slowed")]
        lines.append(f"| {name} | {spent} | " + " | ".join(cells) + " |")
    commands = [part["command"] for part in parts.values() if "command" in part]
    return "\n".join([*lines, "", "```", *commands, "```"])


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}"


def _publish(page: pathlib.Path) -> None:
    for suffix in (".html", ".md", ".json"):
        shutil.copyfile(page.with_suffix(suffix), _RESULTS / f"report{suffix}")
    parts = read(page.with_suffix(".json"))
    for file, name, number in _README:
        if name in parts:
            draw, _ = _PARTS[name][2][number]
            draw(parts[name]).savefig(_DOCS / file, dpi=110, metadata={"Software": ""})
    if "window" in parts:
        print("of the README:")
        print("\n".join(window.rows(parts["window"])))


def unlike(old: _Report, new: _Report) -> Iterator[str]:
    """What speaks against comparing two reports, in words."""
    for name in _PARTS:
        if (name in old) != (name in new):
            which = "old" if name in old else "new"
            yield f"not compared: {name}: only the {which} report has it"
        elif name in old:
            for key in ("board", "processor", "cores", "python", "packages"):
                before, after = (
                    each[name].get("machine", {}).get(key) for each in (old, new)
                )
                if before != after:
                    yield f"other {key}: {name}: {before} -> {after}"
            before, after = (each[name].get("command") for each in (old, new))
            if before != after:
                yield f"other command: {name}: {before} -> {after}"


def slower(old: _Report, new: _Report) -> Iterator[str]:
    """Every time and memory figure that grew beyond noise, in words.

    Timings with a confidence interval are worse when the intervals are apart by over
    5 %, instruction counts when they grew by that; others (medians of processes,
    memory) by over 15 %.
    """
    for path, before, after in _shared(old, new, ()):
        name = " / ".join(path)
        if isinstance(before, dict):
            if after["low_ms"] > (1 + _MARGIN) * before["high_ms"]:
                change = f"{before['p50_ms']:.3f} -> {after['p50_ms']:.3f} ms"
                yield f"slower: {name}: {change}"
            continue
        if path[-1] == "instructions":
            noise = _MARGIN
        elif (
            path[-1].endswith(("_ms", "_mib", "_bytes"))
            or path[-1].startswith("ms_")
            or "ms" in path[-2:]
        ):
            noise = _NOISE
        else:
            continue
        if 0 < (1 + noise) * before < after:
            yield f"grown: {name}: {before:.4g} -> {after:.4g}"


def _shared(old: Any, new: Any, path: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Pairs of figures at the same place: timings as a whole, numbers alone."""
    if isinstance(old, dict) and isinstance(new, dict):
        if {"low_ms", "high_ms"} <= set(old) & set(new):
            yield path, old, new
            return
        for key in old:
            if key in new and not key.startswith("machine"):
                yield from _shared(old[key], new[key], (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        before, after = _named(old), _named(new)
        for name in sorted(before.keys() & after.keys()):
            yield from _shared(before[name], after[name], (*path, name))
    elif _is_number(old) and _is_number(new):
        yield path, old, new


def _named(rows: list[Any]) -> dict[str, Any]:
    """Rows by what they are about; by their number, if they do not say."""
    found = {}
    for number, row in enumerate(rows):
        keys = [row[k] for k in _ABOUT if k in row] if isinstance(row, dict) else []
        found[" ".join(map(str, keys)) or str(number)] = row
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
