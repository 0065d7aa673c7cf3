"""Types of the options that say how much to measure."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> float:
    """A number above 0: of seconds, hours, or times."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} given; valid: a number above 0")
    return value


def at_least_one(text: str) -> int:
    """How often."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} given; valid: 1 or more")
    return value


def or_all(text: str) -> int:
    """How many, with 0 for all."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} given; valid: 1 or more, or 0: all")
    return value
