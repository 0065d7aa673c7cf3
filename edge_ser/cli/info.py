"""What a model file says of itself.

Examples:
  edge-ser info                 the model in use
  edge-ser info my.tflite
  edge-ser info --json my.tflite | jq .measured
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import textwrap
from typing import Any

from edge_ser import bundle as bundles
from edge_ser import signing, store
from edge_ser.cli import engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "bundle",
        nargs="?",
        metavar="BUNDLE",
        help=f"{bundles.NAMEABLE} (default: the one in use)",
    )
    parser.add_argument("--json", action="store_true", help="the whole card as JSON")
    engine.add_public_key(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the card."""
    trusted = signing.load_public_keys(arguments.public_keys or ())
    named = store.in_use(engine.named_model(arguments.bundle))
    bundle = bundles.read(named, public_keys=trusted)
    path = str(named or bundles.default_path())
    if arguments.json:
        card = dataclasses.asdict(bundle.card)
        card |= {
            "path": path,
            "sha256": bundle.sha256,
            "model_bytes": len(bundle.model),
            "signed_by": bundle.signature.key_id if bundle.signature else None,
        }
        print(json.dumps(card))
        return 0
    width = max(60, min(100, shutil.get_terminal_size().columns))
    for title, text in _rows(path, bundle, checked=bool(trusted)):
        lines = textwrap.wrap(text, width - 16) or ["-"]
        print(f"{title:16}{lines[0]}")
        for line in lines[1:]:
            print(" " * 16 + line)
    return 0


def _rows(path: str, bundle: bundles.Bundle, *, checked: bool) -> list[tuple[str, str]]:
    card = bundle.card
    spec = card.features
    kind = f"{spec.n_mels} log-mel bands"
    if spec.n_mfcc is not None:
        kind = f"{spec.n_mfcc} MFCC of {spec.n_mels} mel bands"
    rows = [
        ("model", card.title),
        ("file", path),
        ("size", f"{len(bundle.model):,} bytes, {card.quantization}"),
        ("sha256", bundle.sha256),
        ("signature", _signature(bundle, checked=checked)),
        ("labels", ", ".join(card.labels)),
        ("hears", f"{kind}, {spec.sample_rate_hz} Hz"),
        ("window", f"{card.window_s:.2f} s, every {card.hop_s:.2f} s"),
        ("adaptation", _ADAPTATION[bool(card.speakers)]),
    ]
    rows += [("measured", _figure(figure)) for figure in card.measured]
    rows += [("trained on", _pairs(corpus)) for corpus in card.training_data]
    rows += [("intended use", card.intended_use), ("licence", card.licence)]
    return rows


_ADAPTATION = {
    True: "gets used to the room where it listens",
    False: "none: the card tells nothing of its speakers' voices",
}


def _signature(bundle: bundles.Bundle, *, checked: bool) -> str:
    if bundle.signature is None:
        return "none"
    state = "verified" if checked else "not checked: --public-key FILE does"
    return f"Ed25519 by the key {bundle.signature.key_id} ({state})"


def _figure(values: dict[str, Any]) -> str:
    """A line of a card's figures: short, if it is as our own training writes it."""
    try:
        told = [f"{name.upper()} {_interval(values, name)}" for name in ("ua", "wa")]
        return (
            f"{values['variant']}: {', '.join(told)}; {values['protocol']} folds, "
            f"{values['clips']} clips, {values['seeds']} seed(s)"
        )
    except (KeyError, TypeError, ValueError):
        return _pairs(values)


def _interval(values: dict[str, Any], name: str) -> str:
    low, high = values[f"{name}_95"]
    # As it stands there: rounded again, it might differ from what was published.
    return f"{values[name]:g} [{low:g}, {high:g}]"


def _pairs(values: dict[str, Any]) -> str:
    """A card's free-form object in one line."""
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in values.items()
    )
