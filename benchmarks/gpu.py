"""keras_snn on an NVIDIA GPU beside a PyTorch loop: images a second, memory.

    python -m benchmarks.gpu

Runs on the JAX backend and needs no TensorFlow. First it checks that the
GPU computes what the CPU computes, then it measures the card's matrix
products, then training steps, the most important cases first, until its
time budget is used. Writes `benchmarks/results/gpu.json` and prints a table.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import numpy as np

from benchmarks import networks, processes, report

ENVIRONMENT = {
    "KERAS_BACKEND": "jax",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
EXACT = {**ENVIRONMENT, "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
CPU = {**EXACT, "JAX_PLATFORMS": "cpu"}

LIBRARIES = ("keras_snn-jax", "torch", "torch-layers")
LABELS = {**report.LABELS, "keras_snn-jax": "keras_snn"}

# What is varied; the first of each makes the most important case.
FULL = {
    "network": ("vgg9", "resnet11"),
    "time_steps": (100, 25),
    "batch": (64, 256, 16),
    "dtype": ("bfloat16", "float32"),
    "width": 1.0,
    "repeats": 5,
    "warm_ups": 2,
    "matrix": 8192,
}
TOY = {
    "network": ("lenet",),
    "time_steps": (2,),
    "batch": (2,),
    "dtype": ("bfloat16",),
    "width": 0.25,
    "repeats": 1,
    "warm_ups": 1,
    "matrix": 64,
}

# Less than this is not enough to start another process.
LEAST_SECONDS = 15


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--budget", type=float, default=470, help="seconds in all")
    add("--case-timeout", type=float, default=120, help="seconds of a case")
    add("--output", type=pathlib.Path, default=report.RESULTS)
    add("--toy", action="store_true", help="tiny sizes, on a CPU too")
    return parser.parse_args(argv)


def cases(sizes):
    """Return all cases, those that differ least from the main one first."""
    found = []
    for library in LIBRARIES:
        for network in sizes["network"]:
            for time_steps in sizes["time_steps"]:
                for batch in sizes["batch"]:
                    for dtype in sizes["dtype"]:
                        case = {
                            "library": library,
                            "network": network,
                            "time_steps": time_steps,
                            "batch": batch,
                            "dtype": dtype,
                            "what": "train",
                            "width": sizes["width"],
                            "repeats": sizes["repeats"],
                            "warm_ups": sizes["warm_ups"],
                            "learning_rate": 1e-6,
                        }
                        found.append(case)
    # Python sorts stably: the libraries of a case stay together.
    found.sort(key=lambda case: _size_order(case, sizes))
    return sorted(found, key=lambda case: _deviations(case, sizes))


def _size_order(case, sizes):
    names = ("network", "time_steps", "batch", "dtype")
    return [sizes[name].index(case[name]) for name in names]


def _deviations(case, sizes):
    order = _size_order(case, sizes)
    second = case["library"] == "torch-layers"
    return sum(index > 0 for index in order) + second


class Budget:
    """Runs cases as long as there is time."""

    def __init__(self, seconds, case_timeout, cache):
        self.end = time.monotonic() + seconds
        self.case_timeout = case_timeout
        # Each process draws the same first weights; compile that once.
        self.cache = {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

    def run(self, case, environment=ENVIRONMENT):
        environment = {**environment, **self.cache}
        left = self.end - time.monotonic()
        if left < LEAST_SECONDS:
            return {**case, "status": "skipped"}
        timeout = min(left, self.case_timeout)
        result = processes.run_case(case, sys.executable, environment, timeout)
        if result["status"] == "timeout" and timeout < self.case_timeout:
            result["status"] = "skipped"
        return result


def check(budget, width):
    """Compare outputs, spikes and one training step of GPU and CPU."""
    case = {
        "library": "keras_snn-jax",
        "network": "lenet",
        "time_steps": 10,
        "batch": 4,
        "what": "outputs",
        "dtype": "float32",
        "width": width,
        "learning_rate": 1e-2,
    }
    results = [budget.run(case, environment) for environment in (EXACT, CPU)]
    failed = [r for r in results if r["status"] != "ok"]
    if failed:
        return {"same": None, "error": failed[0].get("error", "")}
    gpu, cpu = results
    errors = {
        key: float(
            np.linalg.norm(np.subtract(gpu[key], cpu[key]))
            / np.linalg.norm(cpu[key])
        )
        for key in ("outputs", "spikes", "updates")
    }
    return {
        "device": gpu["device"],
        "relative_errors": errors,
        # Another order of summation may move a spike by a step.
        "same": errors["outputs"] < 1e-2 and errors["updates"] < 1e-2,
        "equal_to_rounding": errors["outputs"] < 1e-4,
    }


def matrix_rates(budget, sizes):
    """Return the device's rate of matrix products by dtype."""
    rates = {}
    for dtype in sizes["dtype"]:
        case = {
            "library": "matrix",
            "size": sizes["matrix"],
            "dtype": dtype,
            "repeats": 10,
        }
        rates[dtype] = budget.run(case)
    return rates


def training_flops(case):
    """Return the operations of a training step, two a product.

    A backward pass is two products for each forward one; the collapsed rule
    has one for all time steps, backpropagation through time T.
    """
    step = case["batch"] * networks.flops(case["network"], case["width"])
    ours = case["library"].startswith("keras_snn")
    return step * (case["time_steps"] + 2 * (1 if ours else case["time_steps"]))


def complete(result, rates):
    """Add images a second and the share of the device's matrix rate."""
    if result["status"] != "ok":
        return result
    seconds = result["median_seconds"]
    flops = training_flops(result) / seconds
    rate = rates.get(result["dtype"], {})
    return {
        **result,
        "images_per_second": result["batch"] / seconds,
        "flops": flops,
        "share_of_matrix_rate": flops / rate["flops"] if rate else None,
    }


def table(results):
    """Return the measured cases as Markdown, a line for each size."""
    measured = results["cases"]
    libraries = [lib for lib in LIBRARIES if any(_of(measured, lib))]
    names = [LABELS[library] for library in libraries]
    head = "| network | T | batch | dtype | " + " | ".join(names) + " |"
    lines = [
        "Training: images a second, peak memory, share of the card's "
        "matrix rate\n",
        head,
        "|---|---:|---:|---|" + "---:|" * len(libraries),
    ]
    sizes = dict.fromkeys(map(_size, measured))
    for size in sizes:
        cells = []
        for library in libraries:
            found = [c for c in _of(measured, library) if _size(c) == size]
            cells.append(_cell(found[0]) if found else "")
        if any(cell not in ("", "skipped") for cell in cells):
            lines.append("| " + " | ".join(map(str, [*size, *cells])) + " |")
    return "\n".join(lines)


def _of(measured, library):
    return [c for c in measured if c["library"] == library]


def _size(case):
    return tuple(case[k] for k in ("network", "time_steps", "batch", "dtype"))


def _cell(case):
    if case["status"] != "ok":
        return case["status"]
    cell = f"{case['images_per_second']:.0f}"
    if case["device_memory_peak"]:
        cell += f", {case['device_memory_peak'] / 1e9:.1f} GB"
    if case["share_of_matrix_rate"]:
        cell += f", {100 * case['share_of_matrix_rate']:.0f} %"
    return cell


def skipped(results):
    """Return one line that names the cases there was no time for."""
    names = [
        f"{LABELS[c['library']]} {'/'.join(map(str, _size(c)))}"
        for c in results["cases"]
        if c["status"] == "skipped"
    ]
    return "Skipped, out of time: " + (", ".join(names) or "none") + "."


def main(argv=None):
    args = arguments(argv)
    sizes = TOY if args.toy else FULL
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        budget = Budget(args.budget, args.case_timeout, cache)
        rates = matrix_rates(budget, sizes)
        check_device(rates, args.toy)
        results = {
            "machine": processes.machine(),
            "environment": ENVIRONMENT,
            "matrix_rates": rates,
            "check": check(budget, sizes["width"]),
            "cases": [],
        }
        print(f"GPU beside CPU, LeNet: {results['check']}", flush=True)
        for case in cases(sizes):
            result = complete(budget.run(case), rates)
            results["cases"].append(result)
            report.write_json(args.output / "gpu.json", results)
            if result["status"] != "skipped":
                line = *_size(case), LABELS[case["library"]], _cell(result)
                print(*line, flush=True)
    print(f"\n{table(results)}\n\n{skipped(results)}")
    return results


def check_device(rates, toy):
    """End the program where JAX does not run on a GPU; else say on which."""
    for dtype, rate in rates.items():
        if rate["status"] != "ok":
            raise SystemExit(f"JAX does not run here: {rate.get('error')}")
        if rate["platform"] == "cpu" and not toy:
            raise SystemExit(
                "JAX sees no GPU; install jax[cuda13], or try --toy on a CPU."
            )
        rate_of = f"{rate['flops'] / 1e12:.3g} TFLOP/s"
        print(f"{rate['device']}, {dtype} matrix products: {rate_of}")


if __name__ == "__main__":
    main()
