"""Events from a microphone, a pipe or a file.

Examples:
  edge-ser listen
  edge-ser listen --microphone "usb array" --json
  edge-ser listen --file talk.wav --real-time
  arecord -q -t raw -f S16_LE -r 16000 | edge-ser listen --pipe -

Settings come from --config (default: /etc/edge-ser/config.toml if it exists), then from
EDGE_SER_* variables, then from these options.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import types

from edge_ser import config as configs
from edge_ser.audio.source import Source
from edge_ser.classifier import Classifier
from edge_ser.listener import Listener
from edge_ser.sinks.jsonlines import JsonLinesSink
from edge_ser.sinks.sink import Sink
from edge_ser.sinks.text import TextSink


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    source = parser.add_argument_group("where sound comes from")
    source.add_argument(
        "--microphone", metavar="NAME", help="its index, or words of its name"
    )
    source.add_argument("--file", metavar="PATH", help="a sound file")
    source.add_argument(
        "--real-time",
        action="store_true",
        default=None,
        help="play the file at the pace of time, not as fast as possible",
    )
    source.add_argument(
        "--pipe", metavar="PATH", help="raw s16le: a FIFO, a Unix socket, or - (stdin)"
    )
    source.add_argument("--rate", type=int, metavar="HZ", help="of the pipe (16000)")
    source.add_argument("--channels", type=int, metavar="N", help="of the pipe (1)")
    parser.add_argument("--model", metavar="BUNDLE", help="a .tflite bundle")
    parser.add_argument(
        "--device-name", metavar="NAME", help="the name in events (the host's)"
    )
    parser.add_argument("--config", metavar="PATH", help="a TOML file")
    parser.add_argument("--json", action="store_true", help="events as JSON lines")


def run(arguments: argparse.Namespace) -> int:
    """Listen until the source ends, or a signal."""
    config = configs.load(
        arguments.config,
        os.environ,
        {
            "model": arguments.model,
            "device_name": arguments.device_name,
            "source.microphone": arguments.microphone,
            "source.file": arguments.file,
            "source.pipe": arguments.pipe,
            "source.rate_hz": arguments.rate,
            "source.channels": arguments.channels,
            "source.real_time": arguments.real_time,
        },
    )
    source = open_source(config.source)
    classifier = Classifier.load(config.model)
    sink: Sink
    if arguments.json:
        sink = JsonLinesSink(sys.stdout)
    else:
        sink = TextSink(sys.stdout, width=max(map(len, classifier.labels)))
    listener = Listener(
        classifier,
        source,
        [sink],
        device=config.device_name,
        gate=config.gate,
        decision=config.decision,
    )

    def stop(_number: int, _frame: types.FrameType | None) -> None:
        listener.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    listener.run()
    return 0


def open_source(settings: configs.SourceSettings) -> Source:
    """The source that the settings name; nothing is opened yet."""
    if settings.file:
        from edge_ser.audio.file import FileSource

        return FileSource(settings.file, real_time=settings.real_time)
    if settings.pipe:
        from edge_ser.audio.pipe import PipeSource

        return PipeSource(
            settings.pipe, rate_hz=settings.rate_hz, channels=settings.channels
        )
    from edge_ser.audio.microphone import MicrophoneSource

    return MicrophoneSource(settings.microphone)
