#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compare the graphrun command with ONNX Runtime on models of several sizes. Sets up its own Python environment.
#   tests/peer/run.sh                 bert_tiny, the part that the test suite runs
#   tests/peer/run.sh all             all of them: minutes, 7 GB of disk
#   tests/peer/run.sh minilm large    these
# BUILD is the folder with graphrun and libgraphrun.so (default build); models are kept in build-peer/.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$top/build}
export GRAPHRUN="${GRAPHRUN:-$build/graphrun}" GRAPHRUN_LIBRARY="${GRAPHRUN_LIBRARY:-$build/libgraphrun.so}"

python=${GR_PYTHON:-$("$top/tests/venv.sh")}
[ $# -gt 0 ] || set -- bert_tiny
[ "$1" != all ] || set -- bert_tiny bert_base minilm large
for name; do
    echo "== $name"
    "$python" "$top/tests/peer/$name.py"
done
