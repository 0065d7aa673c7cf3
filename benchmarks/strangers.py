"""Fold bundles, and the clips of the speakers that each of them never heard."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Iterable

from benchmarks import amounts
from edge_ser import bundle
from edge_ser.bundle import Card
from edge_ser.classifier import Classifier
from training import protocol as protocols
from training.corpora import Clip, find_clips
from training.errors import ProtocolError

REFERENCE = "float32"
"""The variant that stands first where it is there."""


@dataclasses.dataclass(frozen=True)
class FoldBundle:
    """A bundle that was trained without the test speakers of one fold."""

    path: pathlib.Path
    fold: int
    clips: tuple[Clip, ...]
    """Of the fold's test speakers."""

    def classifier(self, runtime: str | None = None) -> Classifier:
        """The bundle, loaded."""
        return Classifier.load(self.path, runtime=runtime)


def add_fold_arguments(parser: argparse.ArgumentParser) -> None:
    """Which bundles strangers are heard by, and how many of their clips."""
    parser.add_argument(
        "bundles",
        nargs="+",
        type=pathlib.Path,
        metavar="BUNDLE",
        help="of every fold (fold-K in name or folder), or folders of them",
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--protocol", default="ravdess", metavar="NAME")
    parser.add_argument(
        "--clips",
        type=amounts.or_all,
        default=0,
        help="of each fold; 0, the default, is all",
    )


def fold_bundles(
    paths: Iterable[pathlib.Path], data: pathlib.Path, protocol_name: str
) -> dict[str, list[FoldBundle]]:
    """Fold bundles by variant (the card's quantization), each with its strangers.

    Args:
        paths: files named ``...fold-K...tflite``, or in a folder ``fold-K``; or folders
            that hold such files.
        data: the corpora's folder.
        protocol_name: whose folds they are.

    Raises:
        ProtocolError: a name without a fold, one fold twice in a variant, or a bundle
            that has learnt from those who test it.
        BundleError, CorpusError: unreadable files.
    """
    files = expanded(paths)
    if protocol_name in protocols.ACROSS_CORPORA:
        # Those of the config: a fold's number is its corpus's place among them.
        cards = [bundle.read(path).card for path in files]
        corpora = {
            entry["corpus"]
            for card in cards
            for entry in card.training_data
            if "corpus" in entry
        }
    else:
        base = protocol_name.removesuffix(protocols.SENTENCES)
        corpora = {*protocols.load(base).corpora}
    clips = [
        clip for name in sorted(corpora) for clip in find_clips(data / name, [name])
    ]
    protocol = protocols.load(protocol_name, clips)
    clips = _once(clips)
    found: dict[str, list[FoldBundle]] = {}
    for path in files:
        fold = fold_of(path)
        if fold not in protocol.test_speakers:
            raise ProtocolError(f"{path}: {protocol.name} has no fold {fold}")
        card = bundle.read(path).card
        variant = card.quantization
        tested = tuple(clip for clip in clips if protocol.is_test(clip, fold))
        _check_strangers(path, card, clips, tested)
        folds = found.setdefault(variant, [])
        if any(other.fold == fold for other in folds):
            raise ProtocolError(f"{path}: fold {fold} of {variant} is given twice")
        folds.append(FoldBundle(path, fold, tested))
    # What the others are compared with comes first.
    names = sorted(found, key=lambda name: (name != REFERENCE, name))
    return {name: found[name] for name in names}


def _check_strangers(
    path: pathlib.Path, card: Card, clips: Iterable[Clip], tested: Iterable[Clip]
) -> None:
    """Refuse a bundle whose card counts more speakers than are left beside the test's.

    Raises:
        ProtocolError: so it has heard some of them.
    """
    everybody, strangers = (
        {(clip.corpus, clip.speaker) for clip in each} for each in (clips, tested)
    )
    for data in card.training_data:
        corpus, heard = data.get("corpus"), data.get("speakers", 0)
        known, apart = (
            sum(of == corpus for of, _ in each) for each in (everybody, strangers)
        )
        if apart and heard > known - apart:
            raise ProtocolError(
                f"{path}: has learnt from {heard} of the {known} speakers of {corpus}, "
                f"so from some of the {apart} who test this fold; give bundles that "
                "this protocol's folds trained"
            )


def _once(clips: Iterable[Clip]) -> list[Clip]:
    """The clips without recordings that are there under two names, as in training."""
    first: dict[bytes, Clip] = {}
    for clip in clips:
        first.setdefault(hashlib.sha256(clip.path.read_bytes()).digest(), clip)
    return list(first.values())


def expanded(paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    """The bundles among these: files as they are, folders by what they hold.

    Raises:
        ProtocolError: a folder without bundles.
    """
    found = []
    for path in paths:
        within = sorted(path.rglob("*.tflite")) if path.is_dir() else [path]
        if not within:
            raise ProtocolError(f"{path}: the folder holds no bundle (.tflite)")
        found += within
    return found


def check_same_folds(variants: dict[str, list[FoldBundle]]) -> None:
    """Refuse variants that were tested on other folds.

    Raises:
        ProtocolError: names the first that differs.
    """
    folds = {
        name: sorted(bundle.fold for bundle in bundles)
        for name, bundles in variants.items()
    }
    first, *others = folds
    for name in others:
        if folds[name] != folds[first]:
            raise ProtocolError(
                f"{first} has folds {folds[first]}, but {name} {folds[name]}; give the "
                "same folds of every variant"
            )


def fold_of(path: pathlib.Path) -> int:
    """The fold that a file's name or folder gives.

    Raises:
        ProtocolError: neither does.
    """
    match = re.findall(r"fold-(\d+)", str(path))
    if not match:
        raise ProtocolError(
            f"{path}: neither its name nor its folder says which fold it is (fold-K)"
        )
    return int(match[-1])
