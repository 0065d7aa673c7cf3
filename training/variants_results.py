"""What each variant of conversion costs: the evidence, and the page over all of it.

A folder a configuration holds ``predictions.csv``, ``figures.json``, ``config.json``
and ``variants.json`` (what the predictions do not tell: the files' sizes, and why a
variant is not there). The page is computed from these alone.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from training import report
from training.errors import RunError

RESULTS = report.RESULTS / "variants"
FILE = "variants.json"
_INTRODUCTION = """\
# What each variant costs

The float model of each fold (*keras*) and every variant of it that conversion makes, on
the same test speakers, whom nothing had heard; each bundle run by the device runtime.
UA and its difference from the float model's, paired, in percent, with 95 % intervals
from a bootstrap over speakers. Sizes are means over the folds' files; MACs are of one
window. What each variant is: [conversion](../../docs/conversion.md). The fine-tuned
were fine-tuned anew, on one thread. The published bundles of the same name had two,
which sum in another order, and lie a few tenths of a point apart.
`standard-of-four-blocks` is the former `standard`, of another network, heard once.

`python -m conversion measure FOLDS --out DIR` makes a table; `python -m training report
training/results/variants` computes this page anew from the saved predictions.
"""


def load(folder: pathlib.Path) -> dict[str, Any]:
    """A configuration's evidence with its figures.

    Raises:
        RunError: its files are missing or damaged.
    """
    _, rows = report.read_predictions(folder / "predictions.csv")
    try:
        told = json.loads((folder / FILE).read_text())
        files, not_made = dict(told["files"]), dict(told["not_made"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder / FILE}: no table of variants: {error}") from error
    figures = report.figures_table(rows, report.protocol_of(folder))
    return {
        "name": folder.name,
        "figures": figures,
        "files": files,
        "not_made": not_made,
    }


def page(results: pathlib.Path = RESULTS) -> str:
    """The page over every configuration there is, ``standard`` first.

    Raises:
        RunError: none is there, or see `load`.
    """
    folders = sorted(path.parent for path in results.glob(f"*/{FILE}"))
    if not folders:
        raise RunError(f"{results}: no configuration was measured yet")
    folders.sort(key=lambda folder: folder.name != "standard")
    return f"{_INTRODUCTION}\n{markdown(list(map(load, folders)))}\n"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table a configuration."""
    return "\n\n".join(_section(**row) for row in rows)


def _section(
    name: str,
    figures: Sequence[dict[str, Any]],
    files: dict[str, Any],
    not_made: dict[str, str],
) -> str:
    first = figures[0]
    cells = []
    for row in figures:
        file = files.get(row["variant"])
        cells.append(
            [
                row["variant"],
                f"{file['model_bytes'] / 1000:.1f}" if file else "",
                f"{file['compressed_bytes'] / 1000:.1f}" if file else "",
                f"{file['macs'] / 1e6:.2f}" if file and file["macs"] else "",
                f"{file['zero_fraction']:.1%}" if file else "",
                report.percent(row, "ua"),
                report.loss(row),
            ]
        )
    head = ["variant", "kB", "gzip kB", "M MACs", "zeros", "UA"]
    table = report.markdown_table([*head, "UA against float, paired"], cells)
    lines = [
        f"## {name}",
        "",
        f"{first['protocol']} folds, {first['clips']} clips, {first['seeds']} seed(s)",
        "",
        table,
    ]
    if not_made:
        lines += ["", *(f"- no {key}: {why}" for key, why in not_made.items())]
    return "\n".join(lines)
