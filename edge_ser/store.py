"""Installed models: the one in use, and the one before it.

A folder holds the files, named after their content, and an index of two names. The
index is replaced by one rename: whenever a process is killed, the power fails or the
disk is full, it names two whole files, the older ones or the newer ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from edge_ser import bundle as bundles
from edge_ser import signing
from edge_ser.classifier import Classifier
from edge_ser.errors import BundleError, EdgeSerError

DEFAULT_FOLDER = pathlib.Path("/var/lib/edge-ser-models")
FOLDER_VARIABLE = "EDGE_SER_MODEL_FOLDER"
_INDEX = "index.json"
_LOCK = ".lock"
_NEW = ".new-"
_ROLES = ("current", "former")


class Store:
    """A folder of installed models.

    Args:
        folder: None is what EDGE_SER_MODEL_FOLDER names, or `DEFAULT_FOLDER`.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = pathlib.Path(
            folder or os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER
        )

    def current(self) -> pathlib.Path | None:
        """The model in use; None is the one that ships with the package.

        Raises:
            BundleError: the index is damaged or cannot be read.
        """
        return self._path(self._read_index()["current"])

    def former(self) -> pathlib.Path | None:
        """What `roll_back` would put in use; None as for `current`.

        Raises:
            BundleError: as `current`; or nothing was ever installed.
        """
        index = self._read_index()
        if index["current"] == index["former"]:
            raise BundleError(
                f"{self.folder}: no model was installed here, so none can be rolled "
                "back; `edge-ser model install FILE` installs one"
            )
        return self._path(index["former"])

    def install(self, data: bytes, test: Callable[[pathlib.Path], None]) -> bool:
        """Put a bundle in use and keep the one before it.

        Waits while another process installs.

        Args:
            data: of a bundle, not yet checked.
            test: called with the path of the written file; raises to refuse it.

        Returns:
            Whether it was not in use already.

        Raises:
            BundleError: the bundle is refused.
            EdgeSerError: the folder cannot be written, or the disk is full.
        """
        card = bundles.unpack(data).card
        digest = bundles.sha256(data).hexdigest()[:12]
        title = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{card.name}-{card.version}")
        name = f"{title.lstrip('._')[:80]}-{digest}.tflite"
        with self._locked():
            index = self._read_index()
            new = self.folder / f"{_NEW}{name}"
            _write(new, data)
            test(new)
            os.replace(new, self.folder / name)
            if index["current"] == name:
                return False
            self._write_index(current=name, former=index["current"])
            return True

    def roll_back(
        self,
        *,
        to_bundled: bool = False,
        public_keys: Sequence[signing.PublicKey] = (),
    ) -> pathlib.Path | None:
        """Exchange the model in use and the former one; returns what is in use now.

        Args:
            to_bundled: take the model that ships with the package instead.
            public_keys: see `edge_ser.bundle.read`.

        Raises:
            BundleError: nothing was ever installed, or the former model is refused.
            EdgeSerError: the folder cannot be written.
        """
        self.former()  # nothing is made or locked where nothing was installed
        with self._locked():
            target = None if to_bundled else self.former()
            try:
                bundles.read(target, public_keys=public_keys)
            except BundleError as error:
                if target is None:
                    raise
                raise BundleError(
                    f"{error}; the bundled model is left: "
                    "edge-ser model rollback --bundled"
                ) from error
            before = self._read_index()["current"]
            name = None if target is None else target.name
            if name != before:
                self._write_index(current=name, former=before)
        return target

    def _path(self, name: str | None) -> pathlib.Path | None:
        return None if name is None else self.folder / name

    def _read_index(self) -> dict[str, str | None]:
        file = self.folder / _INDEX
        try:
            index = json.loads(file.read_bytes())
        except FileNotFoundError:
            return dict.fromkeys(_ROLES)
        except OSError as error:
            raise BundleError(f"{file}: cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError):
            index = None
        if not _is_index(index):
            raise BundleError(
                f"{file}: damaged; remove it to go back to the bundled model"
            )
        return dict(index)

    def _write_index(self, **names: str | None) -> None:
        new = self.folder / f"{_NEW}{_INDEX}"
        _write(new, json.dumps(names).encode())
        _flush_folder(self.folder)  # the names that it mentions, before itself
        os.replace(new, self.folder / _INDEX)
        _flush_folder(self.folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among the processes that write here, and with their remains gone."""
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True)
                self.folder.chmod(0o755)  # every user may classify, whatever the umask
            lock = os.open(
                self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._tidy()
                try:
                    yield
                except BaseException:
                    self._tidy()
                    raise
            finally:
                os.close(lock)
        except OSError as error:
            hint = ""
            if isinstance(error, PermissionError):
                hint = f"; use sudo, or another folder by {FOLDER_VARIABLE}"
            raise EdgeSerError(
                f"{self.folder}: cannot be written: {error.strerror}{hint}; "
                "the model in use is the same as before"
            ) from error

    def _tidy(self) -> None:
        """Remove what no index names.

        Not right after a change of the index: a listener may have read it just before.
        """
        named = set(self._read_index().values())
        for file in self.folder.iterdir():
            is_left_over = file.name.startswith(_NEW)
            # Only names that `install` gives: the folder may hold files of its owner.
            is_ours = re.search(r"-[0-9a-f]{12}\.tflite$", file.name) is not None
            is_former = is_ours and file.name not in named
            if is_left_over or is_former:
                file.unlink()


def in_use(path: str | None) -> str | None:
    """The model that is to be loaded: what is given, or the installed one.

    Args:
        path: what an option, a variable or the settings name; see `bundle.located`.

    Returns:
        None is the model that ships with the package.

    Raises:
        BundleError: the folder of installed models is damaged or cannot be read.
    """
    if path is not None:
        return bundles.located(path)
    current = Store().current()
    return None if current is None else str(current)


def load(path: str | None, **options: Any) -> Classifier:
    """`Classifier.load` of the model in use.

    Args:
        path: as for `in_use`.
        options: of `Classifier.load`.

    Raises:
        BundleError, ConfigError, InterpreterError: see `Classifier.load`.
    """
    model = in_use(path)
    try:
        return Classifier.load(model, **options)
    except BundleError as error:
        if path is not None or model is None:
            raise
        raise BundleError(
            f"{error}; `edge-ser model rollback` puts the former model in use"
        ) from error


def _is_index(value: object) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == set(_ROLES)
        and all(
            name is None or (isinstance(name, str) and _is_plain(name))
            for name in value.values()
        )
    )


def _is_plain(name: str) -> bool:
    """A file of the folder itself, and no path out of it."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*\.tflite", name) is not None


def _write(path: pathlib.Path, data: bytes) -> None:
    """A new file whose bytes are on the disk when this returns."""
    with path.open("wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: pathlib.Path) -> None:
    """Make renames last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
