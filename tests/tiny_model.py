"""Where the tests' model lies: `tests/data/make_tiny.py` made it."""

from __future__ import annotations

import pathlib

TINY_MODEL = pathlib.Path(__file__).parent / "data" / "tiny.tflite"
