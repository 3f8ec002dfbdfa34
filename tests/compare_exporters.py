#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare two files that hold the same weights and come from different exporters or optimisers.

    compare_exporters.py GRAPHRUN FOLDER A:B... [--trials N] [--seed N] [--verbose]

For each pair, FOLDER/A/model.onnx and FOLDER/B/model.onnx: `graphrun compare` must find no divergence, and a counterpart
for at least half of the nodes of the smaller graph. Then N faults are planted in B, one at a time: compare must exit 1
and name the node that was changed, or the step that it is fused into as `graphrun explain --nodes` has it. Where the
fault keeps B from being fused as before, it may name the step of A that does what that of B did.
"""
import argparse
import json
import os
import random
import sys
import tempfile

import onnx

from compare_faults import Fault, activation, element, epsilon, name_all, permuted, run, scale, whole

# Not the fill of a mask: where passes make the mask anew, its node has no name that could be expected.
FAULTS = [element, whole, permuted, epsilon, scale, activation]


def path_of(folder, case):
    return os.path.join(folder, case, "model.onnx")


def compare(graphrun, a, b):
    code, out, err = run(graphrun, "compare", a, b, "--json", "--all")
    if code not in (0, 1):
        raise AssertionError(err.strip())
    return code, json.loads(out)


def steps_of(graphrun, path, names):
    """Names of the steps of the optimised graph that compute what these nodes of the file do."""
    code, out, err = run(graphrun, "explain", path, "--nodes", "--json")
    if code:
        raise AssertionError(err.strip())
    nodes = [n for n in json.loads(out)["nodes"] if n["name"] in names]
    return {n["into"] or n["name"] for n in nodes if n["fate"] in ("fused", "executed")}


def few(found):
    paired = found["paired"]
    return "only %d nodes correspond" % paired if 2 * paired < min(found["nodes_a"], found["nodes_b"]) else None


class Pair:
    def __init__(self, graphrun, a, source, scratch):
        self.graphrun, self.a = graphrun, a
        self.b, self.whole = os.path.join(scratch, "b.onnx"), os.path.join(scratch, "whole.onnx")
        self.model = onnx.load(source)
        name_all(self.model)
        onnx.save(self.model, self.whole)
        self.code, self.found = compare(graphrun, a, self.whole)
        self.counterpart = {v["node"]["name"]: v["node_a"]["name"] for v in self.found["values"] if v["node_a"]}

    def unchanged(self):
        return "a divergence where there is none" if self.code or self.found["diverges"] else few(self.found)

    def planted(self, fault, rng):
        model = onnx.ModelProto.FromString(self.model.SerializeToString())
        names = fault(model, rng)["nodes"]
        before = steps_of(self.graphrun, self.whole, names)
        if not before:
            raise Fault  # they are folded: a constant of a later node has another value
        onnx.save(model, self.b)
        code, found = compare(self.graphrun, self.a, self.b)
        if code == 0:
            return "no divergence, expected %s" % names
        first = found["first"]
        if first["node"]["name"] in set(names) | steps_of(self.graphrun, self.b, names):
            return None
        if first["node_a"]["name"] in {self.counterpart.get(step) for step in before}:
            return None
        return "node %s, %s in A, expected %s" % (first["node"]["name"], first["node_a"]["name"], names)

    def trial(self, seed, i):
        """What was tried, and what is wrong; the first kind of fault from the i-th on that the model has a place for."""
        for attempt in range(len(FAULTS)):
            fault = FAULTS[(i + attempt) % len(FAULTS)]
            try:
                return fault.__name__, self.planted(fault, random.Random("%d %d %d" % (seed, i, attempt)))
            except Fault:
                pass
        return "fault", "the model has no place for any"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("graphrun")
    parser.add_argument("folder")
    parser.add_argument("pairs", nargs="+")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    right = total = 0
    with tempfile.TemporaryDirectory() as scratch:
        for names in args.pairs:
            pair = Pair(args.graphrun, *[path_of(args.folder, case) for case in names.split(":")], scratch)
            results = [("unchanged", pair.unchanged())] + [pair.trial(args.seed, i) for i in range(args.trials)]
            for kind, wrong in results:
                total += 1
                right += wrong is None
                if wrong or args.verbose:
                    print("%s  %s, %s: %s" % ("WRONG" if wrong else "ok   ", names, kind, wrong or "as expected"))
    print("%d of %d right" % (right, total))
    return right != total


if __name__ == "__main__":
    sys.exit(main())
