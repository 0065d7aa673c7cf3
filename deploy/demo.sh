#!/bin/sh
# What `make demo` shows: usage: deploy/demo.sh EDGE_SER, from the checkout's root.
set -eu
edge_ser=$1
show() {
    printf '\n$ edge-ser %s\n' "$*"
    "$edge_ser" "$@"
}

echo "The clips are synthesised: they show the mechanics, not the accuracy."
show classify examples/audio/calm-low.wav examples/audio/excited-high.wav \
    examples/audio/flat.wav examples/audio/harsh-loud.wav
show listen --file examples/audio/kitchen.wav --real-time
