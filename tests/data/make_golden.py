"""Makes golden_features.json: PCM and its features, from the float64 reference.

Batch, stream and any implementation in another language must give these numbers.
python tests/data/make_golden.py
"""

from __future__ import annotations

import json
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

import reference  # noqa: E402
from edge_ser.features import FeatureSpec  # noqa: E402
from voice import voice  # noqa: E402

SPECS = {
    "default": FeatureSpec(),
    "log-mel": FeatureSpec(n_mfcc=None, f_min_hz=50.0),
    "slaney": FeatureSpec(
        mel_scale="slaney", mel_norm="area", log="db", n_mels=40, n_mfcc=13
    ),
    "telephone": FeatureSpec(
        sample_rate_hz=8000,
        n_fft=256,
        f_max_hz=4000.0,
        n_mels=26,
        n_mfcc=13,
        pre_emphasis=0.97,
        liftering=22.0,
        window="hamming",
        first_coefficient="log_energy",
    ),
}


def main() -> None:
    pcm = np.round(voice(140, 0.2, level=0.2, seed=5) * 32768).astype(np.int16)
    cases = []
    for name, spec in SPECS.items():
        compute = reference.log_mel if spec.n_mfcc is None else reference.mfcc
        features = compute(pcm / 32768, spec)
        cases.append(
            {
                "name": name,
                "spec": spec.to_dict(),
                "features": [[round(float(x), 5) for x in row] for row in features],
            }
        )
    lines = ",\n".join(json.dumps(case) for case in cases)
    text = f'{{"pcm_int16": {json.dumps(pcm.tolist())},\n"cases": [\n{lines}\n]}}\n'
    (HERE / "golden_features.json").write_text(text)


if __name__ == "__main__":
    main()
