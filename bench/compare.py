#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare graphrun with ONNX Runtime and OpenVINO and print a table (Markdown and JSON). rows.toml says what is measured.

Every engine has a process of its own; they take turns, so that a machine that slows down slows all of them. Outputs are
compared before anything is timed: a fast wrong answer is no answer.
"""
import argparse
import datetime
import json
import math
import os
import pathlib
import platform
import re
import sys
import tomllib

from measure import BARE, FAIR, OWN, ROOF, Measure, bare, dense, parse_shape
from peers import Ended, Peer

HERE = pathlib.Path(__file__).resolve().parent
TITLES = {"graphrun": "graphrun", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "bare": "bare products",
          "roof": "roof"}
PEERS = ("onnxruntime", "openvino")
PRECISE_NOTE = {"quick": "two layers instead of twelve (--quick)", "tiny": "tiny models (--size tiny): figures mean nothing"}


def processor():
    """The processor's name and those of its instruction sets that decide the speed."""
    fields = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = fields.get("flags", "").split()
    sets = [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if f in flags]
    return " ".join([fields.get("model name", platform.machine()), *(["(" + ", ".join(sets) + ")"] if sets else [])])


def machine():
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())
    return {"cpu": processor(), "cores": len(os.sched_getaffinity(0)), "memory": int(memory[1]) * 1024,
            "system": f"{platform.system()} {platform.release()}", "load": round(os.getloadavg()[0], 1),
            "date": datetime.date.today().isoformat()}


# -- what a row says ----------------------------------------------------------------------------------------------


def show(kind, value):
    if kind == "memory":
        return f"{value / 2**20:.0f} MiB"
    if kind == "latency":
        return f"{value:.2f}"
    if kind == "sentences":
        return f"{value:,.0f} tokens/s"
    return f"{value * 1e3:.2f} ms" if value < 0.01 else f"{value * 1e3:.1f} ms" if value < 0.2 else f"{value * 1e3:.0f} ms"


def ratios(row, figures):
    """How many times better graphrun is than each peer; `bare` and `roof`: how many times longer it takes than these."""
    own, found = figures[OWN]["value"], {}
    for name in (*PEERS, BARE, ROOF):
        if name in figures:
            other = figures[name]["value"]
            rate, least = row["kind"] == "sentences", name in (BARE, ROOF)
            found[name] = own / other if rate != least else other / own
    return found


def bound(row, figures, peers):
    """What the best of these peers / graphrun would be if graphrun took no longer than the roof, and than the products
    alone of the engine that is fastest at them: {where: ratio}."""
    best = max if row["kind"] == "sentences" else min
    values = {name: figure["value"] for name, figure in figures.items()}
    theirs = [values[p] for p in peers if p in values]
    bounds = {"at the roof": [ROOF], "at its speed alone on half a core less": [FAIR],
              "with the fastest engine's products alone": [bare(e) for e in (OWN, *PEERS)]}
    found = {}
    for where, names in bounds.items():
        least = [values[n] for n in names if n in values]
        if theirs and least:
            found[where] = best(least) / best(theirs) if best is max else best(theirs) / best(least)
    return found


def on_top(figures):
    """How much greater the better peer's ratio is than that of the better one of a dense model; None without peers."""
    peers = [p for p in PEERS if p in figures and dense(p) in figures]
    least = lambda names: min(figures[n]["value"] for n in names)
    if not peers:
        return None
    return least(peers) / figures[OWN]["value"] / (least(map(dense, peers)) / figures[dense(OWN)]["value"])


def judge(row, figures, ratio):
    """The aims in words and whether they are reached: yes, no, or the bound that does not reach them either. A dash
    where what they compare with is missing."""
    words, reached = [], []
    for what, asked in row.get("aim", {}).items():
        if what == "best":
            against = [ratio[p] for p in PEERS if p in ratio]
            words.append(f"≥ {asked:g}")
            reached.append(verdict(min(against) >= asked if against else None, asked, bound(row, figures, PEERS)))
        elif what == "dense":
            words.append(f"≥ {asked:g} on top of the dense ratio")
            top = on_top(figures)
            reached.append(verdict(top >= asked if top else None, asked))
        elif what == "own":
            words.append(f"≤ {asked:g} itself")
            reached.append(verdict(figures[OWN]["value"] <= asked, asked))
        elif what == "cosine":
            words.append(f"cosine ≥ {asked:g}")
            reached.append(verdict(figures[OWN]["least"] >= asked, asked))
        elif what == "cosine_peer":
            words.append("cosine above ONNX Runtime's")
            other = figures.get("onnxruntime")
            reached.append(verdict(figures[OWN]["mean"] >= other["mean"] if other else None, asked))
        elif what == BARE:
            words.append(f"≤ {asked:g} × bare")
            reached.append(verdict(ratio[BARE] <= asked if BARE in ratio else None, asked))
        else:
            words.append(f"≥ {asked:g} × {TITLES[what]}")
            reached.append(verdict(ratio[what] >= asked if what in ratio else None, asked, bound(row, figures, [what])))
    return words, reached


def verdict(reached, asked, most=None):
    """yes, no or a dash; of what is out of reach, the first bound that says so."""
    for where, ratio in (most or {}).items():
        if reached is False and ratio < asked:
            return f"no: {math.floor(ratio * 100) / 100:.2f} {where}"
    return {True: "yes", False: "no", None: "–"}[reached]


def remarks(row, figures, computes):
    said = []
    for name, figure in figures.items():
        if "least" in figure:
            said.append(f"cosine {TITLES[name]} {figure['mean']:.5f} (least {figure['least']:.5f})")
        if figure.get("same_tokens", 1 << 30) < 64 and name != OWN and row.get("precision", "f32") == "f32":
            said.append(f"{TITLES[name]}'s tokens differ after {figure['same_tokens']}")
        if "settled" in figure and name == OWN:
            said.append(f"graphrun after ten shapes {show('memory', figure['settled'])}")
    if dense(OWN) in figures:
        times = [f"{TITLES[e]} {show(row['kind'], figures[dense(e)]['value'])}" for e in (OWN, *PEERS)
                 if dense(e) in figures]
        said.append(f"dense {', '.join(times)}; {on_top(figures) or 1:.2f} on top of it")
    for name in PEERS:
        if bare(name) in figures:
            said.append(f"bare products of {TITLES[name]} {show(row['kind'], figures[bare(name)]['value'])}")
        want = row.get("precision", "f32")
        if name in figures and computes[name][want] != want:
            said.append(f"{TITLES[name]} computes in {computes[name][want]}")
    return said


def table(report):
    head = ["", *(TITLES[e] for e in (OWN, *PEERS, BARE, ROOF)), "ONNX Runtime / graphrun", "OpenVINO / graphrun",
            "graphrun / bare", "graphrun / roof", "asked", "reached", "remarks"]
    lines = [head, ["---"] + ["---:"] * 9 + ["---"] * 3]
    for row in report["rows"]:
        figures, ratio = row["figures"], row["ratios"]
        cells = [row["title"]]
        for name in (OWN, *PEERS, BARE, ROOF):
            missing = "not installed" if name in PEERS and name not in report["versions"] else "–"
            cells.append(show(row["kind"], figures[name]["value"]) if name in figures else missing)
        cells += [f"{ratio[n]:.3g}" if n in ratio else "–" for n in (*PEERS, BARE, ROOF)]
        cells += ["; ".join(row["asked"]), ", ".join(row["reached"]), "; ".join(row["remarks"])]
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def caption(report):
    m = report["machine"]
    parts = [f"{m['cpu']}, {m['cores']} cores, {m['memory'] / 2**30:.0f} GiB; {m['system']}; {m['date']}",
             f"{report['threads']} threads; {', '.join(report['versions'].values())}",
             "medians of alternating runs; sentences in tokens per second, where a greater ratio is better, too"]
    if report["isa"]:
        parts.append(f"graphrun restricted to {report['isa']}")
    if report["size"] in PRECISE_NOTE:
        parts.append(PRECISE_NOTE[report["size"]])
    if m["load"] > 1:
        parts.append(f"OTHER WORK WAS RUNNING (load {m['load']}), so the figures mean little")
    return ". ".join(parts) + "."


# -- running ------------------------------------------------------------------------------------------------------


def find_engines(options):
    """Engines that start: {name: (python, environment)}, and what they say of themselves."""
    own = {"GRAPHRUN_ISA": options.isa, "ONEDNN_MAX_CPU_ISA": options.isa.upper()} if options.isa else {}
    candidates = {OWN: (sys.executable, own)}
    if "onnxruntime" in options.peers:
        candidates["onnxruntime"] = (sys.executable, {})
    if "openvino" in options.peers and options.openvino_python:
        candidates["openvino"] = (options.openvino_python, {})
    engines, answers = {}, {}
    for name, (python, environment) in candidates.items():
        peer = Peer(name, name, python, environment)
        try:
            answers[name] = peer.ask("version")
            engines[name] = python, environment
        except Ended:
            if name == OWN:
                raise SystemExit("bench: graphrun does not start") from None
            print(f"bench: {TITLES[name]} is not installed", file=sys.stderr)
        peer.close()
    return engines, answers


def chosen_rows(options):
    rows = tomllib.loads((HERE / "rows.toml").read_text())["row"]
    names = [r["name"] for r in rows]
    for only in options.only or []:
        if only not in names:
            raise SystemExit(f"bench: no row '{only}'; there are {', '.join(dict.fromkeys(names))}")
    for row in rows:
        if options.only and row["name"] not in options.only:
            continue
        if options.only or not options.quick or row.get("quick", True):
            yield row


def row_title(row, shape, options):
    title = row["title"].format(count=options.shapes)
    if not shape:
        return title
    batch, tokens, share = parse_shape(shape)
    return f"{title}, {batch} × {tokens}" + (f", {share:.0%} of it real" if share < 1 else "")


def measure(options, report, done):
    engines, answers = find_engines(options)
    report["versions"] = {name: a["version"] for name, a in answers.items()}
    computes = {name: a["computes"] for name, a in answers.items()}
    bench = Measure(options, engines)
    for row in chosen_rows(options):
        for shape in row.get("shapes", [None]):
            title, notes = row_title(row, shape, options), []
            print(title, file=sys.stderr, flush=True)
            figures = getattr(bench, row["kind"])(row, shape, notes)
            if OWN not in figures:
                raise SystemExit(f"bench: {'; '.join(notes)}")
            ratio = ratios(row, figures)
            asked, reached = judge(row, figures, ratio)
            report["rows"].append({"name": row["name"], "title": title, "kind": row["kind"], "figures": figures,
                                   "ratios": ratio, "asked": asked, "reached": reached,
                                   "remarks": remarks(row, figures, computes) + notes})
            done()
    bench.close()


def parse_options():
    parser = argparse.ArgumentParser(prog="bench/run.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two layers, fewer runs: some minutes")
    parser.add_argument("--only", action="append", metavar="ROW", help="a row by its name in rows.toml; repeatable")
    parser.add_argument("--peers", default=",".join(PEERS), help="others to compare with (default: all that are installed)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--isa", choices=("avx2",), help="the most that graphrun may use of the CPU; the others use all")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures, after each row")
    parser.add_argument("--markdown", action="store_true", help="print a page with a title instead of the table alone")
    parser.add_argument("--show", type=pathlib.Path, metavar="FILE", help="print the table of a file of --json")
    parser.add_argument("--size", choices=("base", "quick", "tiny"), help="of the models (default base, or quick)")
    parser.add_argument("--turns", type=int, help="turns of each engine per shape (default 7; 3)")
    parser.add_argument("--repeats", type=int, help="fresh processes for start times (default 7; 3)")
    parser.add_argument("--shapes", type=int, help="random shapes (default 1000; 60)")
    parser.add_argument("--sentences", type=int, help="sentences (default 10000; 300)")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("build-bench/models"), help="for the models")
    options = parser.parse_args()
    for name, full, quick in (("size", "base", "quick"), ("turns", 7, 3), ("repeats", 7, 3), ("shapes", 1000, 60),
                              ("sentences", 10000, 300)):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    options.peers = [p for p in options.peers.split(",") if p]
    if set(options.peers) - set(PEERS):
        parser.error(f"--peers: choose from {', '.join(PEERS)}")
    options.command = os.environ.get("GRAPHRUN")
    options.openvino_python = os.environ.get("OPENVINO_PYTHON")
    return options


def print_report(report, page):
    if page:
        print("# Benchmarks\n\n`bench/run.sh --markdown` printed this page; bench/rows.toml says what the rows are.\n")
    print(table(report) + "\n\n" + caption(report))


def main():
    options = parse_options()
    if options.show:
        print_report(json.loads(options.show.read_text()), options.markdown)
        return
    if not options.command:
        raise SystemExit("bench: set GRAPHRUN to the command")
    options.folder.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "threads": options.threads, "isa": options.isa, "size": options.size, "rows": []}

    def write():
        if options.json:
            options.json.write_text(json.dumps(report, indent=2) + "\n")

    if report["machine"]["load"] > 1:
        print(f"bench: other work is running (load {report['machine']['load']}), so figures mean little", file=sys.stderr)
    measure(options, report, write)
    print_report(report, options.markdown)


if __name__ == "__main__":
    main()
