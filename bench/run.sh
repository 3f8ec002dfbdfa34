#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compare graphrun with ONNX Runtime and OpenVINO: sets up what that needs and prints the table of bench/rows.toml.
#   bench/run.sh [--quick] [--only ROW]... [--isa avx2] [--threads 2] [--json FILE] [--markdown] ...   (--help: all)
# Everything it makes goes to build-bench/. GRAPHRUN_LIBRARY=libgraphrun.so and GRAPHRUN=graphrun measure that library and
# that command instead of building them; PYTHON=FILE is a Python that has the packages already. OpenVINO goes into an
# environment of its own; where it cannot be had (or with OPENVINO=no) its column says so.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
work=$top/build-bench
mkdir -p "$work"

# environment FOLDER REQUIREMENTS: made once for each state of the file of requirements
environment() {
    if ! cmp -s "$2" "$1/requirements.txt"; then
        python3 -m venv "$1" && "$1/bin/pip" install --quiet --disable-pip-version-check -r "$2" >&2 || return 1
        cp "$2" "$1/requirements.txt"
    fi
}

if [ -z "${GRAPHRUN_LIBRARY:-}" ] || [ -z "${GRAPHRUN:-}" ]; then
    cmake -S "$top" -B "$work/graphrun" -DCMAKE_BUILD_TYPE=Release -DGR_TESTS=OFF -DGR_TOOLS=ON -DGR_WERROR=OFF \
        >"$work/configure.log" || { cat "$work/configure.log" >&2; exit 1; }
    cmake --build "$work/graphrun" --target graphrun graphrun_command -j "$(nproc)" >"$work/build.log" 2>&1 ||
        { tail -n 40 "$work/build.log" >&2; exit 1; }
    GRAPHRUN_LIBRARY=$work/graphrun/libgraphrun.so
    GRAPHRUN=$work/graphrun/graphrun
fi
export GRAPHRUN_LIBRARY GRAPHRUN

if [ -z "${PYTHON:-}" ]; then
    environment "$work/venv" "$top/bench/requirements.txt" || exit 1
    PYTHON=$work/venv/bin/python
fi
if [ -z "${OPENVINO_PYTHON:-}" ] && [ "${OPENVINO:-yes}" != no ]; then
    if environment "$work/venv-openvino" "$top/bench/requirements-openvino.txt"; then
        OPENVINO_PYTHON=$work/venv-openvino/bin/python
    else
        echo "bench: OpenVINO cannot be installed here" >&2
    fi
fi
export OPENVINO_PYTHON="${OPENVINO_PYTHON:-}"
exec "$PYTHON" "$top/bench/compare.py" --folder "$work/models" "$@"
