#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install what is missing and build graphrun in build/ (or $BUILD). Arguments go to cmake.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$top/build}
"$top/tools/setup.sh"
cmake -S "$top" -B "$build" -DGR_TESTS=OFF "$@"
cmake --build "$build" -j "$(nproc)"
