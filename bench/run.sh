#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compare graphrun with ONNX Runtime on BERT-base with random weights: sets up what that needs and prints the table.
#   bench/run.sh [--peers onnxruntime,openvino] [--threads 2] [--json FILE] [--turns N] …
# Everything it makes goes to build-bench/. MODEL=FILE compares on that model instead, GRAPHRUN_LIBRARY=libgraphrun.so
# measures that library instead of building one.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
work=$top/build-bench
venv=$work/venv
model=${MODEL:-$work/bert-base.onnx}

mkdir -p "$work"
if [ -z "${GRAPHRUN_LIBRARY:-}" ]; then
    cmake -S "$top" -B "$work/graphrun" -DCMAKE_BUILD_TYPE=Release -DGR_TESTS=OFF -DGR_TOOLS=OFF \
        -DGR_WERROR=OFF >"$work/configure.log" || { cat "$work/configure.log" >&2; exit 1; }
    cmake --build "$work/graphrun" --target graphrun -j "$(nproc)" >"$work/build.log" 2>&1 ||
        { tail -n 40 "$work/build.log" >&2; exit 1; }
    GRAPHRUN_LIBRARY=$work/graphrun/libgraphrun.so
fi
export GRAPHRUN_LIBRARY

requirements="-r $top/bench/requirements.txt"
case " $* " in *openvino*) requirements="$requirements -r $top/bench/requirements-openvino.txt" ;; esac
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
# shellcheck disable=SC2086 # several words on purpose
"$venv/bin/pip" install --quiet --disable-pip-version-check $requirements >&2

if [ ! -f "$model" ]; then
    "$venv/bin/python" "$top/tools/make_bert.py" "$model.part" >&2
    mv "$model.part" "$model"
fi
exec "$venv/bin/python" "$top/bench/compare.py" "$model" "$@"
