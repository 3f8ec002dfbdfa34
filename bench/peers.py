# SPDX-License-Identifier: Apache-2.0
"""Engines at work: a process each, and the turns they take (A B A B …) so that a machine that slows down slows all."""
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
TURN_SECONDS = 0.25  # a turn is as many runs as fit in this, at least 3 (1 if a run takes a second)
SLOW = 1.0  # seconds of a run; such runs need no run before them that is not counted


class Ended(Exception):
    """A worker's process ended before it answered."""


class Peer:
    """A worker process and the conversation with it. `name` is its column in the table."""

    def __init__(self, name, engine, python, environment):
        self.name, self.engine = name, engine
        self.process = subprocess.Popen([python, HERE / "worker.py", engine], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})

    def ask(self, do, **order):
        try:
            self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Ended(f"{self.name} ended early (status {self.process.wait()})")
        return json.loads(line)

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


class Roof:
    """Instead of an engine the machine: the least time for a shape's products and weights, at the speeds that products
    whose operands are in first-level caches (in float32) and memory have at that moment. `picked`: the rows of a
    sequence that are wanted, by batch and tokens; of one sequence only."""

    name = "roof"

    def __init__(self, command, model, threads, environment, picked=None):
        self.command = [command, "profile", model, "--runs", "1", "--json", "--threads", str(threads)]
        self.environment, self.picked = {**os.environ, **environment}, picked

    def ask(self, _, shape, times, warm=False):
        batch, tokens = shape[:2]
        order = ["--shape", f"{batch}x{tokens}"]
        if self.picked:
            order += ["--positions", ",".join(map(str, self.picked(batch, tokens)))]
        told = subprocess.run([*self.command, *order], check=True, capture_output=True, env=self.environment).stdout
        return {"seconds": [json.loads(told)["least_seconds"]]}


def summary(seconds):
    return {"value": statistics.median(seconds), "min": min(seconds), "p90": float(np.quantile(seconds, 0.9)),
            "runs": len(seconds)}


def each(peers, notes, do):
    """do(peer) for each of a list of peers, from which those that end early are taken, with a note."""
    results = {}
    for peer in list(peers):
        try:
            results[peer.name] = do(peer)
        except Ended as end:
            notes.append(str(end))
            peers.remove(peer)
    return results


def time_shape(peers, shape, turns, notes):
    """Seconds by peer."""
    seconds = {peer.name: [] for peer in peers}
    estimate = each(peers, notes, lambda p: p.ask("run", shape=shape, times=1)["seconds"][0])

    def turn(peer):
        guess = estimate[peer.name]
        times = max(1 if guess > SLOW else 3, round(TURN_SECONDS / guess))
        seconds[peer.name] += peer.ask("run", shape=shape, times=times, warm=guess < SLOW)["seconds"]

    for _ in range(turns):
        each(peers, notes, turn)
    return {peer.name: summary(seconds[peer.name]) for peer in peers}


@contextlib.contextmanager
def neighbour(wanted):
    """Another process that takes the first of our cores, if wanted."""
    if not wanted:
        yield
        return
    core = min(os.sched_getaffinity(0))
    busy = subprocess.Popen([sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"])
    try:
        yield
    finally:
        busy.kill()
        busy.wait()
