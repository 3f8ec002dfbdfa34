#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Set up the tests' Python environment (build-venv/) from tests/requirements.txt and print the path of its Python.
# Does nothing but print when it is there already, so that tests run without a network from then on.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
venv=${GRAPHRUN_VENV:-$top/build-venv}
if ! cmp -s "$top/tests/requirements.txt" "$venv/requirements.txt"; then
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$top/tests/requirements.txt" >&2
    cp "$top/tests/requirements.txt" "$venv/requirements.txt"
fi
echo "$venv/bin/python"
