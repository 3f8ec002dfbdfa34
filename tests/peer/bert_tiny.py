#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Small BERTs: every opset and head, weights inside, beside and in many files. Seconds; part of the test suite."""
from peer import main, made, make_inputs, same_as_onnxruntime

VOCABULARY = 500
SIZE = ["--size", "tiny", "--vocab", str(VOCABULARY), "--positions", "64", "--std", "0.1"]
CASES = [(opset, head, []) for opset in (11, 13, 14, 17, 20) for head in ("none", "mlm", "cls")]
CASES += [(14, "mlm", ["--external-data"]), (17, "none", ["--many-files"])]
SHAPES = [(1, 7), (3, 13), (1, 1)]


def test():
    for opset, head, storage in CASES:
        name = "-".join(["tiny", str(opset), head] + [s.strip("-") for s in storage])
        model = made(name, *SIZE, "--opset", str(opset), "--head", head, *storage)
        for batch, tokens in SHAPES:
            same_as_onnxruntime(name, model, make_inputs(batch, tokens, VOCABULARY))


main(test)
