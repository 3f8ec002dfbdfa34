#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""BERT-base with random weights against ONNX Runtime, padded and not; both spellings of LayerNorm."""
from peer import main, made, make_inputs, same_as_onnxruntime

SHAPES = [(1, 8), (1, 32), (1, 128), (5, 37), (2, 512), (8, 128)]


def test():
    for opset, head in ((14, "none"), (17, "cls")):
        # 0.04 instead of 0.02 makes attention look at some tokens more than at others.
        model = made(f"base-{opset}-{head}", "--opset", str(opset), "--head", head, "--std", "0.04")
        for batch, tokens in SHAPES:
            same_as_onnxruntime(model.parent.name, model, make_inputs(batch, tokens, 30522))


main(test)
