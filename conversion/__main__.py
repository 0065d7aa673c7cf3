"""The conversion stage's command line: ``python -m conversion VERB``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
from typing import Any

from conversion import bundles, edgetpu, inspect, own, sign, variants, verify
from conversion.errors import ConversionError
from conversion.worker import alone
from edge_ser import bundle
from edge_ser.errors import EdgeSerError

_PROOF_LIMIT_S = 1800.0


def _convert(args: argparse.Namespace) -> int:
    wanted = variants.chosen(args.variants or _default_variants(args))
    job, windows, told = _job(args)
    outcomes = bundles.convert(job, wanted, args.out, windows, _tell)
    fresh = {outcome.variant: outcome.proof for outcome in outcomes}
    proofs = bundles.proofs_before(args.out, job.model, set(fresh))
    proofs += [proof for proof in fresh.values() if proof]
    proofs.sort(key=lambda proof: list(variants.BY_NAME).index(proof.variant))
    problems = [
        f"{o.variant}: {o.error or 'not kept: it breaks its promise'}"
        for o in outcomes
        if not o.path
    ]
    code = _report(proofs, problems, windows, told, args.out)
    if args.explain:
        _explain(job, windows, args.out)
    return code


def _default_variants(args: argparse.Namespace) -> list[str]:
    """Of a saved model, those that need no training."""
    if args.card is None:
        return list(variants.SHIPPED)
    return [v for v in variants.SHIPPED if not variants.BY_NAME[v].is_fine_tuned]


def _tell(line: str) -> None:
    print(line, flush=True)


def _job(args: argparse.Namespace) -> tuple[bundles.Job, Any, str]:
    """What is to be converted, and windows to prove it on."""
    if args.card is not None:
        card = own.read_card(args.card)
        if args.calibration is None:
            raise ConversionError(
                "a saved model needs --calibration: a folder of sound files like those "
                "it will hear"
            )
        windows, names = own.calibration(args.calibration, card.features)
        job = bundles.Job(args.run, card, windows, tuple(names))
        return job, windows, "calibration clips"
    if args.run.suffix in (".keras", ".h5") or (args.run / "saved_model.pb").exists():
        raise ConversionError(
            f"{args.run} is a saved model: give its labels and features by --card FILE"
        )
    from training import runs, stages

    run = runs.load(args.run)
    data = args.data or run.data
    cache = args.cache or _cache_of(run.folder)
    features = stages.run_features(run, data, cache)
    job = stages.conversion_job(run, features, data, cache)
    if run.fold is None and not job.card.measured:
        print(
            f"warning: nothing is published of {run.config.name} as it is configured: "
            "the card has no figures, and no temperature; "
            "`python -m training evaluate` finds both",
            file=sys.stderr,
        )
    windows, told = stages.proof_windows(run, features)
    return job, windows, told


def _verify(args: argparse.Namespace) -> int:
    made = list(bundles.made_before(args.bundles))
    _check_origins(args, made)
    if args.score:
        _check_scorable(args.run)
    job, windows, told = _job(args)
    proofs, problems = [], []
    for each in made:
        try:
            each.check()
            card = dataclasses.replace(job.card, quantization=each.variant)
            work = (verify.prove, each.path, card, each.saved, windows, job.sparsity)
            proofs.append(alone(each.variant, *work, limit_s=_PROOF_LIMIT_S))
        except EdgeSerError as error:
            problems.append(f"{each.variant}: {error}")
    if args.score:
        # A card that is not the run's would have other names for the answers.
        honest = {proof.variant for proof in proofs if not proof.card_faults}
        paths = {each.variant: each.path for each in made if each.variant in honest}
        scores = _score(args, paths) if paths else {}
        proofs = [
            dataclasses.replace(proof, score=scores.get(proof.variant))
            for proof in proofs
        ]
    return _report(proofs, problems, windows, told, args.bundles)


def _report(
    proofs: list[verify.Proof],
    problems: list[str],
    windows: Any,
    told: str,
    out: pathlib.Path,
) -> int:
    """Print and save one table; 1 if a promise is broken."""
    problems = problems + verify.all_problems(proofs)
    for problem in problems:
        print(f"python -m conversion: {problem}", file=sys.stderr)
    if not proofs:
        return 1
    text = f"{len(windows)} windows of {told}\n\n{verify.as_markdown(proofs)}\n"
    text += "".join(f"\n- {problem}" for problem in problems)
    print(f"\n{text}\n")
    values = [dataclasses.asdict(proof) for proof in proofs]
    bundles.write_text(out / bundles.PROOFS, json.dumps(values, indent=1) + "\n")
    bundles.write_text(out / "proof.md", f"{text}\n")
    return 1 if problems else 0


def _explain(job: bundles.Job, windows: Any, out: pathlib.Path) -> None:
    from conversion import explain

    layers = alone("explaining", explain.explain, job.model, job.calibration, windows)
    values = [dataclasses.asdict(layer) for layer in layers]
    bundles.write_text(out / "explain.json", json.dumps(values, indent=1) + "\n")
    bundles.write_text(out / "explain.md", explain.as_markdown(layers) + "\n")
    print(f"error of each layer of int8 against float\n\n{explain.as_markdown(layers)}")


def _check_origins(args: argparse.Namespace, made: list[bundles.Made]) -> None:
    """Refuse before anything is proven.

    Bundles of another run keep no promise of this one, and may have learned from its
    test speakers.

    Raises:
        ConversionError: a bundle of another model.
    """
    model = args.run
    if args.card is None:
        from training import runs

        model = runs.load(args.run).folder / "model.keras"
    own = bundles.digest(model)
    for each in made:
        if each.origin.model_sha256 != own:
            raise ConversionError(
                f"{each.path} was not made of {args.run}; valid: its own bundles"
            )


def _check_scorable(folder: pathlib.Path) -> None:
    """Refuse before anything is proven.

    Raises:
        ConversionError: the run left no fold out.
    """
    from training import runs

    if runs.load(folder).fold is None:
        raise ConversionError(f"{folder} left no fold out; there is nobody to test")


def _score(
    args: argparse.Namespace, paths: dict[str, pathlib.Path]
) -> dict[str, verify.Score]:
    """UA on the fold's test speakers: a use of the test set, so it is written down."""
    from training import evaluate, ledger, report, runs, stages

    run = runs.load(args.run)
    assert run.fold is not None
    cache = args.cache or _cache_of(run.folder)
    features = stages.run_features(run, args.data, cache)
    rows = evaluate.score_fold(run, features, paths)
    text = [{key: str(value) for key, value in row.items()} for row in rows]
    table = report.figures_table(text, run.config.protocol)
    args.results.mkdir(parents=True, exist_ok=True)
    # A line in the ledger before any figure is seen.
    ledger.append(
        args.results / "ledger.csv",
        f"{run.config.name} {run.config.digest}",
        run.config.protocol,
        [run.fold],
        [run.seed],
        *table,
        note="conversion verify",
    )
    speakers = len({(row["corpus"], row["speaker"]) for row in rows})

    def interval(row: dict[str, Any], name: str) -> Any:
        return tuple(row[f"{name}_95"]) if speakers > 1 else None

    figures = ("ua", "wa", "ua_minus_keras")
    return {
        row["variant"]: verify.Score(
            run.config.protocol,
            run.fold,
            row["clips"],
            speakers,
            **{name: row[name] for name in figures},
            **{f"{name}_95": interval(row, name) for name in figures},
        )
        for row in table
        if row["variant"] in paths
    }


def _measure(args: argparse.Namespace) -> int:
    """Every variant over all folds, going on from what is there."""
    from training import runs, variants_run

    wanted = variants.chosen(args.variants or ["all"])
    folders = sorted(args.folds.glob("fold-*"))
    if not folders:
        raise ConversionError(f"{args.folds} holds no run folder fold-N")
    told = variants_run.measure(
        [runs.load(folder) for folder in folders],
        wanted,
        args.out,
        data=args.data,
        cache=args.cache or _cache_of(args.folds),
        results=args.results / "variants",
        ledger_file=args.ledger or args.results / "ledger.csv",
        tell=_tell,
    )
    print(f"\n{told}")
    return 0


def _cache_of(runs: pathlib.Path) -> pathlib.Path:
    """The features that its evaluation, or its row of the zoo, has computed."""
    near = [runs, *runs.resolve().parents[:3]]
    found = [each / "cache" for each in near if (each / "cache").is_dir()]
    return found[0] if found else near[1] / "cache"


def _inspect(args: argparse.Namespace) -> int:
    found = inspect.inspect(args.bundle)
    print(json.dumps(found) if args.json else inspect.as_text(found))
    return 0


def _edgetpu(args: argparse.Namespace) -> int:
    placements = edgetpu.check(bundle.read(args.bundle).model)
    print(edgetpu.as_json(placements) if args.json else edgetpu.as_text(placements))
    if args.out is not None:
        told = edgetpu.compile_bundle(args.bundle, args.out)
        # Standard output may be JSON, for a program to read.
        print(told, file=sys.stderr)
        print(f"{args.out}: compiled; not tried on hardware here", file=sys.stderr)
    return 0 if all(placement.is_mapped for placement in placements) else 1


def _keygen(args: argparse.Namespace) -> int:
    key = sign.generate(args.name)
    print(f"{args.name}.key signs bundles: keep it secret, and keep a copy")
    print(f"{args.name}.pub goes to the devices; its id is {key.id}")
    return 0


def _sign(args: argparse.Namespace) -> int:
    key = sign.load_private_key(args.key)
    for path in args.bundles:
        bundle.read(path)  # all or none
    for path in args.bundles:
        signature = sign.sign(path, key).signature
        assert signature is not None
        print(f"{path}: signed by {signature.key_id}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conversion",
        description="Turn a training run into proven int8 bundles.",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, function: object, text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function)
        return sub

    def data(sub: argparse.ArgumentParser) -> None:
        path = pathlib.Path
        sub.add_argument("--data", type=path, help="corpora, if they have moved")
        sub.add_argument("--cache", type=path, help="folder of computed features")

    def model(sub: argparse.ArgumentParser) -> None:
        path = pathlib.Path
        sub.add_argument(
            "run", type=path, help="a run folder, or a saved model with --card"
        )
        sub.add_argument(
            "--card", type=path, help="labels and features of a saved model, TOML"
        )
        sub.add_argument(
            "--calibration", type=path, help="sound files for a saved model"
        )
        data(sub)

    names = ", ".join([*variants.BY_NAME, "all"])
    sub = verb("convert", _convert, "make bundles of a model, and prove them")
    model(sub)
    sub.add_argument("--out", type=pathlib.Path, required=True)
    sub.add_argument("--variants", nargs="+", metavar="VARIANT", help=names)
    sub.add_argument(
        "--explain", action="store_true", help="tell which layers lose most in int8"
    )

    sub = verb("verify", _verify, "prove existing bundles again")
    model(sub)
    sub.add_argument("bundles", type=pathlib.Path, help="folder of its bundles")
    sub.add_argument(
        "--score",
        action="store_true",
        help="UA on the fold's test speakers, noted in the ledger",
    )
    sub.add_argument("--results", type=pathlib.Path, default=_RESULTS)

    sub = verb("measure", _measure, "what each variant costs, over the folds of a run")
    sub.add_argument("folds", type=pathlib.Path, help="folder of run folders fold-N")
    sub.add_argument("--out", type=pathlib.Path, required=True)
    sub.add_argument("--variants", nargs="+", metavar="VARIANT", help=names)
    sub.add_argument("--results", type=pathlib.Path, default=_RESULTS)
    sub.add_argument(
        "--ledger", type=pathlib.Path, help="default: ledger.csv of the results"
    )
    data(sub)

    sub = verb("inspect", _inspect, "print a bundle's card, operators, sizes and graph")
    sub.add_argument("bundle", help=bundle.NAMEABLE)
    sub.add_argument("--json", action="store_true")

    sub = verb("edgetpu", _edgetpu, "tell what would run on an Edge TPU")
    sub.add_argument("bundle", help=bundle.NAMEABLE)
    sub.add_argument("--json", action="store_true")
    sub.add_argument(
        "--out", type=pathlib.Path, help="compile it, with edgetpu_compiler"
    )

    sub = verb("keygen", _keygen, "make a pair of keys to sign bundles with")
    sub.add_argument(
        "name", type=pathlib.Path, help="writes NAME.key (secret) and NAME.pub"
    )
    sub = verb("sign", _sign, "sign bundles, in place")
    sub.add_argument("bundles", type=pathlib.Path, nargs="+", metavar="BUNDLE")
    sub.add_argument("--key", type=pathlib.Path, required=True, help="NAME.key")
    return parser


_RESULTS = pathlib.Path(__file__).parents[1] / "training" / "results"


def main(argv: list[str] | None = None) -> int:
    """Run a verb; returns its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        code: int = args.function(args)
        return code
    except KeyboardInterrupt:
        return 130
    except (EdgeSerError, OSError) as error:
        if args.debug:
            raise
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)


if __name__ == "__main__":
    sys.exit(main())
