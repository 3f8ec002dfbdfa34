# SPDX-License-Identifier: Apache-2.0
"""How a row of the table is measured, by its kind. Each function gives {column: {"value": figure, ..}}, less is better
except where the unit is a rate."""
import contextlib
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np

import models
from peers import Ended, Peer, Roof, each, neighbour, summary, time_shape
from worker import picked_rows

OWN, BARE, ROOF, FAIR = "graphrun", "bare", "roof", "fair"  # fair: as alone, on the cores that a neighbour leaves
TOLERANCE = 1e-4  # absolute and relative, as for all f32 models
MOST_ROWS, MOST_TOKENS = 8, 512  # of random shapes
SETTLED = 10  # shapes after which memory and latencies are expected to stay
SHAPES_A_TURN = 10
BUCKETS = 20  # of random shapes, by their number of tokens
BATCHES = (8, 32, 128, -512, -1024)  # rows, or tokens with their padding
UNSORTED_BATCH = 32
PART = 1000  # sentences, after which the next engine has its turn
ROOF_ROWS = 32  # of the mean length
PROMPT, NEW = 128, 64
WEIGHT_BYTES = {"f32": 4, "bf16": 2, "int8": 1}
WORDS, SPREAD, LONGEST = 22, 0.55, 128  # median, log-normal spread and most of the tokens of a sentence; the mean is 25


def bare(engine):
    """The name of an engine that runs the layers' products alone."""
    return BARE if engine == OWN else f"{BARE} {engine}"


def dense(engine):
    """The name of an engine that runs a model whose rows are all read."""
    return f"dense {engine}"


def parse_shape(text):
    size, _, share = text.partition("@")
    return [*map(int, size.split("x")), float(share or 1)]


def has_bf16():
    return any(f in pathlib.Path("/proc/cpuinfo").read_text() for f in ("avx512_bf16", "amx_bf16"))


def cosines(result, reference):
    """The least and the mean over rows of the last axis, zero rows (padding) left out; the worst output counts."""
    least, mean = 1.0, 1.0
    for name in reference.files:
        a, b = (x[name].reshape(-1, x[name].shape[-1]).astype(np.float64) for x in (result, reference))
        norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        rows = norm > 0
        cosine = (a * b).sum(1)[rows] / norm[rows]
        least, mean = min(least, float(cosine.min())), min(mean, float(cosine.mean()))
    return {"least": least, "mean": mean}


def difference(result, reference):
    """The greatest |a - b| / (1 + |b|)."""
    return max(float(np.max(np.abs(result[n] - reference[n]) / (1 + np.abs(reference[n])))) for n in reference.files)


class Measure:
    """What rows share: the engines' processes, and measurements that several rows show."""

    def __init__(self, options, engines):
        self.o, self.engines = options, engines  # engines: {name: (python, environment)}
        self.peers, self.shared = {}, {}

    def spawn(self, engine, name=None):
        return Peer(name or engine, engine, *self.engines[engine])

    def model(self, name, plan=False):
        path = models.make(name, self.o.folder, self.o.size)
        if not plan:
            return os.fspath(path)
        to = path.with_suffix(".plan")
        if ("plan", name) not in self.shared:
            command = [self.o.command, "compile", path, "-o", to, "--quiet", "--threads", str(self.o.threads)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            self.shared["plan", name] = True
        return os.fspath(to)

    def load(self, peer, row, shape=None, model=None):
        model = model or row["model"]
        file = self.model(model, row.get("plan", False) and peer.engine == OWN)
        return peer.ask("load", model=file, threads=self.o.threads, precision=row.get("precision", "f32"),
                        vocabulary=models.vocabulary(model, self.o.size), picked=row.get("picked", False), shape=shape)

    def ready(self, row, engine, notes, model=None, precision=None, name=None):
        """A loaded process, kept until a row of another model comes. None if it ended early."""
        wanted = dict(row, model=model or row["model"], precision=precision or row.get("precision", "f32"))
        name = name or engine
        key = name, wanted["model"], wanted["precision"]
        if key not in self.peers:
            peer = self.spawn(engine, name)
            try:
                self.load(peer, wanted)
            except Ended as end:
                notes.append(str(end))
                return None
            self.peers[key] = peer
        return self.peers[key]

    def close(self, but=()):
        for key in [k for k in self.peers if k[1] not in but]:
            self.peers.pop(key).close()

    def contestants(self, row, notes):
        self.close(but=(row["model"], row.get("dense")))
        return [p for p in (self.ready(row, e, notes) for e in self.engines) if p]

    def roof(self, row):
        return Roof(self.o.command, self.model(row["model"]), self.o.threads, self.engines[OWN][1],
                    picked_rows if row.get("picked") else None)

    # -- one shape, alternating ----------------------------------------------------------------------------------

    def check_values(self, row, peers, shape, notes):
        """f32 against the other engines; fewer bits against graphrun's f32: {column: what differs}."""
        exact = row.get("precision", "f32") == "f32"
        everyone = list(peers)
        if not exact:
            reference = self.ready(row, OWN, notes, row["model"].removesuffix("-int8"), "f32", "reference")
            everyone.append(reference)
        with tempfile.TemporaryDirectory() as folder:
            file = lambda p: os.path.join(folder, p.name + ".npz")
            each(everyone, notes, lambda p: p.ask("save", shape=shape, to=file(p)))
            results = {p.name: np.load(file(p)) for p in everyone}
        if not exact:
            return {p.name: cosines(results[p.name], results["reference"]) for p in everyone[:-1]}
        differ = {p.name: difference(results[OWN], results[p.name]) for p in everyone if p.name != OWN}
        for name, most in differ.items():
            if not most <= TOLERANCE:
                notes.append(f"WRONG VALUES: {most:.1e} from {name}")
        return {OWN: {"difference": max(differ.values(), default=0)}}

    def time(self, row, shape, notes):
        peers = self.contestants(row, notes)
        shape = parse_shape(shape)
        values = self.check_values(row, peers, shape, notes)
        if row.get("bare"):
            peers += [self.ready(row, e, notes, "bert-products", "f32", bare(e)) for e in self.engines]
        if row.get("dense"):
            peers += [self.ready(row, e, notes, row["dense"], name=dense(e)) for e in self.engines]
        if row.get("roof"):
            peers.append(self.roof(row))
        with neighbour(row.get("neighbour")):
            figures = time_shape([p for p in peers if p], shape, self.o.turns, notes)
        if row.get("neighbour"):
            alone = time_shape(peers[:1], shape, self.o.turns, notes)[OWN]["value"]
            figures[FAIR] = {"value": alone * self.o.threads / min(self.o.threads, len(os.sched_getaffinity(0)) - 0.5)}
        for name, figure in figures.items():
            figure.update(values.get(name, {}))
        return figures

    # -- whole processes -----------------------------------------------------------------------------------------

    def run_command(self, row, shape):
        """The command from its start to its end, which is the first result."""
        rng, vocabulary = np.random.default_rng(shape[:2]), models.vocabulary(row["model"], self.o.size)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as ids:
            for _ in range(shape[0]):
                print(*rng.integers(0, vocabulary, shape[1]), file=ids)
            ids.flush()
            python, environment = self.engines[OWN]
            command = [self.o.command, self.model(row["model"], row.get("plan", False)), "--input", ids.name,
                       "--threads", str(self.o.threads)]
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
            return time.perf_counter() - start

    def first_result(self, engine, row, shape):
        """In a process of its own, which has begun before."""
        with contextlib.closing(self.spawn(engine)) as peer:
            return self.load(peer, row, shape)["first"]

    def start(self, row, shape, notes):
        self.close()
        seconds, shape = {}, parse_shape(shape)
        self.model(row["model"], row.get("plan", False))
        for _ in range(self.o.repeats):
            for engine in self.engines:
                try:
                    taken = self.run_command(row, shape) if engine == OWN else self.first_result(engine, row, shape)
                    seconds.setdefault(engine, []).append(taken)
                except Ended as end:
                    notes.append(str(end))
        return {engine: summary(s) for engine, s in seconds.items()}

    # -- many shapes in one process ------------------------------------------------------------------------------

    def random_shapes(self, row, notes):
        """Latencies and memory, by engine; kept, because two rows show them."""
        key = "shapes", row["model"], row.get("plan", False)
        if key in self.shared:
            return self.shared[key]
        self.close()
        rng = np.random.default_rng(0)
        shapes = [[int(rng.integers(1, MOST_ROWS + 1)), int(rng.integers(3, MOST_TOKENS + 1))]
                  for _ in range(self.o.shapes)]
        engines = [OWN] if row.get("plan") and ("shapes", row["model"], False) in self.shared else list(self.engines)
        peers = [self.spawn(e) for e in engines]
        each(peers, notes, lambda p: self.load(p, row))
        found = {p.name: {"seconds": [], "memory": []} for p in peers}

        def turn(peer, part):
            found[peer.name]["seconds"] += peer.ask("shapes", list=part)["seconds"]
            found[peer.name]["memory"].append(peer.ask("memory")["anonymous"])

        for first in range(0, len(shapes), SHAPES_A_TURN):
            each(peers, notes, lambda p: turn(p, shapes[first:first + SHAPES_A_TURN]))
        for peer in peers:
            peer.close()
        found = {p.name: found[p.name] for p in peers}
        if engines == [OWN]:
            found = {**self.shared["shapes", row["model"], False], **found}
        self.shared[key] = {**found, "shapes": shapes}
        return self.shared[key]

    def memory(self, row, _, notes):
        found = self.random_shapes(row, notes)
        return {e: {"value": f["memory"][-1], "settled": f["memory"][0], "most": max(f["memory"])}
                for e, f in found.items() if e != "shapes"}

    def latency(self, row, _, notes):
        found = self.random_shapes(row, notes)
        tokens = np.array([b * s for b, s in found["shapes"]])[SETTLED:]
        order = np.array_split(np.argsort(tokens), min(BUCKETS, max(1, len(tokens) // 5)))
        figures = {}
        for engine, f in found.items():
            if engine == "shapes":
                continue
            each_token = np.array(f["seconds"])[SETTLED:] / tokens
            spread = np.concatenate([each_token[part] / np.median(each_token[part]) for part in order])
            figures[engine] = {"value": float(np.quantile(spread, 0.99)), "runs": len(spread)}
        return figures

    # -- sentences -----------------------------------------------------------------------------------------------

    def sentences(self, row, _, notes):
        """Tokens per second; padding is no token. The engines take turns with parts of the sentences, each with the way
        to batch that was its fastest before."""
        rng = np.random.default_rng(0)
        lengths = np.clip(rng.lognormal(np.log(WORDS), SPREAD, self.o.sentences), 3, LONGEST).astype(int).tolist()
        parts, mean = max(1, len(lengths) // PART), round(sum(lengths) / len(lengths))

        def rate(peer, batch, turn):
            given = sorted(lengths) if row["sorted"] or peer.name == OWN else lengths
            return peer.ask("sentences", lengths=given, batch=batch, part=turn % parts, parts=parts)["rate"]

        def fastest(peer):
            ways = BATCHES if row["sorted"] or peer.name == OWN else [UNSORTED_BATCH]
            return max(ways, key=lambda batch: max(rate(peer, batch, turn) for turn in range(2)))

        peers, rates = self.contestants(row, notes), {}
        batch = each(peers, notes, fastest)
        for turn in range(max(parts, self.o.turns)):
            for name, value in each(peers, notes, lambda p: rate(p, batch[p.name], turn)).items():
                rates.setdefault(name, []).append(value)
            if row.get("roof") and not (row.get("precision") == "bf16" and has_bf16()):
                least = self.roof(row).ask("run", shape=[ROOF_ROWS, mean], times=1)["seconds"][0]
                rates.setdefault(ROOF, []).append(ROOF_ROWS * mean / least)
        return {name: {"value": statistics.median(r), "batch": batch.get(name)} for name, r in rates.items()}

    # -- generation ----------------------------------------------------------------------------------------------

    def generate(self, row, notes):
        key = "generate", row["model"], row.get("precision", "f32")
        if key not in self.shared:
            peers, answers = self.contestants(row, notes), {}
            for _ in range(1 + self.o.turns):  # the first is not counted
                for name, answer in each(peers, notes, lambda p: p.ask("generate", prompt=PROMPT, new=NEW)).items():
                    answers.setdefault(name, []).append(answer)
            self.shared[key] = {p.name: answers[p.name][1:] for p in peers}
        return self.shared[key]

    def prefill(self, row, _, notes, what="first"):
        answers = self.generate(row, notes)
        own = answers[OWN][0]["tokens"]
        figures = {}
        for name, runs in answers.items():
            alike = next((i for i, (a, b) in enumerate(zip(own, runs[0]["tokens"])) if a != b), len(own))
            figures[name] = {**summary([r[what] for r in runs]), "same_tokens": alike}
        return figures

    def step(self, row, _, notes):
        """The roof of a step is that of its weights, in the row's precision."""
        figures = self.prefill(row, _, notes, "step")
        if row.get("roof"):
            roof = self.roof(row)
            seconds = [roof.ask("run", shape=[1, 1], times=1)["seconds"][0] for _ in range(self.o.turns)]
            share = WEIGHT_BYTES[row.get("precision", "f32")] / WEIGHT_BYTES["f32"]
            figures[ROOF] = {"value": share * statistics.median(seconds)}
        return figures
