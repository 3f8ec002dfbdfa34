#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files that strangers might send, bad ones and odd but valid ones, and whether the command survives them.

    hostile_files.py FOLDER                       write all cases there, with FOLDER/manifest.tsv
    hostile_files.py --run GRAPHRUN               write them to a temporary folder and run each
    hostile_files.py --run GRAPHRUN --only WORD   only cases whose class or name has the word in it

Cases are the same in every run. A refusal must be one sentence, exit status 1 (2 for wrong use), less than 2 s of
processor time and 300 MB; what is odd but valid must run and, where they are known, give the right values. With --peer
the models that must run are run by ONNX Runtime too.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "hostile"))
import numpy as np
import frame
import wire_cases, data_cases, graph_cases, name_cases, input_cases  # noqa: E401,F401: they fill frame.CASES

# A loaded machine may ask for more patience than a person has.
SECONDS = float(os.environ.get("HOSTILE_SECONDS", "2"))
MEGABYTES, PATIENCE = 300, int(10 * SECONDS)
STATUS = {"run": (0,), "refuse": (1,), "usage": (2,), "any": (0, 1)}


def folder_of(root, case):
    return os.path.join(root, case.verdict, case.group, case.name)


def write(root, case):
    folder = folder_of(root, case)
    for path, content in case.files.items():
        path = os.path.join(folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if callable(content) and content.__code__.co_argcount - len(content.__defaults__ or ()) == 1:
            content(path)
            continue
        content = content() if callable(content) else content
        if content is None:
            continue
        with open(path, "wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
    return folder


def escaped(text):
    return text.encode("unicode_escape").decode()


# What a process had in memory at its start counts for what it runs, so that a small one starts all others.
STARTER = """
import json, os, resource, sys, time
for line in sys.stdin:
    command, folder, out, err, seconds, patience = json.loads(line)
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            for fd, path, how in ((0, "/dev/null", os.O_RDONLY), (1, out, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), (2, err, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)):
                os.dup2(os.open(path, how, 0o600), fd)
            if seconds:
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))
            if seconds:
                resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.execv(command[0], command)
        finally:
            os._exit(127)
    end = time.time() + patience
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if time.time() > end:
            os.kill(pid, 9)
        time.sleep(0.002)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    print(json.dumps((code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)), flush=True)
"""
starter = None


def run_command(command, folder, plain):
    """Exit status, stdout, stderr, processor seconds, peak megabytes."""
    global starter
    if not starter:
        starter = subprocess.Popen([sys.executable, "-S", "-E", "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        print(json.dumps((command, folder, out.name, err.name, PATIENCE if plain else 0, 10 * PATIENCE)), file=starter.stdin, flush=True)
        code, seconds, megabytes = json.loads(starter.stdout.readline())
        return code, out.read(), err.read(), seconds, megabytes


def check_values(case, folder):
    with np.load(os.path.join(folder, "out.npz")) as got:
        for name, want in case.expect.items():
            if name not in got:
                return f"output {name} is missing among {list(got)[:5]}"
            value = got[name]
            if value.shape != want.shape or value.dtype != want.dtype:
                return f"{name} is {value.dtype}{value.shape}, expected {want.dtype}{want.shape}"
            if not np.allclose(value, want, 1e-5, 1e-5, equal_nan=True):
                return f"{name} is {value.ravel()[:6]}, expected {want.ravel()[:6]}"
    return None


def faults(case, folder, result, plain):
    code, _, err, seconds, megabytes = result
    if b"Sanitizer" in err or b"runtime error" in err:
        return "sanitizer: " + err.decode("utf-8", "replace")[:1500]
    if code not in STATUS[case.verdict]:
        return f"exit status {code}, expected {case.verdict}: {err.decode('utf-8', 'replace')[:400]}"
    lines = err.split(b"\n")
    if code:
        try:
            text = err.decode()
        except UnicodeDecodeError:
            return f"its message is not UTF-8: {err[:200]!r}"
        if len(lines) != 2 or lines[1] or not text.startswith("graphrun: ") or any(ord(c) < 32 for c in text[:-1]):
            if not (case.args[0] == "verify" and case.verdict == "any"):
                return f"not one sentence: {text[:400]!r}"
        if len(text) > 2200:
            return f"its message has {len(text)} characters"
    if plain and (code or case.verdict == "run") and seconds > SECONDS:
        return f"{seconds:.1f} s of processor time"
    if plain and (code or case.verdict != "run") and megabytes > MEGABYTES:
        return f"{megabytes:.0f} MB"
    if case.expect is not None and code == 0:
        return check_values(case, folder)
    return None


PEER = """
import sys, numpy as np, onnxruntime as ort
o = ort.SessionOptions(); o.log_severity_level = 4; o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
s = ort.InferenceSession(sys.argv[1], o, providers=["CPUExecutionProvider"])
feed = dict(zip(sys.argv[3::2], (np.load(p) for p in sys.argv[4::2])))
names = [v.name for v in s.get_outputs()]
np.savez(sys.argv[2], **dict(zip(names, s.run(names, feed))))
"""


def ask_peer(case, folder):
    """What ONNX Runtime makes of a case that is one model with .npy inputs; None if it agrees or cannot be asked."""
    if case.args[0] != "run" or "model.onnx" not in case.args[1] or not os.path.exists(os.path.join(folder, case.args[1])):
        return None
    words = [w for i, w in enumerate(case.args) if case.args[i - 1] == "--input" and i]
    if any("=" not in w or not w.endswith(".npy") for w in words):
        return None
    feed = [part for w in words for part in w.rsplit("=", 1)]
    try:
        done = subprocess.run([sys.executable, "-c", PEER, case.args[1], "peer.npz", *feed], cwd=folder, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "ONNX Runtime hangs"
    if done.returncode < 0:
        return f"ONNX Runtime dies of signal {-done.returncode}"
    if case.verdict == "refuse":
        return "ONNX Runtime accepts it" if done.returncode == 0 else None
    if done.returncode:
        return "ONNX Runtime refuses it: " + done.stderr.decode("utf-8", "replace").strip().split("\n")[-1][:300]
    if not os.path.exists(os.path.join(folder, "out.npz")):
        return None
    with np.load(os.path.join(folder, "out.npz")) as ours, np.load(os.path.join(folder, "peer.npz")) as theirs:
        for name in theirs:
            a, b = ours.get(name), theirs[name]
            if a is None or a.shape != b.shape or a.dtype != b.dtype or not np.allclose(a, b, 1e-4, 1e-5, equal_nan=True):
                return f"ONNX Runtime's {name} is {b.dtype}{b.shape} {b.ravel()[:6]}, ours {a if a is None else a.ravel()[:6]}"
    return None


def command_of(case, graphrun):
    more = ["--output", "out.npz"] if case.expect is not None else []
    return [graphrun, *case.args, *more]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--run", metavar="GRAPHRUN")
    parser.add_argument("--only", default="")
    parser.add_argument("--sanitized", action="store_true", help="GRAPHRUN has sanitizers: no limits on time and memory")
    parser.add_argument("--also", default="", help="further commands to survive, as info,print")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--show", action="store_true", help="print every message")
    options = parser.parse_args()
    cases = [c for c in frame.CASES if options.only in f"{c.group}/{c.name}"]
    names = [folder_of("", c) for c in cases]
    assert len(names) == len(set(names)), [n for n in names if names.count(n) > 1][:5]
    if not options.run:
        if not options.folder:
            parser.error("give a folder or --run")
        for case in cases:
            write(options.folder, case)
        with open(os.path.join(options.folder, "manifest.tsv"), "w") as f:
            for case in cases:
                f.write("\t".join((folder_of("", case).lstrip("/"), case.verdict, case.group, *map(escaped, case.args))) + "\n")
        return 0
    graphrun = os.path.abspath(options.run)
    counts, bad = {}, 0
    root = options.folder or tempfile.mkdtemp(prefix="hostile-")
    try:
        for case in cases:
            folder = write(root, case)
            result = run_command(command_of(case, graphrun), folder, not options.sanitized)
            fault = faults(case, folder, result, not options.sanitized)
            if options.show:
                print(f"{case.group}/{case.name}: {result[0]} {result[3]:.2f} s {result[4]:.0f} MB {result[2].decode('utf-8', 'replace').strip()}")
            for word in filter(None, options.also.split(",")) if not fault and case.args[0] == "run" else ():
                extra = run_command([graphrun, word, case.args[1]], folder, not options.sanitized)
                seen = faults(frame.Case(case.group, case.name, "any", {}, [word], None), folder, extra, not options.sanitized)
                fault = fault or (f"{word}: {seen}" if seen else None)
            seen = ask_peer(case, folder) if options.peer else None
            if seen:
                print(f"peer {case.group}/{case.name} ({case.verdict}): {seen}")
            total = counts.setdefault(case.group, [0, 0])
            total[0] += 1
            if fault:
                total[1] += 1
                bad += 1
                print(f"FAIL {case.group}/{case.name}: {fault}", flush=True)
            if not options.folder:
                shutil.rmtree(folder)
    finally:
        if not options.folder:
            shutil.rmtree(root, ignore_errors=True)
    for group in sorted(counts, key=lambda s: (int(s.split("-")[0]), s)):
        print(f"{group}: {counts[group][0]} cases, {counts[group][1]} failed")
    print(f"{sum(c[0] for c in counts.values())} cases, {bad} failed")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
