#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every model at every level in every format of graphdump: it must succeed, the same bytes must come twice, text must be
read back by graphrun, JSON by a parser of JSON (and be consistent in itself), DOT by Graphviz where that is installed.

    dump_formats.py GRAPHDUMP GRAPHRUN FOLDER...     models are FOLDER/*/model.onnx

Exit status 77 if all is well but Graphviz is missing, so that nobody takes DOT for tested.
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

LEVELS = ("raw", "canonical", "fused", "outlined", "plan")


def run(*command):
    result = subprocess.run(command, capture_output=True, timeout=300)
    if result.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: status {result.returncode}: {result.stderr.decode()[:500]}")
    return result.stdout


def check_json(text, level):
    d = json.loads(text)
    values, nodes, modules = d["values"], d["nodes"], d["modules"]
    assert d["graphdump"] == 1 and d["level"] == level
    for i, n in enumerate(nodes):
        assert 0 <= n["module"] < len(modules)
        assert n["part"] is None or 0 <= n["part"] < len(d["parts"])
        for v in n["outputs"]:
            assert v is None or values[v]["maker"] == i
        for v in n["inputs"]:
            assert v is None or values[v]["kind"] != "result" or values[v]["maker"] < i
    assert modules[0]["nodes"] == len(nodes) and modules[0]["parent"] is None
    assert all(m["parent"] < i for i, m in enumerate(modules) if i)
    assert d["parameters"] == sum(n["parameters"] for n in nodes)
    if level == "raw":
        assert "origins" not in d
    else:
        assert d["origins"]
        for o in d["origins"]:
            assert o["fate"] in ("executed", "fused", "folded", "dead")
            assert o["into"] is None or o["fate"] in ("executed", "fused")
    if "work" in d:
        assert abs(d["work"] - sum(n["work"] for n in nodes)) <= 1e-6 * d["work"]
    return d


def check_text(graphrun, text, folder):
    path = pathlib.Path(folder) / "m.onnxtxt"
    path.write_bytes(text)
    run(graphrun, "info", path)


def check_dot(text, folder):
    path = pathlib.Path(folder) / "m.dot"
    path.write_bytes(text)
    run("dot", "-Tcanon", path)


def check_model(graphdump, graphrun, model, dot, folder):
    for level in LEVELS:
        def dump(name, *more):
            return run(graphdump, model, "--level", level, "--format", name, *more)
        data = check_json(dump("json"), level)
        check_text(graphrun, dump("text", "--constants", "1000000000"), folder)
        assert dump("tree").count(b"\n") > 3
        if dot:
            check_dot(dump("dot"), folder)
        middle = data["nodes"][len(data["nodes"]) // 2]
        name = next(data["values"][v]["name"] for v in middle["outputs"] if v is not None)
        focus = ("--focus", name, "--radius", "1", "--constants", "1000000000")
        check_text(graphrun, dump("text", *focus), folder)
        assert check_json(dump("json", *focus), level)["part"] is True
    assert run(graphdump, model, "--format", "json") == run(graphdump, model, "--format", "json")
    run(graphdump, model, "--list-parts")


def main():
    graphdump, graphrun, *folders = sys.argv[1:]
    models = sorted(m for f in folders for m in pathlib.Path(f).glob("*/model.onnx"))
    dot = shutil.which("dot")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            try:
                check_model(graphdump, graphrun, model, dot, folder)
            except Exception as e:
                failed += 1
                print(f"{model.parent.name}: {type(e).__name__} {e}")
    print(f"{len(models) - failed} of {len(models)} models" + ("" if dot else "; DOT was not tested: Graphviz is not installed"))
    sys.exit(1 if failed or not models else 0 if dot else 77)


if __name__ == "__main__":
    main()
