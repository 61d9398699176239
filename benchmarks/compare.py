"""keras_snn beside snnTorch and SpikingJelly: time and memory of a step.

    python -m benchmarks.compare --peer-python PEERS/bin/python

Each library runs in a process of its own, one after the other: the same
network, weights, batch, number of time steps and input spikes. Writes
`compare.json`, `compare.md` and plots into `benchmarks/results`.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

from benchmarks import networks, processes, report

OURS = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
JAX = {**OURS, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}

# Variables of each library's processes. None runs by --peer-python.
LIBRARIES = {
    "keras_snn": {**OURS, "KERAS_BACKEND": "tensorflow"},
    "keras_snn-one": {**OURS, "KERAS_BACKEND": "tensorflow"},
    "keras_snn-compiled": {**OURS, "KERAS_BACKEND": "tensorflow"},
    "keras_snn-dense": {**OURS, "KERAS_BACKEND": "tensorflow"},
    "keras_snn-layers": {**OURS, "KERAS_BACKEND": "tensorflow"},
    "keras_snn-exact": {**OURS, "KERAS_BACKEND": "tensorflow"},
    "keras_snn-arctan": {**OURS, "KERAS_BACKEND": "tensorflow"},
    "keras_snn-arctan-remat": {**OURS, "KERAS_BACKEND": "tensorflow"},
    "keras_snn-jax": JAX,
    "snntorch": None,
    "spikingjelly": None,
    "torch": None,
    "torch-layers": None,
}
IF_ASKED = ("keras_snn-one", "keras_snn-compiled", "torch", "torch-layers")
DEFAULT_LIBRARIES = [name for name in LIBRARIES if name not in IF_ASKED]

# Inference does not depend on the learning rule.
SAME_INFERENCE = (
    "keras_snn-exact",
    "keras_snn-arctan",
    "keras_snn-arctan-remat",
)

WHAT = ["train", "inference"]
FULL = {
    "networks": ["lenet", "vgg9"],
    "time_steps": [10, 25, 50, 100],
    "repeats": 5,
    "width": 1.0,
    "warm_ups": 2,
    "megabytes": 256,
}
QUICK = {
    "networks": ["lenet"],
    "time_steps": [2, 3],
    "repeats": 1,
    "width": 0.25,
    "batch": 2,
    "warm_ups": 1,
    "megabytes": 4,
}


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--peer-python", default=sys.executable, help="python of the peers")
    add("--networks", nargs="+", choices=["lenet", "vgg9"])
    add("--time-steps", nargs="+", type=int)
    add("--batch", type=int, help="LeNet 64 and VGG9 32 by default")
    add("--what", nargs="+", choices=WHAT, default=WHAT)
    add("--repeats", type=int, help="measured steps of a case")
    add("--rounds", type=int, default=1, help="repeats of all cases")
    add("--libraries", nargs="+", choices=LIBRARIES, default=DEFAULT_LIBRARIES)
    add("--dtype", nargs="+", default=["float32"], choices=report.DTYPES)
    add("--timeout", type=float, default=900, help="seconds a case may take")
    add("--memory", type=float, default=24, help="gigabytes a case may take")
    add("--output", type=pathlib.Path, default=report.RESULTS)
    add(
        "--resume",
        action="store_true",
        help="keep what is in the output's compare.json, measure the rest",
    )
    add("--quick", action="store_true", help="toy sizes")
    add("--check", action="store_true", help="only compare the outputs")
    args = parser.parse_args(argv)
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    return args


def cases(args):
    """Return all cases of one round, the libraries of a case side by side."""
    return [
        {
            "library": library,
            "network": network,
            "time_steps": time_steps,
            "batch": args.batch or networks.NETWORKS[network].batch,
            "what": what,
            "dtype": dtype,
            "width": args.width,
            "repeats": args.repeats,
            "warm_ups": args.warm_ups,
            "learning_rate": 1e-6,
        }
        for dtype in args.dtype
        for network in args.networks
        for time_steps in args.time_steps
        for what in args.what
        for library in args.libraries
        if what == "train" or library not in SAME_INFERENCE
    ]


def run(case, args):
    """Measure a case by its library's interpreter."""
    environment = LIBRARIES[case["library"]]
    python = args.peer_python if environment is None else sys.executable
    return processes.run_case(
        case,
        python,
        environment,
        args.timeout,
        processes.memory_limit(args.memory),
    )


def limits(args):
    """Measure what the machine can do for each network and dtype."""
    return [
        processes.run_case(
            {
                "library": "limits",
                "network": network,
                "batch": args.batch or networks.NETWORKS[network].batch,
                "dtype": dtype,
                "width": args.width,
                "repeats": args.repeats,
                "megabytes": args.megabytes,
            },
            sys.executable,
            OURS,
            args.timeout,
        )
        for dtype in args.dtype
        for network in args.networks
    ]


def check(args):
    """Compare the outputs and spikes of all libraries with keras_snn's.

    Returns:
        List of dicts with the largest difference of the outputs, the
        spikes of each layer by both libraries, and `same`: whether the
        outputs agree to 1e-4, the layers' numbers of spikes to 0.01 %, and
        every layer fires at all.
    """
    results = []
    others = [name for name in args.libraries if name != "keras_snn"]
    for network in args.networks if others else ():
        case = {
            "network": network,
            "time_steps": 10,
            "batch": 4,
            "what": "outputs",
            "dtype": "float32",
            "width": args.width,
            "learning_rate": 1e-2,
        }
        expected = run({**case, "library": "keras_snn"}, args)
        for library in others:
            found = run({**case, "library": library}, args)
            results.append(_difference(found, expected))
    return results


def _difference(found, expected):
    result = {key: found[key] for key in ("library", "network", "status")}
    if "ok" != found["status"] or "ok" != expected["status"]:
        error = found.get("error") or expected.get("error")
        return {**result, "same": None, "error": error}
    difference = np.subtract(found["outputs"], expected["outputs"])
    spikes = np.array([found["spikes"], expected["spikes"]])
    close = np.abs(spikes[0] - spikes[1]) <= 1e-4 * spikes[1]
    largest = float(np.abs(difference).max())
    return {
        **result,
        "largest_difference": largest,
        "largest_output": float(np.abs(expected["outputs"]).max()),
        "spikes": found["spikes"],
        "expected_spikes": expected["spikes"],
        "same": bool(largest <= 1e-4 and close.all() and spikes.all()),
    }


def keep(results, path):
    """Take over what an earlier run left in `path`."""
    if not path.exists():
        return
    earlier = json.loads(path.read_text())
    for key in ("checks", "limits"):
        known = {_name(x) for x in results[key]}
        results[key] += [x for x in earlier[key] if _name(x) not in known]
    results["cases"] = earlier["cases"]
    if earlier["command"] != results["command"]:
        results["command"] = f"{earlier['command']}; {results['command']}"


def _name(result):
    return result["library"], result["network"], result.get("dtype")


def is_measured(case, results):
    """Return whether the results have this case, whatever its repeats."""
    keys = ("round", "library", "network", "time_steps", "batch", "what")
    keys += ("dtype", "width")
    return any(
        all(found[key] == case[key] for key in keys)
        for found in results["cases"]
    )


def command(argv):
    """Return the command without the paths of this machine."""
    words = ["python -m benchmarks.compare", *map(str, argv)]
    for option in ("--peer-python", "--output"):
        if option in words:
            words[words.index(option) + 1] = "..."
    return " ".join(words)


def describe(case):
    """Return one line about a finished case."""
    line = (
        f"{case['library']:18} {case['network']:6} {case['dtype']:8} "
        f"T={case['time_steps']:<4} {case['what']:9} "
    )
    if case["status"] != "ok":
        return line + case["status"]
    return line + (
        f"{1000 * case['median_seconds']:8.1f} ms "
        f"{case['memory_increase'] / 1e9:6.2f} GB"
    )


def main(argv=None):
    args = arguments(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    checks = check(args)
    for result in checks:
        print(f"{result['library']:18} {result['network']:6} ", end="")
        print({True: "same", False: "DIFFERS"}.get(result["same"], "not run"))
    if args.check:
        return checks
    results = {
        "command": command(sys.argv[1:] if argv is None else argv),
        "machine": processes.machine(),
        "environment_of_keras_snn": OURS,
        "checks": checks,
        "limits": limits(args),
        "cases": [],
    }
    if args.resume:
        keep(results, args.output / "compare.json")
    todo = cases(args)
    for number in range(args.rounds):
        for index, case in enumerate(todo, 1):
            if is_measured({"round": number, **case}, results):
                continue
            results["cases"].append({"round": number, **run(case, args)})
            print(
                f"{number + 1}/{args.rounds} {index:3}/{len(todo)} "
                + describe(results["cases"][-1]),
                flush=True,
            )
            report.write_json(args.output / "compare.json", results)
    report.write(args.output, results)
    return results


if __name__ == "__main__":
    main()
