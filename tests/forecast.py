#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `graphrun plan` foretells is what a process takes, and many shapes leave nothing behind.

usage: forecast.py GRAPHRUN MODEL...

Memory is what belongs to the process alone (RssAnon): heap, stacks, activations, packed weights, pages that the loader has
relocated; not the page cache, where files are. Forecasts may be wrong by 3 % or by SLACK, for stacks and the C library.
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

SHARE, SLACK = 0.03, 128 << 10
SHAPES = ["1x8", "32x128"]
PRECISIONS = ["f32", "bf16", "int8"]
failures = []


def ask(*command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def fits(what, told, took):
    if abs(took - told) > max(SHARE * told, SLACK):
        failures.append(f"{what}: {told >> 10} KiB were foretold, {took >> 10} KiB measured")


def check_forecast(command, model, name, *options):
    for shape in SHAPES:
        told = ask(command, "plan", model, "--shape", shape, "--json", *options)[0]["peak_bytes"]
        took = ask(command, "bench", model, "--shape", shape, "--runs", "1", "--json", *options)["shapes"][0]
        fits(" ".join([name, shape, *options]), told, took["anonymous_bytes"])


def check_flat(command, model, name):
    """After the tenth shape nothing is added that the largest shape, which is the first, does not leave."""
    rng = random.Random(1)
    shapes = ["32x128"] + [f"{rng.randint(1, 32)}x{rng.randint(1, 128)}" for _ in range(59)]
    found = ask(command, "bench", model, "--shape", ",".join(shapes), "--runs", "1", "--json")["shapes"]
    took = [shape["anonymous_bytes"] for shape in found]
    settled = max(took[:10])
    if max(took) > settled + max(SHARE * settled, SLACK):
        failures.append(f"{name}: {settled >> 10} KiB at most after ten shapes, {max(took) >> 10} KiB later")


def check_limit(command, model, name):
    """A batch that does not fit is refused, the same lines in smaller ones give the same results."""
    limit = ["--max-memory", "8M"]
    refused = subprocess.run([command, "bench", model, "--shape", "32x128", "--runs", "1", *limit], capture_output=True)
    if not refused.returncode or b"the limit is" not in refused.stderr:
        failures.append(f"{name}: a batch ran that the limit forbids")
    took = ask(command, "bench", model, "--shape", "1x8,1x128", "--runs", "1", "--json", *limit)["shapes"][-1]
    if took["anonymous_bytes"] > 8 << 20:
        failures.append(f"{name}: {took['anonymous_bytes']} bytes in spite of the limit")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lines:
        lines.writelines(" ".join(str(5 + (line + i) % 90) for i in range(100)) + "\n" for line in range(32))
        lines.flush()
        free, held = (subprocess.run([command, model, "--input", lines.name, *more], check=True, stdout=subprocess.PIPE).stdout
                      for more in ([], limit))
    if free != held:
        failures.append(f"{name}: the limit changes results")


def main():
    command, models = sys.argv[1], sys.argv[2:]
    for model in models:
        name = pathlib.Path(model).parent.name
        for precision in PRECISIONS:
            check_forecast(command, model, name, "--precision", precision)
        check_forecast(command, model, name, "--threads", "1")
        check_flat(command, model, name)
        check_limit(command, model, name)
        with tempfile.TemporaryDirectory() as folder:
            for precision in PRECISIONS:
                plan = f"{folder}/{precision}.plan"
                subprocess.run([command, "compile", model, "-o", plan, "--quiet", "--precision", precision], check=True)
                check_forecast(command, plan, f"{name}, compiled in {precision}")
    print("\n".join(failures) or "all forecasts hold")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
