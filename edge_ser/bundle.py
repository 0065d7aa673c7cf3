"""The model file: one .tflite with a zip archive appended that holds its card.

Every TFLite interpreter ignores the tail and `zipfile` reads it, as the TFLite metadata
convention has it. A bundle that is cut, altered or inconsistent is refused; nothing in
it is guessed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import stat
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edge_ser import archive
from edge_ser.decision import IDLE, UNCERTAIN
from edge_ser.errors import BundleError, ConfigError
from edge_ser.features import FeatureSpec
from edge_ser.spec import brief, is_integer, is_number

if TYPE_CHECKING:
    import pathlib  # at run time it would take as long as everything else here

    from edge_ser import signing

# Python's own SHA-256, as `random` takes its hash: hashlib would load OpenSSL, which
# stays in memory for good (3.4 MiB) for the sake of one digest.
for _module in ("_sha2", "_sha256", "hashlib"):
    with contextlib.suppress(ImportError):
        sha256: Callable[[bytes], Any] = importlib.import_module(_module).sha256
        break

FORMAT_VERSION = 1
_CARD_NAME = "card.json"
_MODELS = os.path.join(os.path.dirname(__file__), "models")
_DEFAULT = os.path.join(_MODELS, "default.tflite")
SHIPPED = {
    "standard": _DEFAULT,
    "nano": os.path.join(_MODELS, "nano.tflite"),
    "open": os.path.join(_MODELS, "open.tflite"),
    "mfcc": os.path.join(_MODELS, "mfcc.tflite"),
}
"""The bundles of the package by name; ``standard`` is the default."""
NAMEABLE = f"a .tflite bundle, or one that ships: {', '.join(SHIPPED)}"
"""What a command takes for a model, in words."""
_GIVE = f"give {NAMEABLE}"
_MAX_BYTES = 64 << 20
_MAX_CARD_BYTES = 1 << 20
_LARGEST = 1e6  # far beyond any feature: what is larger is a mistake


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """What a bundle says of its model."""

    name: str
    version: str
    labels: tuple[str, ...]
    """In the order of the model's outputs."""
    features: FeatureSpec
    hop_frames: int
    """Step from one window to the next, in frames."""
    quantization: str
    """``float32``, ``int8``, ``int8-pruned``..."""
    temperature: float = 1.0
    """Logits are divided by it before the softmax (Guo et al. 2017)."""
    thresholds: dict[str, float] = dataclasses.field(default_factory=dict)
    """Least confidence of a label to be announced; others take the listener's."""
    training_data: tuple[dict[str, Any], ...] = ()
    """One object a corpus (name, clips, speakers, licence), or a folder of noise."""
    speakers: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The mean of `adaptation.spectral_shape` over training speakers, ``mean``, and its
    standard deviation, ``spread``: lists of a number a static feature. Empty: the model
    cannot get used to a room."""
    calibration: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Of the quantization: number and names of clips."""
    measured: tuple[dict[str, Any], ...] = ()
    """Figures, each with the protocol that gave it."""
    intended_use: str = ""
    licence: str = ""
    format_version: int = FORMAT_VERSION

    @property
    def hop_s(self) -> float:
        """Step from one window to the next, in seconds."""
        spec = self.features
        return self.hop_frames * spec.hop_samples / spec.sample_rate_hz

    @property
    def window_s(self) -> float:
        """What one window spans, in seconds."""
        return self.features.model_samples / self.features.sample_rate_hz

    @property
    def title(self) -> str:
        """Name and version, as events carry them."""
        return f"{self.name} {self.version}"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A checked model file."""

    card: Card
    model: bytes
    """The TFLite flatbuffer."""
    signature: signing.Signature | None = None
    """Not checked unless the bundle was read with public keys."""

    @property
    def sha256(self) -> str:
        """Of the model part, hexadecimal."""
        return str(sha256(self.model).hexdigest())


def default_path() -> pathlib.Path:
    """The model that ships with the package."""
    import pathlib

    return pathlib.Path(_DEFAULT)


def located(path: str | os.PathLike[str]) -> str:
    """Where a bundle lies that is given by its path, or by the name of a shipped one.

    Args:
        path: a name out of `SHIPPED`, or of a file; one of such a name is ``./nano``.
    """
    file = os.fspath(path)
    return SHIPPED.get(file, file)


def pack(card: Card, model: bytes) -> bytes:
    """The bytes of a bundle; the same card and model give the same bytes."""
    values = dataclasses.asdict(card)
    values["sha256"] = sha256(model).hexdigest()
    text = json.dumps(values, indent=1, ensure_ascii=False, sort_keys=True)
    return model + archive.tail(_CARD_NAME, text.encode(), len(model))


def write(path: pathlib.Path, card: Card, model: bytes) -> None:
    """Write a bundle whole or not at all.

    Raises:
        BundleError: the folder cannot be written, or the disk is full.
    """
    write_bytes(path, pack(card, model))


def write_bytes(path: pathlib.Path, data: bytes) -> None:
    """Write the bytes of a bundle, signed or not, whole or not at all.

    Raises:
        BundleError: they are no good bundle; the folder cannot be written, or the disk
            is full.
    """
    import tempfile  # not on the device's way to its first decision

    unpack(data, str(path))
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from error


def read(
    path: str | os.PathLike[str] | None = None,
    *,
    public_keys: Sequence[signing.PublicKey] = (),
) -> Bundle:
    """Read and check a bundle.

    Args:
        path: see `located`; None is the default one that ships with the package.
        public_keys: if there are any, one of them must have signed the bundle; see
            `edge_ser.signing.load_public_keys`.

    Raises:
        BundleError: missing, unreadable, or refused (the message says why).
    """
    file = _DEFAULT if path is None else os.fspath(path)
    return unpack(read_bytes(file), file, public_keys=public_keys)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a bundle's file, not yet checked.

    Raises:
        BundleError: missing, unreadable, no regular file, or far too large.
    """
    file = located(path)
    try:
        # A pipe would block, and some devices never end.
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise BundleError(f"{file}: model cannot be read: no regular file; {_GIVE}")
        with open(file, "rb") as reader:
            data = reader.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"{file}: model cannot be read: {reason}; {_GIVE}") from error
    if len(data) > _MAX_BYTES:
        raise BundleError(f"{file}: larger than {_MAX_BYTES >> 20} MiB")
    return data


def unpack(
    data: bytes,
    source: str = "bundle",
    *,
    public_keys: Sequence[signing.PublicKey] = (),
) -> Bundle:
    """Check the bytes of a bundle.

    Args:
        source: what errors call it.
        public_keys: see `read`.

    Raises:
        BundleError: cut, altered, of an unknown format, with a card that does not fit,
            or not signed by one of the keys.
    """
    signature = None
    # An archive without comment, so without signature, ends with the length of 0.
    if public_keys or not data.endswith(b"\0\0"):
        from edge_ser import signing

        data, signature = signing.detach(data)
        if public_keys:
            signing.check(data, signature, public_keys, source)
    if data[4:8] != b"TFL3":
        raise BundleError(f"{source}: not a TFLite model")
    values, model_end = _read_tail(data, source)
    model = data[:model_end]
    version = values.get("format_version")
    if not is_integer(version) or version != FORMAT_VERSION:
        raise BundleError(
            f"{source}: bundle format {brief(version)} is unknown; "
            f"this edge-ser reads format {FORMAT_VERSION}"
        )
    digest = values.pop("sha256", None)
    if digest != sha256(model).hexdigest():
        raise BundleError(f"{source}: altered: the model does not match its SHA-256")
    return Bundle(_parse_card(values, source), model, signature)


def _read_tail(data: bytes, source: str) -> tuple[dict[str, Any], int]:
    """The card and where the model ends."""
    found = archive.split(data, _CARD_NAME)
    if found is None:
        raise BundleError(
            f"{source}: no card found at the end; the file is cut, has something after "
            "its end, or is a plain .tflite"
        )
    start, text = found
    # The headers of a zip archive carry no checksum, but have one valid spelling.
    if archive.tail(_CARD_NAME, text, start) != data[start:]:
        raise BundleError(f"{source}: altered: the card's archive is damaged")
    if len(text) > _MAX_CARD_BYTES:
        raise BundleError(f"{source}: the card is larger than 1 MiB")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{source}: altered: the card is damaged: {error}") from error
    if not isinstance(values, dict):
        raise BundleError(f"{source}: the card is not a JSON object")
    return values, start


def _parse_card(values: dict[str, Any], source: str) -> Card:
    known = {field.name: field for field in dataclasses.fields(Card)}
    unknown = set(values) - set(known)
    missing = {
        name
        for name, field in known.items()
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and name not in values
    }
    if unknown or missing:
        raise BundleError(
            f"{source}: the card has unknown or missing fields: "
            f"{', '.join(map(brief, sorted(unknown | missing)))}"
        )
    values = dict(values)
    try:
        spec = FeatureSpec.from_dict(values.pop("features"))
    except ConfigError as error:
        raise BundleError(f"{source}: {error}") from error
    for name, value in values.items():
        is_valid, valid = _VALID[name]
        if not is_valid(value):
            raise _refusal(source, name, value, valid)
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError) as error:
            # Python's reader lets through what is no JSON, and half characters.
            valid = "finite numbers and whole characters"
            raise _refusal(source, name, value, valid) from error
    tuples = {
        name: tuple(values.get(name, ()))
        for name in ("labels", "training_data", "measured")
    }
    card = Card(**(values | tuples | {"features": spec}))
    if not 1 <= card.hop_frames <= spec.frames_per_window:
        valid = f"1 to {spec.frames_per_window} (a window)"
        raise _refusal(source, "hop_frames", card.hop_frames, valid)
    for name, numbers in card.speakers.items():
        if len(numbers) != spec.n_static:
            valid = f"{spec.n_static} numbers, one a static feature"
            raise _refusal(source, f"speakers.{name}", numbers, valid)
    for label in card.thresholds:
        if label not in card.labels:
            valid = f"labels: {', '.join(map(brief, card.labels))}"
            raise _refusal(source, "thresholds", label, valid)
    if not spec.streams or (spec.normalisation == "stored" and spec.mean is None):
        raise BundleError(f"{source}: the card's FeatureSpec cannot run on a stream")
    return card


def _refusal(source: str, name: str, value: object, valid: str) -> BundleError:
    return BundleError(f"{source}: the card's {name}: {brief(value)}; valid: {valid}")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_object, value))


def _are_labels(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(label, str) and label for label in value)
        and len(value) == len(set(value)) >= 2
        and not {IDLE, UNCERTAIN} & set(value)
    )


def _are_thresholds(value: object) -> bool:
    return isinstance(value, dict) and all(
        is_number(limit) and 0 <= limit <= 1 for limit in value.values()
    )


def _are_speakers(value: object) -> bool:
    if value == {}:
        return True
    if not isinstance(value, dict) or set(value) != {"mean", "spread"}:
        return False
    mean, spread = value["mean"], value["spread"]
    return (
        isinstance(mean, list)
        and isinstance(spread, list)
        and all(is_number(each) and abs(each) <= _LARGEST for each in mean)
        and all(is_number(each) and 0 <= each <= _LARGEST for each in spread)
    )


# What each field of a card but its FeatureSpec may hold as JSON, and how errors say it.
_VALID: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_is_text, "text"),
    "version": (_is_text, "text"),
    "labels": (
        _are_labels,
        f"two or more texts, none empty or twice, none {IDLE} or {UNCERTAIN}: "
        "so events call silence and doubt",
    ),
    "hop_frames": (is_integer, "an integer"),
    "quantization": (_is_text, "text"),
    "temperature": (
        lambda value: is_number(value) and 0.01 <= value <= 100,
        "0.01 to 100",
    ),
    "thresholds": (_are_thresholds, "an object of labels, each with 0 to 1"),
    "training_data": (_are_objects, "a list of objects"),
    "speakers": (_are_speakers, "{}, or lists of numbers named mean and spread"),
    "calibration": (_is_object, "an object"),
    "measured": (_are_objects, "a list of objects"),
    "intended_use": (_is_text, "text"),
    "licence": (_is_text, "text"),
    "format_version": (is_integer, "an integer"),
}
