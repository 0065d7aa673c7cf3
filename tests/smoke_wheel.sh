#!/bin/sh
# Builds the wheel, installs it with its requirements in an empty environment and
# classifies with it, far from this checkout. usage: tests/smoke_wheel.sh PYTHON
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$1" -m venv "$folder/venv"
pip="$folder/venv/bin/pip --quiet --disable-pip-version-check"
$pip wheel --no-deps -w "$folder" "$here"
size=$(stat -c %s "$folder"/edge_ser-*.whl)
[ "$size" -le 1000000 ] || { echo "the wheel has $size bytes; at most 1000000"; exit 1; }
$pip install "$folder"/edge_ser-*.whl
"$folder/venv/bin/python" "$here/tests/arm/make_clip.py" "$folder/clip.wav" 140
cd "$folder"
env -u PYTHONPATH venv/bin/edge-ser classify --json clip.wav
env -u PYTHONPATH venv/bin/edge-ser doctor --no-microphone
echo "wheel: $size bytes, installed and heard"
