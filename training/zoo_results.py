"""The zoo's evidence: a folder a row and protocol, and the table over all of them.

A folder holds ``predictions.csv``, ``figures.json``, ``config.json`` and ``row.json``
(what the predictions do not tell: size, cost, how it was trained); ``trials/NAME`` the
trials that a network's recipe was chosen by. The table is computed from these files
alone.
"""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from edge_ser import bundle
from training import ledger, report
from training.errors import RunError

RESULTS = report.RESULTS / "zoo"
CURVE = "learning-curve.png"
OWN = ("small", "standard-alone")
"""Our own networks where they have learnt from no more than the others have."""
TABLE = report.RESULTS / "zoo.md"
_INTRODUCTION = """\
# The zoo

Every row: the same folds, whose test speakers are strangers to all that was trained.
`standard`, `nano`, `mfcc` and `open` are the bundled models, of which all but `open`
have learnt from four corpora, every other row from the tested one alone. `small` and
`standard-alone`, the network of `standard`, are ours on those equal terms.

- **UA** (unweighted average recall) and **WA** (accuracy) are in percent, with 95 %
  intervals from a bootstrap over speakers; *float* is the Keras (or scikit-learn)
  model, *int8* the file run by the device runtime.
- **MACs** are of one window. **Edge TPU** is how many operators of the int8 file one
  would run; one that it does not take, and what depends on it, are left to the
  processor.
- **recipe**: a network is trained by its paper's recipe or by ours (augmentation and
  recipe of `small`), whichever did better on four actors of RAVDESS in a trial of fold
  1; **trial UA** is what each reached there. A trial is made twice as long, at most two
  times, while the UA of the four still rises: while its median over the last quarter of
  the epochs is more than 2 points above that over the quarter before. Where twice as
  long did not end higher, the shorter one counts. The folds take the epochs of the
  trial, EMO-DB's four times as many: it has a quarter of the clips,
  so those are about as many steps. The four are tested in folds 2 and 3, so
  that these choices have heard them: `python -m training report
  training/results/zoo/ROW-ravdess --folds 1 4 5 6` leaves these folds out. The network
  of `standard-alone` was chosen by more: by actors of folds 2 and 3 in many trials, its
  views by those of folds 5 and 6 as well. A baseline's
  search tries its settings on training speakers that it holds out, in every fold anew;
  its `row.json` says what each chose.
- **training** is processor time of one core, for all folds of one seed; a fold that was
  interrupted counts as the mean of the others. **curve** shows the trial.

A cell is empty where the row has no such thing.

`python -m training zoo --data DIR` makes what is missing and writes this page; without
`--data` it computes the page anew from the saved predictions. Every scoring of test
folds is in the zoo's [ledger](zoo/ledger.csv).
"""


def publish(
    name: str,
    protocol: str,
    config: dict[str, Any],
    digest: str,
    labels: Sequence[str],
    rows: Sequence[dict[str, Any]],
    row: dict[str, Any],
    *,
    seeds: Sequence[int] = (0,),
    results: pathlib.Path = RESULTS,
) -> pathlib.Path:
    """Write a row's evidence; the ledger comes first, so no figure is without a line.

    Args:
        config: written as ``config.json``; holds ``protocol``.
        rows: predictions of all folds.
        row: written as ``row.json``.
        results: has a ledger of its own beside the folders.

    Returns:
        The folder.
    """
    results.mkdir(parents=True, exist_ok=True)
    folder = results / f"{name}-{protocol}"
    partial = results / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    report.write_predictions(partial / "predictions.csv", rows, labels)
    _, text_rows = report.read_predictions(partial / "predictions.csv")
    shown = report.figures_table(text_rows, protocol)
    folds = sorted({int(r["fold"]) for r in text_rows})
    ledger.append(
        results / "ledger.csv", f"{name} {digest}", protocol, folds, seeds, shown[-1]
    )
    row = {**row, "seeds": list(seeds)}
    figures = report.rounded(shown)
    for file, values in (("config", config), ("figures", figures), ("row", row)):
        (partial / f"{file}.json").write_text(json.dumps(values, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def trial_folder(name: str, results: pathlib.Path = RESULTS) -> pathlib.Path:
    """Where the evidence of a network's trials is."""
    return results / "trials" / name


def publish_trial(
    name: str,
    config: dict[str, Any],
    told: dict[str, Any],
    curve: pathlib.Path,
    results: pathlib.Path = RESULTS,
) -> None:
    """Write what a network's trials gave.

    Args:
        config: the one they chose, written as ``config.json``.
        told: what each reached, and the choice, written as ``trial.json``.
        curve: the picture of their learning curves.
    """
    folder = trial_folder(name, results)
    partial = folder.with_name(f".{name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for file, values in (("config", config), ("trial", told)):
        (partial / f"{file}.json").write_text(json.dumps(values, indent=1) + "\n")
    shutil.copyfile(curve, partial / CURVE)
    partial.rename(folder)


def read(
    folder: pathlib.Path, kind: str = "row"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``row.json`` (or ``trial.json``) and ``config.json`` say.

    Raises:
        RunError: they are missing or damaged.
    """
    try:
        told, config = (
            json.loads((folder / f"{name}.json").read_text())
            for name in (kind, "config")
        )
        iter(told["seeds" if kind == "row" else "trials"])  # not there, or no list
        return told, config
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder}: not a published {kind}: {error}") from error


def load(results: pathlib.Path = RESULTS) -> list[dict[str, Any]]:
    """Every published row with its figures, best float UA first within a protocol.

    The bundled models' own evidence, beside `results`, makes rows too.

    Raises:
        RunError: a folder's files are missing or damaged.
    """
    found = []
    for folder in sorted(path.parent for path in results.glob("*/row.json")):
        try:
            found.append(_with_figures(read(folder)[0], folder))
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise RunError(f"{folder}: not a published row: {error}") from error
    for row in found:
        folder = trial_folder(row["name"], results)
        if folder.exists():
            row["trial"], _ = read(folder, "trial")
    for bundled in (results.parent / name for name in bundle.SHIPPED):
        if bundled.is_dir():
            found.append(_with_figures(_bundled(bundled), bundled))
    return sorted(found, key=lambda row: (row["protocol"], -row["float"]["ua"]))


def _with_figures(row: dict[str, Any], folder: pathlib.Path) -> dict[str, Any]:
    _, predictions = report.read_predictions(folder / "predictions.csv")
    figures = report.figures_table(predictions, report.protocol_of(folder))
    variants = {of_variant["variant"]: of_variant for of_variant in figures}
    return {
        **row,
        "protocol": figures[0]["protocol"],
        "folder": folder.name,
        "float": figures[0],
        "int8": variants.get("int8"),
        "last": figures[-1],  # of a bundled model: the variant that ships
    }


def on_edge_tpu(model: bytes) -> str:
    """How much of an int8 model an Edge TPU would run, for the table."""
    from conversion import edgetpu

    placements = edgetpu.check(model)
    mapped = sum(placement.is_mapped for placement in placements)
    return f"{mapped} of {len(placements)} operators"


def _bundled(folder: pathlib.Path) -> dict[str, Any]:
    """What `row.json` would hold for a bundled model's configuration."""
    from conversion.macs import macs
    from training import config as configs
    from training import zoo

    config = configs.parse(json.loads((folder / "config.json").read_text()))
    spec = config.features
    shape = (spec.frames_per_window, spec.n_features)
    network = zoo.build(config.architecture, *shape, len(config.labels), config.model)
    model = bundle.read(folder / "fold-1.tflite").model
    return {
        "name": f"{folder.name} (resnet2d)",
        "kind": "network",
        "parameters": sum(
            weight.shape.num_elements() for weight in network.trainable_weights
        ),
        "macs": macs(model),
        "int8_bytes": len(model),
        "converts": "full int8",
        "edge_tpu": on_edge_tpu(model),
        "recipe": "its own",
        "epochs": config.recipe.epochs,
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The page over all rows, a table a protocol."""
    parts = [_INTRODUCTION]
    for protocol in sorted({row["protocol"] for row in rows}, reverse=True):
        of_protocol = [row for row in rows if row["protocol"] == protocol]
        parts.append(f"\n## {protocol}: {of_protocol[0]['float']['clips']} clips\n")
        parts.append(
            "| row | parameters | MACs | UA float | WA float | UA int8 | int8 kB "
            "| converts | Edge TPU | recipe, epochs | seeds | trial UA: paper, ours "
            "| training | curve |\n" + "| --- " * 14 + "|"
        )
        parts += [_line(row) for row in of_protocol]
        made = {row["name"] for row in of_protocol}
        recipes = (pathlib.Path(__file__).parent / "configs/zoo").glob("*.toml")
        if left := sorted({*OWN, *(file.stem for file in recipes)} - made):
            parts.append(f"\nNot trained yet: {', '.join(left)}.")
    return "\n".join(parts) + "\n"


def _line(row: dict[str, Any]) -> str:
    def number(value: float | None, unit: float = 1, digits: int = 0) -> str:
        return "" if value is None else f"{value / unit:,.{digits}f}"

    trial = row.get("trial", {})
    trials = trial.get("trials", {})
    shown = ", ".join(
        f"{100 * trials[kind]['validation_ua']:.1f}" if kind in trials else "-"
        for kind in ("paper", "ours")
    )
    epochs = f"{row['recipe']}, {row['epochs']}" if row.get("epochs") else row["recipe"]
    if trial.get("still_rising"):
        epochs += " (validation still rose)"
    curve = f"[curve](zoo/trials/{row['name']}/{CURVE})" if trial else ""
    cells = [
        row["name"],
        number(row.get("parameters")),
        number(row.get("macs"), 1e6, 1) + (" M" if row.get("macs") else ""),
        report.percent(row["float"], "ua"),
        report.percent(row["float"], "wa"),
        report.percent(row["int8"], "ua") if row["int8"] else "",
        number(row.get("int8_bytes"), 1000),
        row["converts"],
        row.get("edge_tpu", ""),
        epochs,
        str(row["float"]["seeds"]),
        shown if trials else "",
        number(row.get("training_cpu_s"), 60, 1)
        + (" min" if row.get("training_cpu_s") else ""),
        curve,
    ]
    return "| " + " | ".join(cells) + " |"
