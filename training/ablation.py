"""What each technique gives: the config with one change at a time, side by side."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edge_ser.errors import ConfigError
from training import ablation_results, runs, stages, workers
from training.ablation_results import BASE, Trial
from training.config import Config, read_toml, with_values
from training.dataset import FeatureSet
from training.errors import ProtocolError

Variants = Mapping[str, Mapping[str, Any]]


def load_variants(path: pathlib.Path) -> Variants:
    """Read ``[variants]``: a name, and the settings that it changes.

    An empty list stands for none, which TOML lacks.

    Raises:
        ConfigError: not such a file.
    """
    found = read_toml(path).get("variants")
    if not isinstance(found, dict) or not all(
        isinstance(changes, dict) and changes for changes in found.values()
    ):
        raise ConfigError(f"{path}: valid is [variants] with a table of settings each")
    return {
        name: {key: None if value == [] else value for key, value in changes.items()}
        for name, changes in found.items()
    }


def ablate(
    config: Config,
    variants: Variants,
    data: pathlib.Path,
    out: pathlib.Path,
    *,
    seeds: Sequence[int],
    base_seeds: Sequence[int],
    fold: int | None,
    validation_speakers: Sequence[str],
    skip_bad: bool = False,
    jobs: int = 1,
) -> None:
    """Train the config and every variant; the table in `out` grows row by row.

    ``ablation.csv`` holds the trials, ``ablation.md`` what follows from them. Finished
    trainings are not done again, and an unfinished one goes on. ``{out}`` in a
    variant's texts stands for `out`, where the config's own runs can be teachers.

    Args:
        seeds: of every variant.
        base_seeds: of the config itself: several tell what chance alone does.
        jobs: trainings at the same time, one thread each.

    Raises:
        ConfigError: a variant that is no valid config, before any training.
        ProtocolError: no validation speakers; or see `stages.train_run`.
        RunError: a process was ended from outside.
    """
    if not validation_speakers:
        raise ProtocolError("an ablation needs --validation-speakers")
    configs = {BASE: config}
    for name, changes in variants.items():
        try:
            configs[name] = with_values(
                config, {key: _placed(value, out) for key, value in changes.items()}
            )
        except ConfigError as error:
            raise ConfigError(f"variant {name!r}: {error}") from error
    out.mkdir(parents=True, exist_ok=True)
    work = _Work(data, out, fold, tuple(validation_speakers), skip_bad)
    trials: dict[tuple[str, int], Trial | None] = {}  # in the order of the table
    with workers.pool(jobs) as pool:
        for names in ([BASE], list(variants)):  # the config's own runs may be teachers
            pending = {}
            for name in names:
                work.features(configs[name])  # jobs share the cache: fill it here
                for seed in base_seeds if name == BASE else seeds:
                    trials[name, seed] = None
                    task = pool.submit(_trial, work, configs[name], name, seed)
                    pending[task] = (name, seed)
            for done in workers.completed(pending):
                name, seed = pending[done]
                settings = _told(variants.get(name, {}))
                trials[name, seed] = {**done.result(), "settings": settings}
                finished = [trial for trial in trials.values() if trial]
                ablation_results.write(out, finished)
                text = ablation_results.markdown(finished)
                (out / "ablation.md").write_text(text + "\n")


@dataclasses.dataclass(frozen=True)
class _Work:
    """What all trials of an ablation share."""

    data: pathlib.Path
    out: pathlib.Path
    fold: int | None
    validation_speakers: tuple[str, ...]
    skip_bad: bool

    def features(self, config: Config) -> FeatureSet:
        cache = self.out / "cache"
        return stages.load_features(config, self.data, cache, skip_bad=self.skip_bad)


def _trial(work: _Work, config: Config, name: str, seed: int) -> Trial:
    features = work.features(config)
    speakers = sorted(work.validation_speakers)
    folder = work.out / f"{_slug(name)}-seed-{seed}"
    if not _is_done(folder, config, seed, work.fold, speakers):
        stages.train_run(
            config,
            features,
            work.data,
            folder,
            seed=seed,
            fold=work.fold,
            validation_speakers=speakers,
        )
        runs.write(folder / "asked.json", json.dumps([work.fold, speakers]))
    kept = runs.kept_epoch(folder)
    clips = sum(clip.speaker_key in speakers for clip in features.clips)
    return {
        "change": name,
        "seed": str(seed),
        "epochs": f"{kept['epoch']:.0f}",
        "validation_ua": f"{kept['validation_ua']:.5f}",
        "validation_clips": str(clips),
        "validation_speakers": " ".join(speakers),
        "protocol": config.protocol,
        "fold": "" if work.fold is None else str(work.fold),
    }


def _placed(value: Any, out: pathlib.Path) -> Any:
    if isinstance(value, list):
        return [_placed(item, out) for item in value]
    return value.replace("{out}", str(out)) if isinstance(value, str) else value


def _told(changes: Mapping[str, Any]) -> str:
    """Settings as the file of variants has them."""
    return ", ".join(
        f"{key} = {json.dumps([] if value is None else value)}"
        for key, value in changes.items()
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _is_done(
    folder: pathlib.Path,
    config: Config,
    seed: int,
    fold: int | None,
    speakers: Sequence[str],
) -> bool:
    if not (folder / "run.json").exists() or not (folder / "asked.json").exists():
        return False
    run = runs.load(folder)
    asked = (folder / "asked.json").read_text()
    same = asked == json.dumps([fold, sorted(speakers)])
    return same and (run.config, run.seed) == (config, seed)
