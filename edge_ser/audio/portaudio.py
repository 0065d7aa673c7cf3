"""PyAudio, loaded late and kept from writing to standard error."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import os
from typing import Any

from edge_ser.errors import MicrophoneError


@dataclasses.dataclass(frozen=True)
class Microphone:
    """An input device as PortAudio lists it."""

    index: int
    name: str
    channels: int
    default_rate_hz: int
    is_default: bool


def load() -> Any:
    """The module pyaudio.

    Raises:
        MicrophoneError: not installed, or its PortAudio library is missing.
    """
    try:
        import pyaudio
    except ImportError as error:
        raise MicrophoneError(
            f"a microphone needs PyAudio ({error}); install it with: "
            "pip install pyaudio, after apt install portaudio19-dev gcc"
        ) from error
    _silence_sound_libraries()
    return pyaudio


@functools.cache
def _silence_sound_libraries() -> tuple[Any, ...]:
    """Stop ALSA and JACK from printing a page of errors whenever devices are listed.

    What goes wrong with a device that is really wanted comes as an exception. Returns
    the callbacks, which must live as long as the libraries.
    """
    os.environ.setdefault("JACK_NO_START_SERVER", "1")
    alsa_handler = ctypes.CFUNCTYPE(
        None,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
    )(lambda *_: None)
    jack_handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(lambda *_: None)
    for library, function, handler in (
        ("libasound.so.2", "snd_lib_error_set_handler", alsa_handler),
        ("libjack.so.0", "jack_set_error_function", jack_handler),
        ("libjack.so.0", "jack_set_info_function", jack_handler),
    ):
        try:
            loaded = ctypes.CDLL(library, mode=os.RTLD_NOLOAD)
            getattr(loaded, function)(handler)
        except (OSError, AttributeError):
            continue  # PortAudio was built without it
    return alsa_handler, jack_handler


def list_microphones(audio: Any) -> list[Microphone]:
    """The input devices that a ``PyAudio()`` object knows, in its order."""
    try:
        default = int(audio.get_default_input_device_info()["index"])
    except OSError:
        default = -1
    found = []
    for index in range(audio.get_device_count()):
        info = audio.get_device_info_by_index(index)
        if info["maxInputChannels"] > 0:
            found.append(
                Microphone(
                    index=index,
                    name=str(info["name"]),
                    channels=int(info["maxInputChannels"]),
                    default_rate_hz=round(info["defaultSampleRate"]),
                    is_default=index == default,
                )
            )
    return found


def choose(microphones: list[Microphone], wanted: str | None) -> Microphone:
    """The microphone that `wanted` means.

    Args:
        wanted: an index, words of the name in any case, or None for the default.

    Raises:
        MicrophoneError: none, no such one, or several (the message lists them).

    >>> usb = Microphone(3, "USB Audio: Array", 1, 48000, False)
    >>> hdmi = Microphone(5, "HDMI In", 2, 48000, True)
    >>> choose([usb, hdmi], "array usb").index, choose([usb, hdmi], None).index
    (3, 5)
    """
    if not microphones:
        raise MicrophoneError(
            "no microphone found: none is plugged in, or another program has it to "
            "itself; --file and --pipe need none"
        )
    if wanted is None:
        for microphone in microphones:
            if microphone.is_default:
                return microphone
        return microphones[0]
    listed = ", ".join(f"{each.index} {each.name!r}" for each in microphones)
    if wanted.isascii() and wanted.isdigit():
        matches = [each for each in microphones if each.index == int(wanted)]
    else:
        words = wanted.casefold().split()
        matches = [
            each
            for each in microphones
            if all(word in each.name.casefold() for word in words)
        ]
        exact = [each for each in matches if each.name.casefold() == wanted.casefold()]
        matches = exact or matches
    if not matches:
        raise MicrophoneError(f"no microphone matches {wanted!r}; there are: {listed}")
    if len(matches) > 1:
        several = ", ".join(f"{each.index} {each.name!r}" for each in matches)
        raise MicrophoneError(
            f"{wanted!r} means several microphones: {several}; "
            "give more of the name, or the index"
        )
    return matches[0]
