"""What each technique gives: the config with one change at a time, side by side."""

from __future__ import annotations

import contextlib
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

_ASKED = "asked.json"


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
        ConfigError: a variant that is no valid config, has another's name, or learns
            from another that is not trained, before any training.
        ProtocolError: no validation speakers, a seed twice; or see `stages.train_run`.
        RunError: a process was ended from outside.
    """
    if not validation_speakers:
        raise ProtocolError("an ablation needs --validation-speakers")
    for given in (seeds, base_seeds):
        if len(set(given)) < len(given):
            raise ProtocolError("a seed is given twice")
    configs = {BASE: config}
    for name, changes in variants.items():
        try:
            configs[name] = with_values(
                config, {key: _placed(value, out) for key, value in changes.items()}
            )
        except ConfigError as error:
            raise ConfigError(f"variant {name!r}: {error}") from error
    _check_folders(configs, out)
    out.mkdir(parents=True, exist_ok=True)
    work = _Work(data, out, fold, tuple(sorted(validation_speakers)), skip_bad)
    # The jobs share the cache: filled here, where a mistake shows before any training.
    clips = {name: work.clips(each) for name, each in configs.items()}
    asked = {
        (name, seed): {**clips[name], "settings": _told(variants.get(name, {}))}
        for name in configs
        for seed in (base_seeds if name == BASE else seeds)
    }

    def write() -> None:
        finished = [
            work.trial(name, configs[name], seed, told)
            for (name, seed), told in asked.items()
            if work.is_done(name, configs[name], seed)
        ]
        if finished and finished[0]["change"] == BASE:
            ablation_results.write(out, finished)
            text = ablation_results.markdown(finished)
            (out / "ablation.md").write_text(text + "\n")

    write()
    for names in ([BASE], list(variants)):  # the config's own runs may be teachers
        with workers.pool(jobs) as pool:
            pending = [
                pool.submit(_train, work, name, configs[name], seed)
                for name, seed in asked
                if name in names and not work.is_done(name, configs[name], seed)
            ]
            # Closed at once where the table cannot be written: the others never begin.
            with contextlib.closing(workers.completed(pending)) as ended:
                for _ in ended:
                    write()


def _check_folders(configs: Mapping[str, Config], out: pathlib.Path) -> None:
    names: dict[str, str] = {}
    for name in configs:
        other = names.setdefault(_slug(name), name)
        if other != name:
            raise ConfigError(f"variants {other!r} and {name!r} have one folder")
    for name, config in configs.items():
        for teacher in map(pathlib.Path, config.distillation.teachers):
            slug = teacher.name.rpartition("-seed-")[0]
            finished = (teacher / "run.json").exists()
            if teacher.parent == out and slug != _slug(BASE) and not finished:
                raise ConfigError(
                    f"variant {name!r}: {teacher} is not trained; train it first"
                )


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

    def clips(self, config: Config) -> Trial:
        """How many validation clips there are."""
        clips = self.features(config).clips
        judges = sum(clip.speaker_key in self.validation_speakers for clip in clips)
        return {"validation_clips": str(judges)}

    def folder(self, name: str, seed: int) -> pathlib.Path:
        return self.out / f"{_slug(name)}-seed-{seed}"

    def is_done(self, name: str, config: Config, seed: int) -> bool:
        folder = self.folder(name, seed)
        if not (folder / "run.json").exists() or not (folder / _ASKED).exists():
            return False
        run = runs.load(folder)
        same = (folder / _ASKED).read_text() == self.asked
        return same and (run.config, run.seed) == (config, seed)

    @property
    def asked(self) -> str:
        """What a run folder tells of whom it was judged by."""
        return json.dumps([self.fold, list(self.validation_speakers)])

    def trial(self, name: str, config: Config, seed: int, told: Trial) -> Trial:
        kept = runs.kept_epoch(self.folder(name, seed))
        return {
            "change": name,
            "seed": str(seed),
            "epochs": f"{kept['epoch']:.0f}",
            "validation_ua": f"{kept['validation_ua']:.5f}",
            "validation_speakers": " ".join(self.validation_speakers),
            "protocol": config.protocol,
            "fold": "" if self.fold is None else str(self.fold),
            **told,
        }


def _train(work: _Work, name: str, config: Config, seed: int) -> None:
    folder = work.folder(name, seed)
    stages.train_run(
        config,
        work.features(config),
        work.data,
        folder,
        seed=seed,
        fold=work.fold,
        validation_speakers=work.validation_speakers,
    )
    runs.write(folder / _ASKED, work.asked)


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
