#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare generation with a cache: graphrun generate and ONNX Runtime with IO binding, alternating, on one model.

    bench/generate.py build/graphrun                        a GPT-2 of 124 million random weights, 128 + 64 tokens
    bench/generate.py build/graphrun --model model.onnx     inputs named as optimum's with-past export names them

ONNX Runtime's past is the present of the step before, bound as it is and never copied by this script; logits are bound
to memory of its own. Both must give the same tokens. Prints a Markdown table of the least times, and what reading the
weights once takes at the bandwidth of this machine.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort

TOP = pathlib.Path(__file__).resolve().parent.parent


class Peer:
    def __init__(self, path, threads):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.names = {i.name for i in self.session.get_inputs()}
        self.pasts = [i for i in self.session.get_inputs() if i.name.startswith("past_key_values.")]
        self.presents = [i.name.replace("past_key_values", "present") for i in self.pasts]

    def step(self, ids, length, past):
        values = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, length), np.int64),
                  "position_ids": np.arange(length - len(ids), length, dtype=np.int64)[None]}
        binding = self.session.io_binding()
        for name, value in values.items():
            if name in self.names:
                binding.bind_cpu_input(name, value)
        for value, info in zip(past, self.pasts):
            binding.bind_ortvalue_input(info.name, value)
        binding.bind_output("logits", "cpu")
        for name in self.presents:
            binding.bind_output(name, "cpu")
        self.session.run_with_iobinding(binding)
        logits, *present = binding.get_outputs()
        return int(logits.numpy()[0, -1].argmax()), present

    def run(self, prompt, new):
        empty = [ort.OrtValue.ortvalue_from_numpy(np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32))
                 for i in self.pasts]
        start = time.perf_counter()
        token, past = self.step(prompt, len(prompt), empty)
        first = time.perf_counter() - start
        tokens, steps = [token], []
        while len(tokens) < new:
            start = time.perf_counter()
            token, past = self.step([token], len(prompt) + len(tokens), past)
            steps.append(time.perf_counter() - start)
            tokens.append(token)
        return tokens, first, min(steps)


def own(program, model, prompt, new, threads, extra):
    command = [program, "generate", str(model), "--input", "-", "--max-new-tokens", str(new), "--threads", str(threads),
               "--json", "--repeat", "2", *extra]
    out = subprocess.run(command, input=" ".join(map(str, prompt)), capture_output=True, text=True)
    if out.returncode:
        sys.exit(out.stderr)
    r = json.loads(out.stdout)
    return r["sequences"][0], r["prompt_seconds"], r["least_step_seconds"]


def bandwidth():
    """GB/s of reading 512 MB with all cores, the best of some."""
    source = r"""#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <omp.h>
int main(void) { size_t n = (size_t)512 << 18; float *p = aligned_alloc(64, n * 4); memset(p, 0, n * 4); double best = 1e9;
for (int r = 0; r < 10; r++) { double t = omp_get_wtime(); float sum = 0;
_Pragma("omp parallel for reduction(+:sum)") for (size_t i = 0; i < n; i++) sum += p[i];
t = omp_get_wtime() - t; if (t < best && sum == 0) best = t; } printf("%g\n", (double)n * 4e-9 / best); }"""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "read")
        subprocess.run(["cc", "-O3", "-march=native", "-ffast-math", "-fopenmp", "-x", "c", "-", "-o", path], input=source,
                       text=True, check=True)
        return float(subprocess.run([path], capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--precision", action="append", default=[], help="of graphrun, beside f32; repeatable")
    o = parser.parse_args()
    if not o.model:
        o.model = pathlib.Path(tempfile.gettempdir(), "graphrun-bench-gpt2.onnx")
        if not o.model.exists():
            subprocess.run([sys.executable, TOP / "tools" / "make_gpt2.py", o.model], check=True, stdout=subprocess.DEVNULL)
    prompt = np.random.default_rng(1).integers(0, 50000, o.prompt).tolist()
    peer = Peer(o.model, o.threads)
    sides = {"graphrun f32": [], **{f"graphrun {p}": ["--precision", p] for p in o.precision}}
    best = {}

    def note(name, result):
        old = best.get(name, (None, 1e9, 1e9))
        best[name] = (result[0], min(old[1], result[1]), min(old[2], result[2]))

    for _ in range(o.rounds):
        for name, extra in sides.items():
            note(name, own(o.program, o.model, prompt, o.new, o.threads, extra))
        peer.run(prompt, 2)
        note("ONNX Runtime", peer.run(prompt, o.new))
    theirs = best["ONNX Runtime"]
    print(f"| {o.prompt} + {o.new} tokens, {o.threads} threads | prompt ms | ratio | step ms | ratio | same tokens |")
    print("|---|---|---|---|---|---|")
    for name, (tokens, first, step) in best.items():
        print(f"| {name} | {first * 1e3:.1f} | {theirs[1] / first:.2f} | {step * 1e3:.2f} | {theirs[2] / step:.2f} | "
              f"{'yes' if tokens == theirs[0] else 'no'} |")
    if o.model.stem == "graphrun-bench-gpt2":
        speed, weights = bandwidth(), 494e6
        print(f"\nReading {weights / 1e6:.0f} MB of weights once at {speed:.1f} GB/s takes {weights / speed / 1e6:.2f} ms.")


if __name__ == "__main__":
    main()
