#!/bin/sh
# Builds a virtual environment from requirements.lock, or brings it up to date: tools/make_venv.sh FOLDER
# Nothing is installed that the lock does not name by version and hash; the project itself is installed in place.
set -eu

venv=$1

find_python() {
    for python in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    echo "No Python 3.11 or newer was found. Install one, or name it: make setup PYTHON=/path/to/python3.11" >&2
    return 1
}

if ! [ -x "$venv/bin/python" ]; then
    python=$(find_python)
    echo "Building $venv with $("$python" --version) from requirements.lock (about half a minute)"
    if ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        echo "This Python can not make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
else
    echo "Bringing $venv up to date with requirements.lock"
fi

pip() {
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"
}

pip install --quiet --require-hashes --no-deps -r requirements.lock
pip install --quiet --no-deps --no-build-isolation --editable .
pip check --quiet || {
    echo "pyproject.toml asks for what requirements.lock does not have: run 'make lock', then try again" >&2
    exit 1
}
