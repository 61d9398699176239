"""Times and peak memory of one program, measured in its own process."""

import os
import pathlib
import resource
import statistics
import sys
import time

WARM_UPS = 2


def memory():
    """Return `(now, peak)`: this process's resident memory in bytes.

    The kernel's `ru_maxrss` of a child starts at its parent's size, so the
    process's own high-water mark is read where there is one (Linux).
    """
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        lines = dict(
            line.split(":", 1)
            for line in status.read_text().splitlines()
            if ":" in line
        )
        if "VmHWM" in lines:
            now, peak = (int(lines[k].split()[0]) for k in ("VmRSS", "VmHWM"))
            return now * 1024, peak * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak, peak


def seconds(function):
    """Return how long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def program(kind, case):
    """Build the program of a case and measure it.

    Args:
        kind: Class that takes the case and has the methods `train_step` and
            `inference_step`, which return when the work is done, `outputs`,
            `description` and `device_memory`.
        case: Dict; see `benchmarks.case`.

    Returns:
        Dict of measurements.
    """
    baseline, _ = memory()
    start = time.perf_counter()
    built = kind(case)
    result = {
        "build_seconds": time.perf_counter() - start,
        **built.description(),
    }
    if case["what"] == "outputs":
        return {**result, **built.outputs()}
    step = getattr(built, f"{case['what']}_step")
    result["first_call_seconds"] = seconds(step)
    for _ in range(case.get("warm_ups", WARM_UPS) - 1):
        step()
    times = [seconds(step) for _ in range(case["repeats"])]
    peak = memory()[1]
    return {
        **result,
        "seconds": times,
        "median_seconds": statistics.median(times),
        "memory_baseline": baseline,
        "memory_peak": peak,
        "memory_increase": peak - baseline,
        "device_memory_peak": built.device_memory(),
        "threads": os.cpu_count(),
    }
