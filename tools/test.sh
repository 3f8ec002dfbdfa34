#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install what is missing, build in build/ (or $BUILD) and pass all tests. Arguments go to cmake, for instance
#   BUILD=build-asan tools/test.sh -DGR_SANITIZE=ON
# PEERS=no leaves out the tests against ONNX's own Python packages, which have to be downloaded once.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$top/build}
peers=${PEERS:-yes}
"$top/tools/setup.sh" tests

GR_PYTHON=
if [ "$peers" = yes ]; then
    GR_PYTHON=$("$top/tests/venv.sh") || {
        echo "test.sh: the Python packages of tests/requirements.txt cannot be had; PEERS=no does without them" >&2
        exit 1
    }
fi
export GR_PYTHON
cmake -S "$top" -B "$build" -DGR_TESTS=ON -DGR_TOOLS=ON "-DGR_PYTHON=$GR_PYTHON" "$@"
cmake --build "$build" -j "$(nproc)"
ctest --test-dir "$build" --output-on-failure
[ "$peers" != yes ] || BUILD=$build "$top/tests/peer/run.sh" bert_tiny
