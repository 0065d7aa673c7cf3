"""The training stage's command line: ``python -m training VERB``."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_ser.errors import ConfigError, EdgeSerError
from training import confidence, report
from training import config as configs
from training.errors import CorpusError, RunError

if TYPE_CHECKING:
    from training.dataset import FeatureSet

_STANDARD = pathlib.Path(__file__).parent / "configs" / "standard.toml"
_ABLATION = pathlib.Path(__file__).parent / "ablation.toml"


def _train(args: argparse.Namespace) -> int:
    from training import stages

    config = configs.load(args.config)
    features = stages.load_features(
        config, args.data, args.out.parent / "cache", skip_bad=args.skip_bad
    )
    run = stages.train_run(
        config,
        features,
        args.data,
        args.out,
        seed=args.seed,
        fold=args.fold,
        validation_speakers=args.validation_speakers,
    )
    print(f"{run.folder}: trained on {len(run.clips)} clips, seed {run.seed}")
    return 0


def _tune(args: argparse.Namespace) -> int:
    from training import stages, tune

    config = configs.load(args.config)
    space = tune.load_space(args.space)
    for dimension in space:  # mistakes show before hours of work
        for value in dimension.ends:
            configs.with_values(config, {dimension.key: value})

    def load(chosen: configs.Config) -> FeatureSet:
        cache = args.out / "cache"
        return stages.load_features(chosen, args.data, cache, skip_bad=args.skip_bad)

    print(
        tune.tune(
            config,
            space,
            load,
            args.data,
            args.out,
            method=args.method,
            trials=args.trials,
            validation_speakers=args.validation_speakers,
            fold=args.fold,
            seed=args.seed,
        )
    )
    print(f"best config: {args.out / 'best.json'}")
    return 0


def _ablate(args: argparse.Namespace) -> int:
    from training import ablation

    ablation.ablate(
        configs.load(args.config),
        ablation.load_variants(args.variants),
        args.data,
        args.out,
        seeds=args.seeds,
        base_seeds=args.base_seeds,
        fold=args.fold,
        validation_speakers=args.validation_speakers,
        skip_bad=args.skip_bad,
        jobs=args.jobs,
    )
    print((args.out / "ablation.md").read_text())
    return 0


def _own(args: argparse.Namespace) -> int:
    from training import own

    config, clips = own.configuration(
        args.folder,
        args.corpora,
        dict(args.label),
        epochs=args.epochs,
        start_from=args.start_from,
        base=args.config,
    )
    print(f"{len(clips)} clips, labels {', '.join(config.labels)}")
    if not all(clip.speaker_known for clip in clips):
        print(own.UNKNOWN_SPEAKERS, file=sys.stderr)
    print(
        own.make(
            args.folder,
            args.out,
            config,
            seed=args.seed,
            skip_bad=args.skip_bad,
        )
    )
    return 0


def _checkpoint(args: argparse.Namespace) -> int:
    from training import runs

    run = runs.load(args.run)
    copy = runs.without_data(run, args.out)
    print(f"{copy}: fine-tune from it with --start-from {copy}")
    return 0


def _card(args: argparse.Namespace) -> int:
    from training import stages

    for file in args.bundles:
        card = stages.renew_card(file)
        print(f"{file}: {len(card.measured)} figures, temperature {card.temperature}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from training import evaluate, leak

    config = configs.load(args.config)
    if args.honest:
        if args.protocol != leak.RANDOM_FOLDS:
            raise ConfigError(f"--honest is for --protocol {leak.RANDOM_FOLDS}")
        config = dataclasses.replace(config, protocol=args.honest)
    if args.protocol == leak.RANDOM_FOLDS:
        if len(args.seeds) > 1 or args.folds or args.add:
            raise ConfigError(
                f"{leak.RANDOM_FOLDS} takes one seed, and all folds, anew"
            )
        told = leak.compare(
            config,
            args.data,
            args.out,
            seed=args.seeds[0],
            results=args.results,
            skip_bad=args.skip_bad,
        )
        print(told)
        return 0
    if args.protocol and args.protocol != config.protocol:
        config = evaluate.under_protocol(config, args.protocol)
    evaluate.evaluate(
        config,
        args.data,
        args.out,
        seeds=args.seeds,
        folds=args.folds,
        jobs=args.jobs,
        results=args.results,
        add=args.add,
        skip_bad=args.skip_bad,
    )
    if not args.folds:
        _print_report(args.results / config.name)
    return 0


def _report(args: argparse.Namespace) -> int:
    from training import ablation_results, variants_results

    folders = args.results or sorted(
        path.parent
        for name in ("predictions.csv", ablation_results.FILE)
        for path in report.RESULTS.glob(f"*/{name}")
    )
    if args.html:
        from training import comparison

        comparison.write(folders, args.html)
        print(f"{args.html}: one page, needs nothing else")
    for folder in folders:
        if (folder / ablation_results.FILE).exists():
            print(ablation_results.markdown(ablation_results.read(folder)), end="\n\n")
        elif any(folder.glob(f"*/{variants_results.FILE}")):
            print(variants_results.page(folder), end="")
        elif (folder / "predictions.csv").exists() or not args.html:
            _print_report(folder, args.plots, args.folds)
    if not args.results and variants_results.RESULTS.exists():
        print(variants_results.page())
    return 0


def _corpora(args: argparse.Namespace) -> int:
    from training import survey

    found = survey.survey(args.folder, args.corpora, dict(args.label))
    for one in found:
        print(survey.markdown(one), end="\n\n")
    for warning in survey.overlaps(found):
        print(f"**{warning}**", end="\n\n")
    if args.draw:
        from training import drawings

        drawings.counts({f.corpus: f.counts for f in found}, args.draw / "counts.png")
        clips = {clip.name: clip for one in found for clip in one.clips}
        firsts = [
            {h.clip.emotion: h.clip.name for h in reversed(one.hearings)}
            for one in found
        ]
        chosen = args.clips or [n for f in firsts for n in list(f.values())[:2]]
        for name in chosen:
            if name not in clips:
                raise CorpusError(f"no clip {name!r} below {args.folder}")
            clip = clips[name]
            file = f"{clip.corpus}-{name}".replace("/", "_")
            drawings.clip(clip, args.draw / f"{file}.png")
        print(f"drawn into {args.draw}")
    return 0


def _zoo(args: argparse.Namespace) -> int:
    if args.plots is None:  # a try does not touch the published pictures
        published = args.results == report.RESULTS / "zoo"
        args.plots = pathlib.Path("docs") if published else args.results.parent
    if args.rows and not args.data:
        raise RunError("rows are made from the corpora: give their folder as --data")
    if args.data:
        from training import zoo_run

        names = args.rows or zoo_run.ROWS
        zoo_run.check(names)
        for name in names:
            zoo_run.run(
                [name],
                args.data,
                args.out,
                protocol_names=args.protocols,
                seeds=args.seeds,
                jobs=args.jobs,
                results=args.results,
                scale_epochs=args.scale_epochs,
            )
            _write_zoo(args.results, args.plots)
    print(_write_zoo(args.results, args.plots))
    return 0


def _write_zoo(results: pathlib.Path, folder: pathlib.Path) -> str:
    """The zoo's page and plots out of the rows there are; returns the page."""
    from training import plots, zoo_results

    rows = zoo_results.load(results)
    if not rows:
        raise RunError(f"{results}: no row yet; give --data to make some")
    page = zoo_results.markdown(rows)
    results.with_suffix(".md").write_text(page)
    for protocol in sorted({row["protocol"] for row in rows}):
        of_protocol = [row for row in rows if row["protocol"] == protocol]
        title = f"{protocol}, unseen speakers"
        if any(row.get("macs") for row in of_protocol):  # else there is no point
            plots.zoo(of_protocol, title, folder / f"zoo-{protocol}.png")
    return page


def _print_report(
    folder: pathlib.Path,
    plots_folder: pathlib.Path | None = None,
    folds: Sequence[int] | None = None,
) -> None:
    from training import comparison

    labels, rows = report.read_predictions(folder / "predictions.csv")
    if folds:
        rows = [row for row in rows if int(row["fold"]) in folds]
        if not rows:
            raise RunError(f"{folder}: no prediction of folds {folds}")
        print(f"Folds {' '.join(map(str, folds))} alone: ", end="")
    protocol = report.protocol_of(folder)
    table = report.figures_table(rows, protocol)
    print(report.markdown(folder.name, table), end="\n\n")
    for caveat in report.caveats(rows):
        print(caveat, end="\n\n")
    groups = report.by_variant(rows)
    print(confidence.markdown(confidence.table(groups, labels)), end="\n\n")
    shown = report.shown_variant(groups)
    print(f"{shown}, percent of each class:\n")
    print(report.confusion_markdown(groups[shown], labels), end="\n\n")
    print(comparison.groups_markdown(groups[shown], report.read_clips(folder)))
    if plots_folder:
        from training import plots

        plots.confusion_matrix(
            report.confusion_counts(groups[shown], labels),
            labels,
            f"{folder.name}, {shown}, unseen speakers of {protocol}: percent",
            plots_folder / f"confusion-{folder.name}.png",
        )


def _whole(text: str, least: int, most: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r}; valid: {least} to {most}")
    return value


def _count(text: str) -> int:
    return _whole(text, 1, 1_000_000)


def _seed(text: str) -> int:
    return _whole(text, 0, (1 << 31) - 1)


def _label(text: str) -> tuple[str, str]:
    own, _, word = text.partition("=")
    if not own or not word:
        raise argparse.ArgumentTypeError(f"{text!r}; valid: OWN=WORD")
    return own, word


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train emotion models and measure them on unseen speakers.",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, function: object, text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function)
        return sub

    def labels(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--label",
            type=_label,
            action="append",
            default=[],
            metavar="OWN=WORD",
            help="a word for a label of your own recordings; may be repeated",
        )

    def common(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--config", type=pathlib.Path, required=True)
        sub.add_argument(
            "--data", type=pathlib.Path, required=True, help="folder of the corpora"
        )
        sub.add_argument(
            "--out", type=pathlib.Path, required=True, help="run folder to write"
        )
        sub.add_argument(
            "--skip-bad", action="store_true", help="leave unreadable clips out"
        )

    sub = verb("corpora", _corpora, "what is in a folder, and what is wrong with it")
    sub.add_argument("folder", type=pathlib.Path)
    sub.add_argument(
        "--corpora",
        nargs="+",
        default=[],
        metavar="NAME",
        help="these alone; folders:PATH, table:FILE.csv and audformat:PATH too",
    )
    labels(sub)
    sub.add_argument("--draw", type=pathlib.Path, help="draw pictures into a folder")
    sub.add_argument("--clips", nargs="+", metavar="CLIP", help="clips to draw")

    sub = verb("own", _own, "from a folder of your own recordings to a bundle")
    sub.add_argument("folder", type=pathlib.Path)
    sub.add_argument("--out", type=pathlib.Path, required=True)
    sub.add_argument(
        "--corpora",
        nargs="+",
        default=["folders"],
        metavar="LAYOUT",
        help="folders (label/clip or label/speaker/clip, the default), "
        "table:FILE.csv, audformat, or a known corpus",
    )
    labels(sub)
    sub.add_argument(
        "--start-from", type=pathlib.Path, help="a run folder to fine-tune from"
    )
    sub.add_argument("--epochs", type=_count)
    sub.add_argument("--seed", type=_seed, default=0)
    sub.add_argument("--config", type=pathlib.Path, default=_STANDARD)
    sub.add_argument("--skip-bad", action="store_true", help="leave bad clips out")

    sub = verb("train", _train, "train one model")
    common(sub)
    sub.add_argument("--seed", type=_seed, default=0)
    sub.add_argument(
        "--fold", type=int, help="leave out this fold's test speakers (default: none)"
    )
    sub.add_argument(
        "--validation-speakers",
        nargs="*",
        default=[],
        metavar="CORPUS/SPEAKER",
        help="keep these out of training and watch them",
    )

    sub = verb("tune", _tune, "search hyper-parameters on validation speakers")
    common(sub)
    sub.add_argument(
        "--space", type=pathlib.Path, required=True, help="TOML file with [search]"
    )
    sub.add_argument("--method", choices=("grid", "random", "optuna"), default="optuna")
    sub.add_argument("--trials", type=_count, default=20, help="of the study in all")
    sub.add_argument("--seed", type=_seed, default=0)
    sub.add_argument("--fold", type=int, help="leave out this fold's test speakers")
    sub.add_argument(
        "--validation-speakers", nargs="+", required=True, metavar="CORPUS/SPEAKER"
    )

    sub = verb(
        "checkpoint", _checkpoint, "a run's network to fine-tune from, without its data"
    )
    sub.add_argument("run", type=pathlib.Path)
    sub.add_argument("--out", type=pathlib.Path, required=True)

    sub = verb(
        "card", _card, "put newly published figures into the card of a bundled model"
    )
    sub.add_argument("bundles", type=pathlib.Path, nargs="+", metavar="BUNDLE")

    sub = verb("ablate", _ablate, "what each technique gives on validation speakers")
    common(sub)
    sub.add_argument("--variants", type=pathlib.Path, default=_ABLATION)
    sub.add_argument("--seeds", type=_seed, nargs="+", default=[0])
    sub.add_argument(
        "--base-seeds",
        type=_seed,
        nargs="+",
        default=[0, 1, 2, 3, 4],
        help="of the config itself; several tell what chance alone does (default: 0-4)",
    )
    sub.add_argument("--fold", type=int, help="leave out this fold's test speakers")
    sub.add_argument(
        "--validation-speakers", nargs="+", required=True, metavar="CORPUS/SPEAKER"
    )
    sub.add_argument(
        "--jobs",
        type=_count,
        default=1,
        help="trainings at the same time, a thread each",
    )

    sub = verb("evaluate", _evaluate, "train and score the folds of the protocol")
    common(sub)
    sub.add_argument(
        "--protocol",
        help="other folds than the config's: emodb4, emodb4+emovo+nemo (a speaker of "
        "each left out at once), ravdess-sentences, leave-one-corpus-out, one-corpus; "
        "random-10fold-best-epoch shows what a leak is worth",
    )
    sub.add_argument(
        "--honest",
        metavar="PROTOCOL",
        help="with random-10fold-best-epoch: the folds to compare with",
    )
    sub.add_argument("--seeds", type=_seed, nargs="+", default=[0, 1, 2])
    sub.add_argument(
        "--add",
        action="store_true",
        help="keep the published seeds, and add these (default: all is made anew)",
    )
    sub.add_argument("--folds", type=int, nargs="+", help="a part, for a trial")
    sub.add_argument("--jobs", type=_count, default=1, help="folds at the same time")
    sub.add_argument("--results", type=pathlib.Path, default=report.RESULTS)

    sub = verb("report", _report, "print published figures from saved predictions")
    sub.add_argument(
        "results", type=pathlib.Path, nargs="*", help="results or run folders"
    )
    sub.add_argument(
        "--html", type=pathlib.Path, help="one page that compares them, with pictures"
    )
    sub.add_argument("--folds", type=int, nargs="+", help="a part of the folds")
    sub.add_argument(
        "--plots", type=pathlib.Path, help="draw the confusion matrices into a folder"
    )

    sub = verb(
        "zoo",
        _zoo,
        "train and score the zoo's rows, and print the table of those there are",
    )
    sub.add_argument(
        "rows", nargs="*", help="to make, in the order given (default: all)"
    )
    sub.add_argument(
        "--data", type=pathlib.Path, help="folder of the corpora; without: only print"
    )
    sub.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("runs/zoo"), help="run folders"
    )
    sub.add_argument("--protocols", nargs="+", default=["ravdess", "emodb4"])
    sub.add_argument("--seeds", type=_seed, nargs="+", default=[0])
    sub.add_argument("--jobs", type=_count, default=1, help="folds at the same time")
    sub.add_argument("--results", type=pathlib.Path, default=report.RESULTS / "zoo")
    sub.add_argument(
        "--plots",
        type=pathlib.Path,
        help="their folder (default: docs, or beside other --results)",
    )
    sub.add_argument(
        "--scale-epochs", type=float, default=1.0, help="below 1: a try, no evidence"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a verb; returns its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        code: int = args.function(args)
        return code
    except EdgeSerError as error:
        if args.debug:
            raise
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if args.debug:
            raise
        told = str(error)
        if error.errno == errno.ENOSPC:
            place = getattr(args, "out", None) or error.filename or "the output"
            told = (
                f"the disk is full: {place} is not finished; make room, and give the "
            )
            told += "same command again"
        print(f"{parser.prog}: {told}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
