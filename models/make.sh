#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Make the models of this folder again. Needs tools/requirements-export.txt in the Python that PYTHON names:
#   python3 -m venv build-export && build-export/bin/pip install -r tools/requirements-export.txt
#   PYTHON=build-export/bin/python models/make.sh
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
size="--layers 2 --hidden 32 --heads 2 --intermediate 128 --positions 128 --sets 1x7,2x9"

make() {
    name=$1
    shift
    # shellcheck disable=SC2086 # several words on purpose
    "${PYTHON:-python3}" "$top/tools/export.py" $size "$@" --output "$top/models/$name"
}

make bert-tiny --config bert --vocab 3000 --task masked-lm --opset 14 --attention eager --seed 1
make bert-tiny-cls --config bert --vocab 3000 --task sequence-classification --labels 3 --opset 17 --seed 2
make bert-tiny-encoder --config bert --vocab 3000 --exporter dynamo --opset 20 --seed 3
make gpt2-tiny --config gpt2 --vocab 1000 --task causal-lm --opset 17 --seed 4

for form in past plain merged; do
    mkdir -p "$top/models/decoder-$form"
    "${PYTHON:-python3}" "$top/tools/make_gpt2.py" "$top/models/decoder-$form/model.onnx" --form $form --layers 2 \
        --hidden 16 --heads 2 --vocab 60 --positions 160 --std 0.4 --seed 5
done
