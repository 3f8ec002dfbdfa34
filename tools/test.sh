#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install what is missing, build in build/ (or $BUILD) and pass all tests. Arguments go to cmake, for instance
#   BUILD=build-asan tools/test.sh -DGR_SANITIZE=ON
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$top/build}
"$top/tools/setup.sh" tests
GR_PYTHON=$("$top/tests/venv.sh")
export GR_PYTHON
cmake -S "$top" -B "$build" -DGR_TESTS=ON -DGR_TOOLS=ON "-DGR_PYTHON=$GR_PYTHON" "$@"
cmake --build "$build" -j "$(nproc)"
ctest --test-dir "$build" --output-on-failure
BUILD=$build "$top/tests/peer/run.sh" bert_tiny
