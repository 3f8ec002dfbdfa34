#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare graphrun with other engines on one model and print a Markdown table (and, with --json, the figures).

Every engine has a process of its own; they take turns (A B A B …), a few runs a turn, so that a machine that slows down
slows all of them. Shapes are BATCHxTOKENS, or BATCHxTOKENS@SHARE where that share of the tokens is real. Times are medians over all turns. Load time, first result and memory come from fresh processes. The
outputs of all engines are compared first: a fast wrong answer is no answer.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
TITLES = {"graphrun": "graphrun", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
TOLERANCE = 1e-4  # absolute and relative, as for all f32 models
TURN_SECONDS = 0.25  # a turn is as many runs as fit in this, at least 3 (1 if a run takes a second)
MEMORY_SHAPE = (1, 128)
BERT_VOCABULARY = 30522


class Peer:
    """A worker process and the conversation with it."""

    def __init__(self, engine, model, threads, vocabulary=BERT_VOCABULARY):
        self.engine = engine
        arguments = [engine, model, str(threads), str(vocabulary)]
        self.process = subprocess.Popen([sys.executable, HERE / "worker.py", *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, do, **order):
        try:
            self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SystemExit(f"bench: the {self.engine} process ended early (status {self.process.wait()})")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def read_shapes(path):
    shapes = []
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            line, _, share = line.partition("@")
            batch, tokens = line.split("x")
            shapes.append((int(batch), int(tokens), float(share or 1)))
    return shapes


def shape_name(batch, tokens, share):
    return f"{batch}x{tokens}" + (f", {share:.0%} of it real" if share < 1 else "")


def processor():
    """The processor's name and those of its instruction sets that decide the speed."""
    fields = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = fields.get("flags", "").split()
    sets = [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if f in flags]
    return " ".join([fields.get("model name", platform.machine()), *(["(" + ", ".join(sets) + ")"] if sets else [])])


def check_values(peers, shape):
    """The greatest difference of every engine's outputs from the last one's, as |a - b| / (1 + |b|)."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for peer in peers:
            files.append(os.path.join(folder, peer.engine + ".npz"))
            peer.ask("save", shape=shape, to=files[-1])
        results = [np.load(f) for f in files]
    reference, worst = results[-1], {}
    for peer, result in zip(peers[:-1], results):
        names = sorted(reference.files)
        if sorted(result.files) != names:
            raise SystemExit(f"bench: {peer.engine} gives the outputs {result.files}, not {names}")
        for name in names:
            if result[name].shape != reference[name].shape:
                raise SystemExit(f"bench: {peer.engine} gives '{name}' the shape {result[name].shape}")
        worst[peer.engine] = max(float(np.max(np.abs(result[n] - reference[n]) / (1 + np.abs(reference[n]))))
                                 for n in names)
        if not worst[peer.engine] <= TOLERANCE:
            raise SystemExit(f"bench: {peer.engine} differs by {worst[peer.engine]:.1e} at {shape[0]}x{shape[1]}")
    return worst


def time_shape(peers, shape, turns):
    """Medians in seconds by engine."""
    seconds = {peer.engine: [] for peer in peers}
    estimate = {peer.engine: peer.ask("run", shape=shape, times=1)["seconds"][0] for peer in peers}
    for _ in range(turns):
        for peer in peers:
            times = max(3 if estimate[peer.engine] < 1 else 1, round(TURN_SECONDS / estimate[peer.engine]))
            seconds[peer.engine] += peer.ask("run", shape=shape, times=times)["seconds"]
    return {engine: {"median": statistics.median(s), "min": min(s), "p90": float(np.quantile(s, 0.9)), "runs": len(s)}
            for engine, s in seconds.items()}


def fresh_processes(options, engine, repeats):
    """Load time and time to the first result (medians), and anonymous memory after a few runs of one shape."""
    loads, firsts, memory = [], [], []
    for _ in range(repeats):
        with Peer(engine, options.model, options.threads, options.vocabulary) as peer:
            answer = peer.ask("load", shape=MEMORY_SHAPE[:1] + (8,))
            loads.append(answer["load"])
            firsts.append(answer["first"])
            peer.ask("run", shape=MEMORY_SHAPE, times=3)
            memory.append(peer.ask("memory")["anonymous"])
    return {"load": statistics.median(loads), "first": statistics.median(firsts), "anonymous": max(memory)}


def table(report):
    """Rows of the Markdown table: one figure per engine, then how many times graphrun's the peers' is."""
    engines = report["engines"]
    own, peers = engines[0], engines[1:]
    head = [""] + [TITLES[e] for e in engines] + [f"{TITLES[p]} / graphrun" for p in peers]
    rows = []

    def row(title, values, form):
        ratios = [f"{values[p] / values[own]:.3g}" for p in peers]
        rows.append([title] + [form(values[e]) for e in engines] + ratios)

    milliseconds = lambda s: f"{s * 1e3:.1f} ms" if s < 0.2 else f"{s * 1e3:.0f} ms"
    mebibytes = lambda b: f"{b / 2**20:.0f} MiB"
    for shape, figures in report["shapes"].items():
        row(shape.replace("x", " × "), {e: figures[e]["median"] for e in engines}, milliseconds)
    fresh = report["fresh"]
    row("load", {e: fresh[e]["load"] for e in engines}, milliseconds)
    row("load and first result, 1 × 8", {e: fresh[e]["first"] for e in engines}, milliseconds)
    row("anonymous memory, 1 × 128", {e: fresh[e]["anonymous"] for e in engines}, mebibytes)
    row("anonymous memory, all shapes", report["anonymous"], mebibytes)
    lines = ["| " + " | ".join(r) + " |" for r in [head, ["---"] + ["---:"] * (len(head) - 1)] + rows]
    return "\n".join(lines)


def measure(options, shapes):
    report = {"model": options.model.name, "threads": options.threads, "engines": options.engines, "shapes": {},
              "difference": {}, "anonymous": {}, "machine": {"cpu": processor(), "cores": os.cpu_count(),
                                                           "system": platform.platform()}}
    say = lambda text: print(text, file=sys.stderr, flush=True)
    say("load time and memory, in fresh processes")
    report["fresh"] = {e: fresh_processes(options, e, options.repeats) for e in options.engines}
    peers = [Peer(e, options.model, options.threads, options.vocabulary) for e in options.engines]
    for peer in peers:
        peer.ask("load")
    report["versions"] = [peer.ask("version")["version"] for peer in peers]
    for shape in shapes:
        name = shape_name(*shape)
        say(name)
        report["difference"][name] = check_values(peers, shape)
        report["shapes"][name] = time_shape(peers, shape, options.turns)
    for peer in peers:
        report["anonymous"][peer.engine] = peer.ask("memory")["anonymous"]
        peer.__exit__()
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--peers", default="onnxruntime", help="comma-separated: onnxruntime, openvino")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=BERT_VOCABULARY, help="ids are random below this")
    parser.add_argument("--shapes", type=pathlib.Path, default=HERE / "shapes.txt")
    parser.add_argument("--turns", type=int, default=7, help="turns of each engine per shape")
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes for load time and memory")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here")
    options = parser.parse_args()
    options.engines = ["graphrun"] + [p for p in options.peers.split(",") if p]
    unknown = set(options.engines) - set(TITLES)
    if unknown or len(options.engines) < 2:
        parser.error(f"--peers {options.peers}: choose from onnxruntime, openvino")
    if os.getloadavg()[0] > 0.5:
        print(f"note: other work is running (load {os.getloadavg()[0]:.1f}), so times mean little", file=sys.stderr)
    report = measure(options, read_shapes(options.shapes))
    print(table(report))
    machine = report["machine"]
    worst = max(max(d.values()) for d in report["difference"].values())
    print(f"\n{report['model']}, f32, {options.threads} threads, medians of alternating runs; {machine['cpu']}, "
          f"{machine['cores']} cores; {', '.join(report['versions'])}. Outputs agree to {worst:.1e}.")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
