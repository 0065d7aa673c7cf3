"""Every variant of conversion made and scored, over the folds of an evaluation.

What is there is not made again, so a measurement that was ended goes on where it was.
"""

from __future__ import annotations

import functools
import gzip
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from conversion import bundles, flatbuffer
from conversion.variants import ALL, Variant
from edge_ser import bundle
from edge_ser.errors import EdgeSerError
from training import evaluate, ledger, protocol, report, runs, stages, variants_results
from training.config import Config
from training.errors import ProtocolError, RunError
from training.report import Rows
from training.variants_results import FILE, RESULTS

_MADE_FROM = "model.sha256"
_ORDER = [report.REFERENCE, *(variant.name for variant in ALL)]


def measure(
    fold_runs: Sequence[runs.Run],
    wanted: Sequence[Variant],
    out: pathlib.Path,
    *,
    data: pathlib.Path | None = None,
    cache: pathlib.Path,
    results: pathlib.Path = RESULTS,
    ledger_file: pathlib.Path = report.RESULTS / "ledger.csv",
    tell: Callable[[str], None] = print,
) -> str:
    """Convert and score every variant over all folds, and publish what it costs.

    What is there already is not made again. A variant that cannot be made is told, with
    the reason, and the others go on.

    Args:
        fold_runs: of one evaluation and seed.
        out: bundles and predictions, a folder a fold; not for publication.
        results: has a folder a configuration, and the page beside it.
        ledger_file: gets a line before any figure is seen, if something was scored.

    Returns:
        The configuration's table, as Markdown.

    Raises:
        ProtocolError: different configurations, folds that are missing (once those
            there are scored), evidence of another configuration of the same name.
        RunError: `out` holds what was made of another training.
    """
    config, seeds = fold_runs[0].config, sorted({run.seed for run in fold_runs})
    if any(run.config != config for run in fold_runs) or len(seeds) > 1:
        raise ProtocolError("the folds are of different configurations or seeds")
    evaluate.check_published(config, results)
    clips = None
    if protocol.needs_clips(config.protocol):
        clips = stages.usable_clips(config, data or fold_runs[0].data)
    tested = protocol.load(config.protocol, clips).test_speakers
    load = functools.cache(lambda: stages.run_features(fold_runs[0], data, cache))
    rows: Rows = []
    not_made: dict[str, str] = {}
    for run in fold_runs:
        tell(f"fold {run.fold}")
        of_fold, failed = _fold(
            run, wanted, out / f"fold-{run.fold}", load, data or run.data, cache, tell
        )
        rows += of_fold
        for name, reason in failed.items():
            not_made.setdefault(name, reason)
    folds = [run.fold for run in fold_runs if run.fold is not None]
    missing = sorted(set(tested) - set(folds))
    if missing:
        raise ProtocolError(
            f"folds {', '.join(map(str, missing))} are missing; figures are told for "
            "all together"
        )
    # What was scored at another time, too, if it was in every fold.
    groups = report.by_variant(rows)
    of_folds = {name: {r["fold"] for r in of} for name, of in groups.items()}
    names = [name for name, scored in of_folds.items() if len(scored) == len(folds)]
    rows = [row for row in rows if row["variant"] in names]
    names.remove(report.REFERENCE)
    files = {name: _files(name, folds, out) for name in _ORDER if name in names}
    told = {"files": files, "not_made": not_made}
    _publish(config, rows, told, folds, seeds, results, ledger_file)
    return variants_results.markdown([variants_results.load(results / config.name)])


def _fold(
    run: runs.Run,
    wanted: Sequence[Variant],
    out: pathlib.Path,
    load: Callable[[], Any],
    data: pathlib.Path,
    cache: pathlib.Path,
    tell: Callable[[str], None],
) -> tuple[Rows, dict[str, str]]:
    """Predictions of a fold, and why variants are not among them."""
    _claim(run, out)
    scores = out / "predictions.csv"
    rows: list[dict[str, Any]] = []
    if scores.exists():
        rows += report.read_predictions(scores)[1]
    scored = {row["variant"] for row in rows}
    missing = [v.name for v in wanted if v.name not in scored]
    if not missing:
        return rows, {}
    features = load()
    paths = {name: out / f"{name}.tflite" for name in missing}
    to_make = [name for name, path in paths.items() if not path.exists()]
    failed = {}
    if to_make:
        outcomes = stages.convert_variants(
            run, features, data, cache, out, to_make, tell
        )
        failed = {o.variant: o.error for o in outcomes if o.error}
    fresh: list[dict[str, Any]] = []
    if not rows:
        fresh += evaluate.score_fold(run, features, {})
    for name in (name for name in missing if name not in failed):
        tell(f"scoring {name}")
        try:
            fresh += evaluate.bundle_rows(run, features, name, paths[name])
        except EdgeSerError as error:
            failed[name] = str(error)
    if fresh:
        rows = sorted([*rows, *fresh], key=lambda row: _ORDER.index(row["variant"]))
        report.write_predictions(scores, rows, run.config.labels)
        rows = report.read_predictions(scores)[1]
    # A reason is published; where it happened is nobody's concern.
    return rows, {k: v.replace(f"{out}/", "") for k, v in failed.items()}


def _claim(run: runs.Run, out: pathlib.Path) -> None:
    """What a folder holds is taken as it is, so it must be of the same training."""
    digest = bundles.digest(run.folder / "model.keras")
    file = out / _MADE_FROM
    if not file.exists():
        runs.write(file, digest)
    if file.read_text() != digest:
        raise RunError(
            f"{out} was made of another training than {run.folder}; choose another "
            "--out"
        )


def _files(
    name: str, folds: Sequence[int], out: pathlib.Path
) -> dict[str, float | int | None]:
    """Sizes of a variant: the mean over the folds' files."""
    found = []
    for fold in folds:
        model = bundle.read(out / f"fold-{fold}" / f"{name}.tflite").model
        graph = flatbuffer.read(model)
        packed = len(gzip.compress(model, 9, mtime=0))
        zeros = flatbuffer.zero_fraction(graph)
        found.append([len(model), packed, zeros, graph.macs])
    size, packed_size, zero_fraction, macs = np.mean(found, axis=0)
    return {
        "model_bytes": round(size),
        "compressed_bytes": round(packed_size),
        "zero_fraction": round(float(zero_fraction), 4),
        # A loop hides what it computes.
        "macs": None if graph.has_loops else round(macs),
    }


def _publish(
    config: Config,
    rows: Rows,
    told: dict[str, Any],
    folds: Sequence[int],
    seeds: Sequence[int],
    results: pathlib.Path,
    ledger_file: pathlib.Path,
) -> None:
    """Save evidence and page; a line of the ledger comes before any figure is seen."""
    folder = results / config.name
    saved = folder / "predictions.csv"
    if not saved.exists() or report.read_predictions(saved)[1] != rows:
        table = report.figures_table(rows, config.protocol)
        results.mkdir(parents=True, exist_ok=True)
        ledger.append(
            ledger_file,
            f"{config.name} {config.digest}",
            config.protocol,
            folds,
            seeds,
            table[-1],
            note=f"conversion measure of {', '.join(told['files'])}",
        )
        with evaluate.evidence(config, rows, table, results) as partial:
            (partial / FILE).write_text(json.dumps(told, indent=1) + "\n")
    runs.write(results.with_suffix(".md"), variants_results.page(results))
