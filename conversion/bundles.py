"""A model as bundles: each variant made, written and proven in its own process."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from conversion import variants
from conversion.errors import ConversionError, WorkDiedError
from conversion.prune import FineTune, prune
from conversion.variants import Variant
from conversion.verify import Proof, Score, prove
from conversion.worker import alone
from edge_ser import bundle
from edge_ser.errors import EdgeSerError

Float32 = npt.NDArray[np.float32]

RECORD = "conversion.json"
"""Beside the bundles: what each was made from, see `Origin`."""
PROOFS = "proof.json"
_KEPT = "keras"


@dataclasses.dataclass(frozen=True)
class Job:
    """What all variants of a model are made from."""

    model: pathlib.Path
    """Saved by Keras, or a SavedModel; see `conversion.source`."""
    card: bundle.Card
    """Of all variants; quantization and calibration are filled in."""
    calibration: Float32
    """Windows of training speakers, (windows, frames, n_features)."""
    calibration_clips: tuple[str, ...]
    """Where those came from, for the card."""
    fine_tune: FineTune | None = None
    """Can be pickled; None leaves out what needs more training."""
    recipe: str = ""
    """What decides how `fine_tune` fits: what another one made is not taken again."""
    sparsity: float = 0.5
    """Of the variants that name none themselves."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one variant."""

    variant: str
    path: pathlib.Path | None
    """Of the bundle; None if it could not be made, or was not kept."""
    proof: Proof | None
    error: str | None
    seconds: float


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a bundle was made from."""

    saved: str
    """The saved model that was converted, relative to the folder."""
    model_sha256: str
    """Of the model that was given, before any fine-tuning."""
    tflite_sha256: str | None = None
    """Of the bundle's model part; None where an earlier version noted none."""


class Made(NamedTuple):
    """A bundle that an earlier conversion left, with what it was made from."""

    variant: str
    path: pathlib.Path
    saved: pathlib.Path
    origin: Origin

    def check(self) -> None:
        """Refuse a file that was put in the place of what was made.

        Raises:
            BundleError: it is no good bundle.
            ConversionError: it is another.
        """
        if self.origin.tflite_sha256 not in (None, bundle.read(self.path).sha256):
            raise ConversionError(f"{self.path} is not what was made; convert again")


def check(job: Job, wanted: Sequence[Variant]) -> None:
    """Refuse what cannot work before anything is computed.

    Raises:
        ConversionError: too few calibration windows, ones that do not fit the card, or
            a variant that needs training where there is none.
    """
    spec = job.card.features
    shape = (spec.frames_per_window, spec.n_features)
    if len(job.calibration) and job.calibration.shape[1:] != shape:
        raise ConversionError(
            f"the calibration windows are {job.calibration.shape[1:]}, but the "
            f"FeatureSpec says {shape}"
        )
    for variant in wanted:
        count = len(job.calibration)
        if variant.is_int8 and count < variants.MIN_CALIBRATION_WINDOWS:
            raise ConversionError(
                f"{count} calibration windows; valid: at least "
                f"{variants.MIN_CALIBRATION_WINDOWS}, for {variant.name}"
            )
        if variant.is_fine_tuned and job.fine_tune is None:
            raise ConversionError(
                f"{variant.name} needs more training, which only a run folder knows; "
                "valid for a saved model: "
                + ", ".join(v.name for v in variants.ALL if not v.is_fine_tuned)
            )


def convert(
    job: Job,
    wanted: Sequence[Variant],
    out: pathlib.Path,
    windows: Float32,
    tell: Callable[[str], None] = print,
    *,
    keep_broken: bool = False,
) -> list[Outcome]:
    """Make ``OUT/VARIANT.tflite`` of each variant; one that fails stops no other.

    Fine-tuned models are kept below OUT, so that an interrupted conversion goes on
    where it was; the same job gives the same bytes.

    Args:
        windows: what each bundle is proven on, (windows, frames, n_features).
        tell: takes lines of progress.
        keep_broken: whether bundles stay that break their variant's promise.

    Raises:
        ConversionError: see `check`; or the folder cannot be made.
    """
    check(job, wanted)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise ConversionError(f"{out}: cannot be made: {reason.strerror}") from reason
    outcomes = []
    for number, variant in enumerate(wanted, 1):
        tell(f"[{number}/{len(wanted)}] {variant.name}: {variant.about}")
        start = time.monotonic()
        path, proof, error = None, None, None
        try:
            work = (_make, job, variant, out, windows, keep_broken)
            path, proof = alone(variant.name, *work)
        except WorkDiedError as reason:
            error = f"{reason}{_hint(job.model)}"
        except EdgeSerError as reason:
            error = str(reason)
        seconds = time.monotonic() - start
        done = "done" if path else "not kept: it breaks its promise"
        tell(f"    {error or done} ({seconds:.0f} s)")
        outcomes.append(Outcome(variant.name, path, proof, error, seconds))
    return outcomes


def _hint(model: pathlib.Path) -> str:
    """What may be done about a model that its converter died of."""
    try:
        if alone("looking for loops", _has_loop, model):
            return "; recurrent layers must be unrolled or fused"
    except EdgeSerError:
        pass  # it is no better known than before
    return ""


def _has_loop(model: pathlib.Path) -> bool:
    from conversion.source import Source

    return Source(model).has_loop


def _make(
    job: Job,
    variant: Variant,
    out: pathlib.Path,
    windows: Float32,
    keep_broken: bool,
) -> tuple[pathlib.Path | None, Proof]:
    """What runs in the child process."""
    from conversion.source import Source
    from conversion.tflite import emit

    _be_deterministic()
    saved = _prepared(job, variant, out / _KEPT)
    source = Source(saved)
    _check_fit(source, job.card)
    # A quantization-aware model has learned its ranges.
    is_calibrated = variant.is_int8 and not variant.aware
    calibration = job.calibration if is_calibrated else None
    flatbuffer = emit(source, variant.arithmetic, calibration)
    card = dataclasses.replace(job.card, quantization=variant.name)
    if is_calibrated:
        clips = sorted(set(job.calibration_clips))
        count = {"windows": len(job.calibration), "clips": clips}
        card = dataclasses.replace(card, calibration=count)
    path = out / f"{variant.name}.tflite"
    with _whole(path) as partial:
        partial.write_bytes(bundle.pack(card, flatbuffer))
        # What cannot be proven must not lie there as if it were.
        proof = prove(partial, card, saved, windows, job.sparsity)
        if proof.problems and not keep_broken:
            partial.unlink()
            path.unlink(missing_ok=True)  # a former one would be taken for it
            return None, proof
        sha256 = hashlib.sha256(flatbuffer).hexdigest()
        origin = Origin(os.path.relpath(saved, out), digest(job.model), sha256)
        _record(out, variant.name, origin)
    return path, proof


@contextlib.contextmanager
def _whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A name to write a file under; it takes its place whole or not at all.

    What is removed again from under that name takes no place.

    Raises:
        ConversionError: the folder cannot be written, or the disk is full.
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        if partial.exists():
            partial.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise ConversionError(f"{path}: cannot be written: {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _be_deterministic() -> None:
    """The same run gives the same bytes."""
    import tensorflow as tf
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    # Sums over several threads are of another order, and fine-tuning magnifies that:
    # the bytes would hang on how many cores there are.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _check_fit(source: Any, card: bundle.Card) -> None:
    spec = card.features
    expected = spec.frames_per_window, spec.n_features
    if source.input_shape != expected:
        raise ConversionError(
            f"{source.path} takes windows of {source.input_shape}, but the FeatureSpec "
            f"makes {expected} (frames, features)"
        )
    if source.n_outputs != len(card.labels):
        raise ConversionError(
            f"{source.path} gives {source.n_outputs} outputs, but there are "
            f"{len(card.labels)} labels: {', '.join(card.labels)}"
        )


def _prepared(job: Job, variant: Variant, folder: pathlib.Path) -> pathlib.Path:
    """The saved model that a variant is converted from; fine-tuned once, then kept."""
    if not variant.is_fine_tuned:
        return job.model
    from conversion.quantize import quantization_aware
    from conversion.slim import slim
    from conversion.source import load_keras

    assert job.fine_tune is not None
    sparsity = variant.zeros(job.sparsity)
    kept = folder / _kept_name(job, variant, sparsity)
    if kept.exists():
        return kept
    base = job.model
    if variant.aware and variant.pruned:
        base = _prepared(job, dataclasses.replace(variant, aware=False), folder)
    model = load_keras(base)
    if variant.aware:
        made = quantization_aware(model, job.fine_tune, keep_zeros=variant.pruned)
    elif variant.slim:
        made = slim(model, variants.FEWER_MACS, job.fine_tune)
    else:
        assert sparsity is not None
        made = prune(model, sparsity, job.fine_tune)
    folder.mkdir(parents=True, exist_ok=True)
    with _whole(kept) as partial:
        made.save(partial)
    return kept


def _kept_name(job: Job, variant: Variant, sparsity: float | None) -> str:
    """Of a fine-tuned model: all that decides it, so nothing else's is found there."""
    name = "slim" if variant.slim else f"pruned-{sparsity or 0:.0%}".rstrip("%")
    if variant.aware:
        name = f"{name}-qat" if variant.pruned else "qat"
    recipe = repr((job.recipe, sparsity, variants.FEWER_MACS)).encode()
    made_from = hashlib.sha256(job.model.read_bytes() + recipe).hexdigest()[:12]
    # The toolkit's layers cannot be read back from a .keras file.
    return f"{name}-{made_from}{'.h5' if variant.aware else '.keras'}"


def _record(out: pathlib.Path, variant: str, origin: Origin) -> None:
    """Note what a bundle was made from."""
    origins = read_record(out) | {variant: origin}
    values = {name: dataclasses.asdict(each) for name, each in origins.items()}
    write_text(out / RECORD, json.dumps(values, indent=1, sort_keys=True) + "\n")


def digest(model: pathlib.Path) -> str:
    """SHA-256 of a saved model, which may be a folder, as hexadecimal digits.

    Raises:
        ConversionError: it cannot be read.
    """
    files = [model]
    if model.is_dir():
        files = sorted(each for each in model.rglob("*") if each.is_file())
    found = hashlib.sha256()
    try:
        for file in files:
            found.update(hashlib.sha256(file.read_bytes()).digest())
    except OSError as error:
        raise ConversionError(f"{file}: cannot be read: {error.strerror}") from error
    return found.hexdigest()


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a text whole or not at all.

    Raises:
        ConversionError: the folder cannot be written, or the disk is full.
    """
    with _whole(path) as partial:
        partial.write_text(text)


def read_record(out: pathlib.Path) -> dict[str, Origin]:
    """By variant, what it was made from.

    Raises:
        ConversionError: damaged, or written by an older version.
    """
    file = out / RECORD
    try:
        found = json.loads(file.read_text())
        return {name: Origin(**each) for name, each in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConversionError(
            f"{file} is damaged, or of an older version; convert into a new folder "
            f"({error})"
        ) from error


def proofs_before(out: pathlib.Path, model: pathlib.Path, but: set[str]) -> list[Proof]:
    """What was found in bundles that lie there, made of the same model.

    Args:
        but: variants that are to be left out.
    """
    try:
        found = list(map(_proof, json.loads((out / PROOFS).read_text())))
    except (OSError, ValueError, TypeError):
        return []  # none yet, or of another version: `verify` proves them again
    of_model, origins = digest(model), read_record(out)
    return [
        proof
        for proof in found
        if proof.variant not in but
        and (out / f"{proof.variant}.tflite").exists()
        and proof.variant in origins
        and origins[proof.variant].model_sha256 == of_model
    ]


def _proof(values: dict[str, Any]) -> Proof:
    proof = Proof(**values)
    score = values.get("score")
    return dataclasses.replace(proof, score=Score(**score)) if score else proof


def made_before(out: pathlib.Path) -> Iterator[Made]:
    """The variants in a folder.

    Raises:
        ConversionError: none there, or a saved model has gone.
    """
    record = read_record(out)
    found = [name for name in variants.BY_NAME if (out / f"{name}.tflite").exists()]
    if not found:
        raise ConversionError(f"{out} holds no bundle; run convert first")
    for name in found:
        origin = record.get(name, Origin("missing", ""))
        saved = out / origin.saved
        if not saved.exists():
            raise ConversionError(
                f"{out / name}.tflite: the model it was made from has gone ({saved}); "
                "convert again"
            )
        yield Made(name, out / f"{name}.tflite", saved, origin)
