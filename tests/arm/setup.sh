#!/bin/sh
# An ARM userland with Python, numpy and TFLite runtimes, run here through qemu-user.
# usage (as root): tests/arm/setup.sh ROOT arm64|armhf
#
# Debian 12 is what Raspberry Pi OS bookworm is made from: Python 3.11, numpy 1.24.
# arm64 gets tflite-runtime and ai-edge-litert, armhf (armv7l) tflite-runtime, the only
# runtime with a wheel for it.
set -eu
root=$1 arch=$2
[ -e "$root/.ready" ] && exit 0
[ "$(id -u)" = 0 ] || { echo "needs root: a chroot and binfmt_misc"; exit 2; }
case $arch in
arm64) qemu=qemu-aarch64 wheel=aarch64 triplet=aarch64-linux-gnu ;;
armhf) qemu=qemu-arm wheel=armv7l triplet=arm-linux-gnueabihf ;;
*) echo "unknown architecture $arch; valid: arm64, armhf"; exit 2 ;;
esac

export DEBIAN_FRONTEND=noninteractive
command -v mmdebstrap >/dev/null && command -v "$qemu-static" >/dev/null ||
    apt-get install -y -qq --no-install-recommends \
        qemu-user-static binfmt-support mmdebstrap >/dev/null
mountpoint -q /proc/sys/fs/binfmt_misc ||
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
[ -e "/proc/sys/fs/binfmt_misc/$qemu" ] || update-binfmts --enable "$qemu"

rm -rf "$root"
mkdir -p "$(dirname "$root")"
mmdebstrap --quiet --variant=extract --architectures="$arch" \
    --include=python3,python3-numpy,libgcc-s1,libstdc++6,libc-bin \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    bookworm "$root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" 2>"$root.log" ||
    { cat "$root.log"; exit 1; }
# An extract-only root has no alternatives, so BLAS is found by name.
printf "/usr/lib/$triplet/%s\n" blas lapack >"$root/etc/ld.so.conf.d/00-extracted.conf"
chroot "$root" /sbin/ldconfig

# fetch FOLDER PLATFORM PACKAGE...: wheels of that platform, unpacked.
fetch() {
    folder=$root/opt/$1 platform=$2
    shift 2
    rm -rf "$root/opt/wheels"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps \
        --only-binary=:all: --python-version 3.11 --platform "$platform" \
        -d "$root/opt/wheels" "$@"
    for each in "$root"/opt/wheels/*.whl; do python3 -m zipfile -e "$each" "$folder"; done
    rm -rf "$root/opt/wheels"
}
fetch tflite-runtime "manylinux_2_34_$wheel" tflite-runtime==2.14.0
[ "$arch" = armhf ] ||
    fetch ai-edge-litert "manylinux_2_27_$wheel" ai-edge-litert==2.3.0
# What the tests need is pure Python.
fetch tests any 'pytest<9' iniconfig packaging pluggy 'hypothesis<6.140' attrs \
    sortedcontainers pygments
touch "$root/.ready"
