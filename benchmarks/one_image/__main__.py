"""One image alone, or 32: spikes in the engine, and the equal dense network.

    python -m benchmarks.one_image --data-dir DIR --peer-python PEERS/bin/python

DIR holds CIFAR-10. VGG9 as built, with thresholds at which all its layers fire
at a given rate, and trained networks at their own rates, float32 and int8, in
one thread and two; beside the same layers with ReLUs in ONNX Runtime, OpenVINO
and PyTorch, and with spikes in PyTorch. Each row is a process of its own.
Writes `results/one_image.json` and a table of `benchmarks/README.md`. Rows that
the file has are kept, so the same command goes on where it was stopped;
`--anew` measures all times again.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

from benchmarks import processes, report
from benchmarks.one_image import prepare, table

IMAGES = 32
FULL = {
    "time_steps": [2, 4, 8],
    "rates": [0.02, 0.05, 0.1, 0.2, 0.3],
    "images": [1, IMAGES],
    "threads": [1, 2],
    "seconds": 0.25,
    "least": 4,
    "width": None,
}
QUICK = {
    "time_steps": [2],
    "rates": [0.1],
    "images": [1],
    "threads": [1],
    "seconds": 0.0,
    "least": 2,
    "width": 1 / 16,
}
OURS = ["runtime-float32", "runtime-int8"]
EXITS = ["exit-float32", "exit-int8"]
PEERS = [
    "onnxruntime-float32",
    "onnxruntime-int8",
    "openvino-float32",
    "openvino-default",
    "openvino-int8",
    "pytorch-relu",
    "pytorch-spiking",
]
BETA = 0.5  # of all three networks


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.one_image",
        description=__doc__.split("\n")[0],
    )
    add = parser.add_argument
    names = list(dict.fromkeys((*prepare.DENSE, *prepare.TRAINED)))
    add("--data-dir")
    add("--peer-python", default=sys.executable, help="python of the peers")
    add("--networks", nargs="+", choices=names, default=names)
    libraries = [*OURS, *EXITS, *PEERS]
    add("--libraries", nargs="+", choices=libraries, default=libraries)
    add("--timeout", type=float, default=120, help="seconds a row may take")
    add("--anew", action="store_true", help="measure all times again")
    add("--prepare", action="store_true", help="measure no times")
    add("--output", type=pathlib.Path, default=report.RESULTS)
    add("--quick", action="store_true", help="toy sizes, random images")
    return parser.parse_args(argv)


def cells(library, network, known, sizes):
    """Return what a process measures one after the other, a list of dicts."""
    steps = [{"time_steps": t} for t in sizes["time_steps"]]
    if library == "pytorch-spiking":
        return [{**x, "beta": BETA} for x in steps]
    if library in PEERS:
        return [{}]
    if library in EXITS:
        return [{"margin": known["exits"][library.split("-")[1]]["margin"]}]
    if network in prepare.TRAINED:
        return steps
    return [
        {**x, "rate": rate, "thresholds": known["thresholds"][_key(x, rate)]}
        for x in steps
        for rate in sizes["rates"]
    ]


def _key(cell, rate):
    return f"T={cell['time_steps']}, rate={rate}"


def cases(args, known, sizes):
    """Return all cases, one image first."""
    todo = [
        (images, threads, network, library)
        for images in sizes["images"]
        for threads in sizes["threads"]
        for network in args.networks
        for library in args.libraries
    ]
    return [
        {
            "library": library,
            "network": network,
            "images": images,
            "threads": threads,
            "seconds": sizes["seconds"],
            "least": sizes["least"],
            "cells": cells(library, network, known[network], sizes),
        }
        for images, threads, network, library in todo
        if _is_wanted(library, network, images, threads)
    ]


def _is_wanted(library, network, images, threads):
    if library in PEERS:
        return network in prepare.DENSE
    # Images whose answer may come early go one after the other.
    alone = images == 1 and network in prepare.TRAINED
    return library in OURS or alone


def prepared(args, sizes, folder, known, save):
    """Write all files; find thresholds and margins that are not known."""
    if args.quick:
        rng = np.random.default_rng(0)
        images = rng.normal(0, 0.5, (4, 32, 32, 3)).astype("float32")
        test = held_out = images, np.arange(4)
    else:
        test, held_out = prepare.data(args.data_dir)
    np.save(folder / "images.npy", test[0][:IMAGES])
    for name in args.networks:
        networks = prepare.write(
            name, folder, held_out[0][:IMAGES], sizes["width"]
        )
        found = known.setdefault(name, {})
        if name in prepare.TRAINED:
            margins = found.setdefault("exits", {})
            for weights in networks.keys() - margins.keys():
                network = networks[weights]
                margins[weights] = prepare.exits(network, test, held_out)
                print(name, weights, margins[weights]["test"], flush=True)
                save()
        else:
            _find_thresholds(
                networks["float32"],
                held_out[0][: prepare.RATE_IMAGES],
                sizes,
                found.setdefault("thresholds", {}),
            )
            save()


def _find_thresholds(network, images, sizes, known):
    for steps in sizes["time_steps"]:
        for rate in sizes["rates"]:
            key = _key({"time_steps": steps}, rate)
            if key not in known:
                known[key] = prepare.thresholds(network, images, steps, rate)


def is_measured(case, rows):
    """Return whether a row has the times of a case."""
    keys = "library", "network", "images", "threads"
    return any(all(row[k] == case[k] for k in keys) for row in rows)


def measure(case, args, folder):
    """Return the row of a case."""
    python = args.peer_python if case["library"] in PEERS else sys.executable
    environment = {
        f"{x}_NUM_THREADS": str(case["threads"]) for x in ("OMP", "OPENBLAS")
    }
    row = processes.run_case(
        {**case, "folder": str(folder)}, python, environment, args.timeout
    )
    return {k: x for k, x in row.items() if k != "folder"}


def main(argv=None):
    args = arguments(argv)
    sizes = QUICK if args.quick else FULL
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "one_image.json"
    results = {"networks": {}, "rows": []}
    if path.exists():
        results = json.loads(path.read_text("utf-8"))
    results["rows"] = [
        row
        for row in results["rows"]
        if row["status"] == "ok" and not args.anew
    ]
    results["machine"] = processes.machine()

    def save():
        report.write_json(path, results)

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepared(args, sizes, folder, results["networks"], save)
        todo = cases(args, results["networks"], sizes)
        for index, case in enumerate([] if args.prepare else todo, 1):
            if is_measured(case, results["rows"]):
                continue
            row = measure(case, args, folder)
            results["rows"].append(row)
            save()
            print(f"{index}/{len(todo)} {table.described(row)}", flush=True)
    if args.output == report.RESULTS:
        page = table.PAGE.read_text("utf-8")
        table.PAGE.write_text(table.filled(page, results), "utf-8")
    print(table.text(results))


if __name__ == "__main__":
    main()
