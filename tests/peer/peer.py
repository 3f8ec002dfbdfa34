# SPDX-License-Identifier: Apache-2.0
"""Run the graphrun command and ONNX Runtime on the same model and inputs, and compare what they give."""
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(TOP / "tools"), str(TOP / "bench")]
GRAPHRUN = os.environ.get("GRAPHRUN", str(TOP / "build" / "graphrun"))
ATOL = RTOL = 1e-4  # float32 through 24 layers, with sums in another order, stays well below


class Failure(Exception):
    pass


def command(*arguments):
    """Run graphrun and return its standard output; a failure carries what it said."""
    done = subprocess.run([GRAPHRUN, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"graphrun {' '.join(map(str, arguments))}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def run_graphrun(model, inputs, *options):
    with tempfile.TemporaryDirectory() as folder:
        arguments = []
        for name, array in inputs.items():
            path = os.path.join(folder, name + ".npy")
            np.save(path, array)
            arguments += ["--input", f"{name}={path}"]
        path = os.path.join(folder, "out.npz")
        command(model, *arguments, *options, "--output", path)
        with np.load(path) as outputs:
            return {name: outputs[name] for name in outputs.files}


def run_onnxruntime(model, inputs):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def make_inputs(batch, tokens, vocabulary, seed=0):
    """Random ids; every row but the first ends early, so that masks are ragged."""
    rng = np.random.default_rng([seed, batch, tokens])
    lengths = rng.integers(1, tokens + 1, (batch, 1))
    lengths[0] = tokens
    place = np.arange(tokens)
    live = place < lengths
    return {"input_ids": np.where(live, rng.integers(0, vocabulary, (batch, tokens)), 0).astype(np.int64),
            "attention_mask": live.astype(np.int64),
            "token_type_ids": (live & (place >= lengths // 2)).astype(np.int64)}


def compare(title, got, expected):
    """Print the greatest error of every output; raise Failure beyond the tolerance."""
    if sorted(got) != sorted(expected):
        raise Failure(f"{title}: outputs {sorted(got)}, expected {sorted(expected)}")
    for name, want in expected.items():
        have = got[name]
        if have.shape != want.shape or have.dtype != want.dtype:
            raise Failure(f"{title}: {name} is {have.dtype}{list(have.shape)}, expected {want.dtype}{list(want.shape)}")
        error = np.abs(have.astype(np.float64) - want)
        close = error <= ATOL + RTOL * np.abs(want)  # false for NaN
        print(f"{title}: {name} {list(want.shape)}, greatest error {np.max(error, initial=0):.1e}", flush=True)
        if not close.all():
            at = np.unravel_index(np.argmin(close), close.shape)
            raise Failure(f"{title}: {name}{list(map(int, at))} is {have[at]}, expected {want[at]}")


def same_as_onnxruntime(title, model, inputs):
    compare(title, run_graphrun(model, inputs), run_onnxruntime(model, inputs))


def work_folder():
    folder = pathlib.Path(os.environ.get("PEER_WORK", TOP / "build-peer"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made(name, *options):
    """The path of a model of tools/make_bert.py, made unless it is there."""
    import make_bert

    path = work_folder() / name / "model.onnx"
    if not path.exists():
        part = work_folder() / (name + ".part")
        make_bert.make([str(part / "model.onnx"), *options])
        part.rename(path.parent)
    return path


def main(test):
    try:
        test()
    except Failure as failure:
        raise SystemExit(f"FAILED {failure}") from None
