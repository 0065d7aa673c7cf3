"""The protocol of everything that sound comes from."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class Source(Protocol):
    """Mono PCM, block by block. Opened, read and closed by one thread."""

    name: str
    """What status lines and errors call it."""
    live: bool
    """Whether it tells of the present, so that events carry the time of the clock."""
    paced: bool
    """Whether it gives a second of audio a second, so that what is missing is lost."""
    reopens: bool
    """Whether it can be closed and opened again without losing anything but time."""

    def open(self, sample_rate_hz: int) -> None:
        """Get ready to give audio at this rate.

        Raises:
            MicrophoneError: a microphone that is missing or busy.
            AudioError: another source that cannot be read.
        """

    def read(self) -> Float32 | None:
        """The next block, shape (samples,), in [-1, 1]; None: the end.

        May be empty if nothing came for a moment.

        Raises:
            MicrophoneError, AudioError: it failed; close it, and open it again later.
        """

    def close(self) -> None:
        """Let go of it. Never raises; closing twice does nothing."""
