#!/bin/sh
# Renews requirements.lock from pyproject.toml: tools/lock.sh uv==VERSION
# One lock for every Python from 3.11 on and every platform, by markers; each file by its hash; no index is named in it.
set -eu

locker_venv=build/locker
if ! [ -x "$locker_venv/bin/uv" ]; then
    "${PYTHON:-python3}" -m venv "$locker_venv"
fi
"$locker_venv/bin/python" -m pip --disable-pip-version-check --no-input install --quiet "$1"

"$locker_venv/bin/uv" pip compile pyproject.toml \
    --no-config --quiet --upgrade \
    --universal --fork-strategy fewest --python-version 3.11 \
    --all-extras --group dev \
    --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command "make lock" \
    --output-file requirements.lock

grep -c '^[a-z0-9].*==' requirements.lock | sed 's/$/ packages in requirements.lock/'
