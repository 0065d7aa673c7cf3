"""Packaging: the wheel holds `edge_ser` alone; the other folders are development."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (HERE / "edge_ser" / "__init__.py").read_text()
)[1]

# The stack of the training stage: later TensorFlows force numpy 2, which
# tflite-runtime 2.14 does not survive, and pruning needs Keras 2.
TRAIN = [
    "tensorflow==2.17.1",
    "tf_keras==2.17.0",
    "tensorflow-model-optimization==0.8.0",
    "numpy==1.26.4",
    "soundfile>=0.12",  # decodes FLAC, OGG and MP3
    "soxr>=0.3",  # resamples whole corpora quickly
    "tqdm>=4.60",  # progress bars
    "matplotlib>=3.8",  # learning curves, confusion matrices
    "markdown>=3.5",  # tables of the HTML reports
    "audformat>=1.3",  # reads databases of that format; numpy 1 needs the next two
    "pandas<3",
    "pyarrow<20",
    "librosa==0.11.0",  # moves pitch, draws chroma
    "optuna>=4,<5",  # searches hyper-parameters
    "threadpoolctl>=3",  # keeps numpy's idle threads from taking processors
    "scikit-learn>=1.4",  # tells what the recording chain gives away; the baselines
    "hmmlearn>=0.3.3",  # the baselines', as the next two
    "opensmile>=2.5",
    "praat-parselmouth>=0.4.5",
]

setup(
    name="edge-ser",
    version=VERSION,
    description="Speech emotion recognition on the device: int8 TFLite and numpy",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["edge_ser", "edge_ser.*"]),
    package_data={"edge_ser": ["models/*.tflite", "py.typed"]},
    install_requires=[
        "numpy>=1.24; platform_machine != 'armv7l'",
        # 32-bit Raspberry Pi OS: the only interpreter there needs numpy 1.
        "numpy>=1.24,<2; platform_machine == 'armv7l'",
        "ai-edge-litert>=1.4,<3; platform_machine != 'armv7l'",
        "tflite-runtime==2.14.0; platform_machine == 'armv7l'",
    ],
    extras_require={
        "mic": ["pyaudio>=0.2.13"],
        "files": ["soundfile>=0.12", "soxr>=0.3"],
        "mqtt": ["paho-mqtt>=2,<3"],
        "vad": ["webrtcvad-wheels>=2.0.14"],
        "sign": ["cryptography>=38"],
        "train": TRAIN,
        # Pinned, since warnings are errors and a new rule of a linter is a failure.
        "test": [
            "pytest==9.2.0",
            "pytest-xdist==3.8.0",
            "hypothesis==6.170.15",
            "mypy==2.4.1",
            "ruff==0.17.5",
            "python-speech-features==0.6",
            "librosa==0.11.0",
            "yamllint==1.38.0",
        ],
    },
    entry_points={"console_scripts": ["edge-ser = edge_ser.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
    ],
)
