#!/bin/sh
# Makes the sample clips anew (needs: apt install espeak-ng sox). They show the
# mechanics of the programs, not their accuracy: a synthesiser feels nothing.
set -eu
cd "$(dirname "$0")"

# say NAME PITCH WORDS_A_MINUTE LOUDNESS TEXT
say() {
    espeak-ng -v en-us -p "$2" -s "$3" -a "$4" -w raw.wav "$5"
    sox -D -G raw.wav -r 16000 -c 1 -b 16 "$1.wav" vol "$6" remix 1
    rm raw.wav
}

say calm-low 15 110 60 "The kettle is on, and there is no hurry at all." 0.25
say excited-high 90 210 180 "We won! I can not believe it, we really won the game!" 0.9
say flat 40 150 100 "The train to the north leaves from platform four." 0.5
say harsh-loud 55 230 200 "Stop that right now, I told you to leave it alone!" 1.0

# A quarter of a minute: a quiet room, somebody excited, a pause, somebody low and slow.
room() { sox -D -R -n -r 16000 -c 1 -b 16 "$1" synth "$2" pinknoise vol 0.002; }
room r1.wav 1.5
room r2.wav 3
room r3.wav 3
sox -D r1.wav excited-high.wav r2.wav calm-low.wav r3.wav kitchen.wav
rm r1.wav r2.wav r3.wav
