#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One engine in one process, told what to do by JSON lines on standard input; compare.py gives workers their turns.

A shape is [batch, tokens] or [batch, tokens, share]: then that share of the tokens is real, the rest is padding.

    {"do": "version"}                           -> {"version": text}
    {"do": "load", "shape": [b, s]}             -> {"load": s, "first": s}   first: with one run of that shape
    {"do": "run", "shape": [b, s], "times": n}  -> {"seconds": [..]}    the first run of a turn is not counted
    {"do": "save", "shape": [b, s], "to": f}    -> {}                   outputs as .npz, for the comparison of values
    {"do": "memory"}                            -> {"anonymous": bytes} above what the process had before load
"""
import json
import sys
import time

import numpy as np

from engines import ENGINES


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


def make_inputs(vocabulary, batch, tokens, share=1):
    rng = np.random.default_rng([batch, tokens])
    ids = rng.integers(0, vocabulary, (batch, tokens), np.int64)
    mask = np.ones((batch, tokens), np.int64)
    if share < 1:
        mask = (np.arange(tokens) < make_lengths(rng, batch, tokens, share)[:, None]).astype(np.int64)
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": np.zeros((batch, tokens), np.int64)}


class Worker:
    def __init__(self, engine, model, threads, vocabulary):
        self.kind, self.model, self.threads, self.vocabulary = ENGINES[engine], model, threads, vocabulary
        self.kind.load_library()
        self.floor = anonymous_bytes()

    def do_version(self):
        return {"version": self.kind.version()}

    def do_load(self, shape=None):
        """Load and, given a shape, run once: the time to the first result."""
        inputs = make_inputs(self.vocabulary, *shape) if shape else None
        start = time.perf_counter()
        self.engine = self.kind(self.model, self.threads)
        loaded = time.perf_counter()
        if shape:
            self.engine.prepare(inputs)
            self.engine.run()
        return {"load": loaded - start, "first": time.perf_counter() - start}

    def do_run(self, shape, times):
        self.engine.prepare(make_inputs(self.vocabulary, *shape))
        self.engine.run()
        seconds = []
        for _ in range(times):
            start = time.perf_counter()
            self.engine.run()
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds}

    def do_save(self, shape, to):
        self.engine.prepare(make_inputs(self.vocabulary, *shape))
        self.engine.run()
        outputs = self.engine.outputs()
        for name, array in outputs.items():
            if array.ndim == 3 and array.shape[:2] == tuple(shape[:2]):  # what stands in padding is nobody's
                array *= make_inputs(self.vocabulary, *shape)["attention_mask"][:, :, None]
        np.savez(to, **outputs)
        return {}

    def do_memory(self):
        return {"anonymous": anonymous_bytes() - self.floor}


def main():
    worker = Worker(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(worker, "do_" + order.pop("do"))(**order)), flush=True)


if __name__ == "__main__":
    main()
