"""Trains the speech gate: the small model that tells speech from every other sound.

    python -m training.speech_gate --data DIR --out edge_ser/models/speech.tflite

The listener asks it before it lets the emotion model answer, so that a running tap or
a helicopter is not announced as angry. It is trained on EMO-DB (CC0), on the noises
marked ``train`` (CC0, CC BY 4.0) and on computed sounds, so its licence leaves every
use open; speakers and languages of the other corpora, and the noises marked ``test``,
are unseen.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge_ser import bundle
from edge_ser.audio.file import read_blocks
from edge_ser.features import FeatureSpec, log_mel, model_input

Float32 = npt.NDArray[np.float32]

RATE_HZ = 16000
LABELS = ("other", "speech")
SPEC = FeatureSpec(
    n_mfcc=None,
    n_mels=40,
    hop_ms=20.0,
    window_ms=30.0,
    frames_per_window=50,
    normalisation="window_level",
)
HOP_FRAMES = 10
SCENE_S = 4.0
# Voice that a window must hold to count as speech; windows with less are left out.
LEAST_SPEECH_S = 0.4
SPEECH_SCENES, OTHER_SCENES = 2400, 4400
CHANNELS = (12, 20, 28)
EPOCHS, BATCH = 14, 64


def load(path: pathlib.Path) -> Float32:
    """A whole file at 16 kHz."""
    return np.concatenate(list(read_blocks(path, RATE_HZ)))


def load_split(folder: pathlib.Path, use: str) -> list[Float32]:
    """The recordings of a folder whose split.csv marks them so."""
    with (folder / "split.csv").open() as file:
        paths = [row["path"] for row in csv.DictReader(file) if row["use"] == use]
    return [load(folder.parent / path) for path in paths]


class Scenes:
    """Draws scenes of speech and of other sounds, from a seed."""

    def __init__(self, data: pathlib.Path, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self._noises = load_split(data / "noise", "train")
        self._rooms = load_split(data / "rir", "train")
        self._speech = [load(path) for path in sorted((data / "emodb").glob("*.flac"))]

    def speech(self) -> tuple[Float32, npt.NDArray[np.bool_]]:
        """A scene, and for each 10 ms whether somebody speaks, before reverberation."""
        samples = np.zeros(round(SCENE_S * RATE_HZ), np.float32)
        position = int(self.random.uniform(0, 1.5) * RATE_HZ)
        while position < len(samples):
            clip = self._speech[self.random.integers(len(self._speech))]
            clip = self._speed(clip, 2 ** self.random.uniform(-0.25, 0.25))
            clip = clip[: len(samples) - position]
            samples[position : position + len(clip)] += clip
            position += len(clip) + int(self.random.uniform(0.3, 2) * RATE_HZ)
        level = np.sqrt((samples.reshape(-1, 160) ** 2).mean(1))
        active = level > 0.08 * level.max()
        samples = self._room(self._coloured(samples, 6))
        level_db = self.random.uniform(-45, -12)
        samples = _at_level(samples, level_db)
        snr_db = self.random.uniform(3, 40)
        samples += _at_level(self._noise(), level_db - snr_db)
        return self._record(samples), active

    def other(self) -> Float32:
        """A scene without speech."""
        samples = _at_level(self._noise(), self.random.uniform(-60, -8))
        if self.random.random() < 0.3:
            samples += _at_level(self._noise(), self.random.uniform(-60, -15))
        return self._record(samples)

    def _record(self, samples: Float32) -> Float32:
        """What a microphone makes of it: some hiss, and clipping."""
        hiss = self.random.standard_normal(len(samples)).astype(np.float32)
        samples = samples + _at_level(hiss, self.random.uniform(-85, -55))
        return np.asarray(np.clip(samples, -1, 1), np.float32)

    def _noise(self) -> Float32:
        count = round(SCENE_S * RATE_HZ)
        kind = self.random.random()
        if kind < 0.6:
            noise = self._noises[self.random.integers(len(self._noises))]
            noise = self._speed(noise, 2 ** self.random.uniform(-0.7, 0.7))
            noise = np.tile(noise, -(-count // len(noise)))
            start = self.random.integers(len(noise) - count + 1)
            noise = noise[start : start + count]
        elif kind < 0.7:
            noise = self.random.standard_normal(count).astype(np.float32)
        elif kind < 0.82:
            noise = self._notes(count)
        else:
            noise = self._clicks(count)
        modulation = self.random.random()
        if modulation < 0.25:
            noise = self._swell(noise)
        elif modulation < 0.5:
            noise = noise * self._speech_envelope(count)
        return self._room(self._coloured(noise, 15))

    def _coloured(self, samples: Float32, range_db: float) -> Float32:
        """Through a smooth random filter, as other microphones and objects have."""
        frequency = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
        octaves = np.log2(np.maximum(frequency, 50) / 50)
        gains_db = self.random.uniform(-range_db, range_db, 9)
        gains_db += self.random.uniform(-0.4, 0.4) * range_db * np.arange(9) / 4
        gains = 10 ** (np.interp(octaves, np.arange(9), gains_db) / 20)
        spectrum = np.fft.rfft(samples) * gains
        return np.fft.irfft(spectrum, len(samples)).astype(np.float32)

    def _notes(self, count: int) -> Float32:
        """Steady tones with overtones: beeps, engines, melodies, chords."""
        time_s = np.arange(count) / RATE_HZ
        notes = np.zeros(count)
        length = int(self.random.uniform(0.1, 2) * RATE_HZ)
        decay = self.random.uniform(0, 6)
        tilt = self.random.uniform(0.3, 2)
        for start in range(0, count, length):
            part = time_s[start : start + length] - time_s[start]
            for _ in range(self.random.integers(1, 4)):
                pitch_hz = 60 * 2 ** self.random.uniform(0, 4.5)
                for overtone in range(1, self.random.integers(2, 12)):
                    if overtone * pitch_hz < RATE_HZ / 2:
                        phase = 2 * np.pi * overtone * pitch_hz * part
                        notes[start : start + length] += (
                            np.sin(phase + self.random.uniform(0, 6))
                            * overtone**-tilt
                            * np.exp(-decay * part)
                        )
        return notes.astype(np.float32)

    def _clicks(self, count: int) -> Float32:
        """Knocks, keys, ticks: short resonances at regular or random times."""
        knocks = np.zeros(count)
        every_s = 0.015 * 2 ** self.random.uniform(0, 6)
        irregular = self.random.choice([0.02, 0.1, 0.8])
        alike = self.random.random() < 0.6
        timbres = [self._knock() for _ in range(2 if alike else 12)]
        position_s = self.random.uniform(0, every_s)
        number = 0
        while position_s < SCENE_S - 0.3:
            knock = timbres[number % len(timbres)] * self.random.uniform(0.4, 1)
            start = int(position_s * RATE_HZ)
            knocks[start : start + len(knock)] += knock
            position_s += every_s * self.random.uniform(1 - irregular, 1 + irregular)
            number += 1
        # Where things knock, something mostly hums or hisses too.
        background = self.random.standard_normal(count).astype(np.float32)
        background = self._coloured(background, 20)
        quieter_db = self.random.uniform(5, 50)
        knocks = _at_level(knocks.astype(np.float32), 0)
        return knocks + _at_level(background, -quieter_db)

    def _knock(self) -> npt.NDArray[np.float64]:
        """Some damped resonances and a burst of noise."""
        time_s = np.arange(int(0.25 * RATE_HZ)) / RATE_HZ
        knock = self.random.standard_normal(len(time_s)) * self.random.uniform(0, 1)
        knock *= np.exp(-time_s * self.random.uniform(20, 300))
        for _ in range(self.random.integers(1, 7)):
            tone_hz = 100 * 2 ** self.random.uniform(0, 5.8)
            fade = np.exp(-time_s * self.random.uniform(10, 200))
            knock += np.sin(2 * np.pi * tone_hz * time_s) * fade
        return knock

    def _swell(self, samples: Float32) -> Float32:
        """Loudness that varies, as fast as syllables or slower."""
        points = round(SCENE_S * self.random.uniform(1, 9)) + 2
        gains_db = self.random.uniform(-self.random.uniform(5, 30), 0, points)
        places = np.linspace(0, points - 1, len(samples))
        gains = 10 ** (np.interp(places, np.arange(points), gains_db) / 20)
        return np.asarray(samples * gains, np.float32)

    def _speech_envelope(self, count: int) -> Float32:
        """How loud somebody speaks: noise that follows it is still no voice."""
        parts, length = [np.zeros(1, np.float32)], 1
        while length < count:
            clip = self._speech[self.random.integers(len(self._speech))]
            pause = int(self.random.uniform(0, 1) * RATE_HZ)
            parts += [np.abs(clip), np.zeros(pause, np.float32)]
            length += len(clip) + pause
        steps = np.concatenate(parts)[: count // 160 * 160].reshape(-1, 160).mean(1)
        smooth = np.convolve(steps, np.full(3, 1 / 3), "same")
        floor = 10 ** self.random.uniform(-3, -1) * smooth.max()
        places = np.arange(count) / 160
        return np.interp(places, np.arange(len(smooth)), smooth + floor).astype(
            np.float32
        )

    def _room(self, samples: Float32) -> Float32:
        if self.random.random() < 0.5:
            return samples
        room = self._rooms[self.random.integers(len(self._rooms))][:RATE_HZ]
        size = 1 << (len(samples) + len(room)).bit_length()
        spectrum = np.fft.rfft(samples, size) * np.fft.rfft(room, size)
        return np.asarray(np.fft.irfft(spectrum)[: len(samples)], np.float32)

    def _speed(self, samples: Float32, factor: float) -> Float32:
        places = np.arange(0, len(samples) - 1, factor)
        return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


def _at_level(samples: Float32, level_db: float) -> Float32:
    """The same sound at this RMS level, in dB of full scale."""
    rms = max(float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))), 1e-6)
    return samples * np.float32(10 ** (level_db / 20) / rms)


def windows(scenes: Scenes) -> Iterator[tuple[Float32, int]]:
    """Windows of the model's input with their targets."""
    random = scenes.random
    steps_a_frame = SPEC.hop_ms / 10  # activity is told every 10 ms
    for index in range(SPEECH_SCENES + OTHER_SCENES):
        is_speech = index < SPEECH_SCENES
        samples, active = scenes.speech() if is_speech else (scenes.other(), None)
        frames = log_mel(samples, SPEC)
        start = int(random.integers(4))
        for first in range(start, len(frames) - SPEC.frames_per_window + 1, 12):
            if active is not None:
                begin = round(first * steps_a_frame)
                heard = active[begin : begin + 100].sum() / 100
                if heard < LEAST_SPEECH_S:
                    continue
            window = frames[first : first + SPEC.frames_per_window]
            yield model_input(window, SPEC), int(is_speech)


def train(inputs: Float32, targets: npt.NDArray[np.int64]) -> bytes:
    """The full-int8 TFLite model of a network trained on these windows."""
    from conversion.tflite import convert
    from training.keras import limit_threads, set_seed, tf_keras

    limit_threads(1)
    set_seed(0)
    layers = tf_keras.layers
    shape = (SPEC.frames_per_window, SPEC.n_features)
    sound = layers.Input(shape)
    x = layers.Reshape((*shape, 1))(sound)
    for index, channels in enumerate(CHANNELS):
        stride = 2 if index < 2 else 1
        x = layers.Conv2D(channels, 3, stride, "same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    x = layers.MaxPooling2D((1, 2))(x)
    x = layers.Conv2D(32, (3, 1), padding="same", activation="relu")(x)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    model = tf_keras.Model(sound, layers.Dense(len(LABELS))(x))
    steps = EPOCHS * (len(inputs) // BATCH)
    model.compile(
        tf_keras.optimizers.AdamW(
            tf_keras.optimizers.schedules.CosineDecay(2e-3, steps), weight_decay=1e-3
        ),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(inputs, targets, BATCH, EPOCHS, shuffle=True, verbose=2)
    random = np.random.default_rng(0)
    return convert(model, inputs[random.choice(len(inputs), 400, replace=False)])


def main() -> None:
    """Train it and write the bundle."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    pairs = list(windows(Scenes(arguments.data, seed=0)))
    inputs = np.stack([window for window, _ in pairs])
    targets = np.array([target for _, target in pairs], np.int64)
    print(f"{len(targets)} windows, {targets.sum()} of speech")
    card = bundle.Card(
        name="edge-ser-speech",
        version="0.1.0",
        labels=LABELS,
        features=SPEC,
        hop_frames=HOP_FRAMES,
        quantization="int8",
        training_data=(
            {"name": "emodb", "licence": "CC0-1.0"},
            {"name": "noise (train)", "licence": "CC0-1.0, CC-BY-4.0"},
        ),
        intended_use="The speech gate of `edge-ser listen`: speech or another sound.",
        licence="Apache-2.0",
    )
    bundle.write(arguments.out, card, train(inputs, targets))


if __name__ == "__main__":
    main()
