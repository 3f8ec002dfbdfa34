#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One engine in a process of its own: orders as JSON lines on stdin, answers on stdout. compare.py gives workers their turns.

A shape is [batch, tokens] or [batch, tokens, share]: then that share of the tokens is real, the rest is padding.

    {"do": "version"}                           -> {"version": text, "computes": {precision: the engine's}}
    {"do": "load", "model": f, "threads": n, "precision": p, "vocabulary": n}
                                                -> {"load": s, "first": s}  with "shape": [b, s], first is with one run of it;
                                                   "picked": true: some rows are wanted of outputs [batch, tokens, ..]
    {"do": "run", "shape": [b, s], "times": n, "warm": true}
                                                -> {"seconds": [..]}    warm: after a run that is not counted
    {"do": "save", "shape": [b, s], "to": f}    -> {}                   outputs as .npz, for the comparison of values
    {"do": "shapes", "list": [[b, s], ..]}      -> {"seconds": [..]}    one run of each
    {"do": "sentences", "lengths": [..], "batch": n, "part": i, "parts": m}
                                                -> {"rate": tokens/s}   batches of n, or of |n| tokens if n < 0
    {"do": "generate", "prompt": n, "new": n}   -> {"first": s, "step": s, "tokens": [..]}
    {"do": "memory"}                            -> {"anonymous": bytes} above what the process had before load
"""
import json
import sys
import time

import numpy as np

from engines import ENGINES

PICKED_SHARE = 0.15  # of the rows of a masked language model
FLOAT_STD = 0.05


def anonymous_bytes():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    raise SystemExit("bench: /proc/self/status has no RssAnon")


def make_lengths(rng, batch, tokens, share):
    """Lengths of sentences: many short ones, one that fills its row, `share` of all tokens in the mean."""
    lengths = np.clip(rng.gamma(3, share * tokens / 3, batch), 3, tokens)
    for _ in range(20):
        lengths = np.clip(lengths * share * tokens / lengths.mean(), 3, tokens)
    lengths = lengths.astype(np.int64)
    lengths[batch // 2] = tokens
    return lengths


FREE_DIMS = {  # of the inputs of bare products, which dims are free
    "x": ("tokens", None), "query": ("batch", None, "sequence", None), "value": ("batch", None, "sequence", None),
    "key": ("batch", None, None, "sequence"),
}


def make_inputs(declared, vocabulary, batch, tokens, share=1, lengths=None):
    """Random values for the inputs that the model declares; masks say which tokens are real."""
    rng = np.random.default_rng([batch, tokens])
    if lengths is None:
        lengths = make_lengths(rng, batch, tokens, share) if share < 1 else np.full(batch, tokens)
    mask = (np.arange(tokens) < np.asarray(lengths)[:, None]).astype(np.int64)
    sizes = {"batch": batch, "sequence": tokens, "tokens": batch * tokens}
    inputs = {}
    for name, dims in declared.items():
        if name == "input_ids":
            inputs[name] = rng.integers(0, vocabulary, (batch, tokens), np.int64) * mask
        elif name == "attention_mask":
            inputs[name] = mask
        elif name == "token_type_ids":
            inputs[name] = np.zeros((batch, tokens), np.int64)
        else:
            free = FREE_DIMS[name]  # not all engines keep the names
            shape = [d if isinstance(d, int) else sizes[f] for d, f in zip(dims, free)]
            inputs[name] = rng.standard_normal(shape, np.float32) * np.float32(FLOAT_STD)
    return inputs


def picked_rows(batch, tokens):
    """Random numbers of rows of an output [batch, tokens, ..]."""
    rng = np.random.default_rng([batch, tokens, 1])
    return np.sort(rng.permutation(batch * tokens)[: max(1, round(PICKED_SHARE * batch * tokens))])


def batches(lengths, batch):
    """Slices of `lengths`: so many rows each, or so many tokens with their padding."""
    first = 0
    while first < len(lengths):
        last = first + 1
        while last < len(lengths):
            rows = last + 1 - first
            if rows > batch if batch > 0 else rows * max(lengths[first: last + 1]) > -batch:
                break
            last += 1
        yield lengths[first:last]
        first = last


class Worker:
    def __init__(self, engine):
        self.kind, self.kept, self.vocabulary = ENGINES[engine], None, None
        self.kind.load_library()
        self.floor = anonymous_bytes()

    def inputs(self, shape):
        """Of a shape; those of the last one are kept, so that turns time the engine alone."""
        if self.kept is None or self.kept[0] != shape:
            self.kept = shape, make_inputs(self.declared, self.vocabulary, *shape)
            if self.picked:
                self.engine.pick(picked_rows(*shape[:2]))
        return self.kept[1]

    def do_version(self):
        return {"version": self.kind.version(),
                "computes": {p: self.kind.computes(p) for p in ("f32", "bf16", "int8")}}

    def do_load(self, model, threads, precision, vocabulary, picked=False, shape=None):
        """Load and, given a shape, run once: the time to the first result."""
        self.vocabulary, self.picked = vocabulary, picked
        start = time.perf_counter()
        self.engine = self.kind(model, threads, precision)
        loaded = time.perf_counter()
        self.declared = self.engine.declared()
        if not shape:
            return {"load": loaded - start}
        inputs = make_inputs(self.declared, vocabulary, *shape)
        begin = time.perf_counter()
        self.engine.prepare(inputs)
        self.engine.run()
        return {"load": loaded - start, "first": loaded - start + time.perf_counter() - begin}

    def timed_run(self):
        start = time.perf_counter()
        self.engine.run()
        return time.perf_counter() - start

    def do_run(self, shape, times, warm=True):
        self.engine.prepare(self.inputs(shape))
        if warm:
            self.engine.run()
        return {"seconds": [self.timed_run() for _ in range(times)]}

    def do_save(self, shape, to):
        inputs = self.inputs(shape)
        self.engine.prepare(inputs)
        self.engine.run()
        outputs = self.engine.outputs()
        for name, array in outputs.items():
            if array.ndim == 3 and array.shape[:2] == tuple(shape[:2]):  # what stands in padding is nobody's
                array *= inputs["attention_mask"][:, :, None]
        np.savez(to, **outputs)
        return {}

    def do_shapes(self, list):
        seconds = []
        for shape in list:
            self.engine.prepare(make_inputs(self.declared, self.vocabulary, *shape))
            seconds.append(self.timed_run())
        return {"seconds": seconds}

    def do_sentences(self, lengths, batch, part, parts):
        """Tokens per second of every m-th batch from the i-th on. The making of random ids is not counted."""
        chosen = list(batches(lengths, batch))[part::parts]
        inputs = [make_inputs(self.declared, self.vocabulary, len(rows), max(rows), lengths=rows) for rows in chosen]
        start = time.perf_counter()
        self.engine.run_each(inputs)
        return {"rate": sum(map(sum, chosen)) / (time.perf_counter() - start)}

    def do_generate(self, prompt, new):
        ids = np.random.default_rng(prompt).integers(0, self.vocabulary, prompt).tolist()
        tokens, first, step = self.engine.generate(ids, new)
        return {"first": first, "step": step, "tokens": tokens}

    def do_memory(self):
        return {"anonymous": anonymous_bytes() - self.floor}


def main():
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(worker, "do_" + order.pop("do"))(**order)), flush=True)


if __name__ == "__main__":
    main()
