#!/bin/sh
# The Dockerfile's steps in a Debian root of its own, for where no engine is at hand, and then what a
# hijacked worker would try there, as its user. Needs root, debootstrap and 5 GB:
#
#     sh deploy/without_engine.sh FOLDER
set -eu
checkout=$(cd "$(dirname "$0")/.." && pwd)
root=$1
[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase \
    --include=python3,python3-venv,ca-certificates bookworm "$root" http://deb.debian.org/debian
cp /etc/resolv.conf "$root/etc/"
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$root/etc/ssl/certs/ca-certificates.crt"
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
mountpoint -q "$root/dev" || mount --bind /dev "$root/dev"
trap 'umount "$root/proc" "$root/dev"' EXIT
mkdir -p "$root/srv/autoinit"
git -C "$checkout" archive HEAD | tar -x -C "$root/srv/autoinit"

inside() {
    chroot "$@" sh -ec "cd /srv/autoinit; export PATH=/opt/python/bin:\$PATH \
        PYTHONDONTWRITEBYTECODE=1 TF_CPP_MIN_LOG_LEVEL=3 AUTOINIT_DATA=/data; $steps"
}

steps='
    [ -e /opt/python ] || python3 -m venv /opt/python
    pip install --quiet --no-cache-dir -r requirements.txt tensorflow
    pip install --quiet --no-cache-dir --no-deps --no-build-isolation --editable .
    id autoinit >/dev/null 2>&1 || useradd --create-home --uid 10001 autoinit
    install --directory --owner=autoinit --mode=0700 /data'
inside "$root"
steps='export HOME=/home/autoinit
    autoinit serve --check
    autoinit analyze sample:deep-tanh-mlp --samples 8'
inside --userspec=10001:10001 "$root"
