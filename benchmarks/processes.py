"""Fresh processes for measurements, with limits on time and memory."""

import json
import os
import pathlib
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]


def run_case(case, python, environment=None, timeout=900.0, memory_limit=None):
    """Measure a case in a process of its own and return its result.

    Args:
        case: Dict; see `benchmarks.case`.
        python: Path of the interpreter.
        environment: Variables that are set for the process.
        timeout: Seconds after which it is ended.
        memory_limit: Bytes of resident memory at which it is ended.

    Returns:
        The case with its results. `status` is `"ok"`, `"not installed"`,
        `"out of memory"`, `"timeout"` or `"failed"`.
    """
    environment = dict(environment or {})
    with tempfile.TemporaryDirectory() as folder:
        source, target = (pathlib.Path(folder) / f for f in ("in", "out"))
        source.write_text(json.dumps(case))
        with open(pathlib.Path(folder) / "log", "w+b") as log:
            process = subprocess.Popen(
                [python, "-m", "benchmarks.case", str(source), str(target)],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )
            ended = _watch(process, timeout, memory_limit)
            log.seek(0)
            tail = log.read().decode(errors="replace")[-1000:]
        if target.exists() and ended is None and process.returncode == 0:
            result = json.loads(target.read_text())
        else:
            # Signal 9 that is not ours: the kernel was out of memory.
            killed = process.returncode == -9
            status = ended or ("out of memory" if killed else "failed")
            result = {**case, "status": status, "error": tail}
    return {**result, "environment": environment}


def _watch(process, timeout, memory_limit):
    """Wait for the process's end; return why it was ended, or None."""
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                process.wait(0.05)
                return None
            except subprocess.TimeoutExpired:
                pass
            if time.monotonic() > deadline:
                return "timeout"
            if memory_limit and _resident(process.pid) > memory_limit:
                return "out of memory"
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()


def _resident(pid):
    """Return a process's resident memory in bytes, 0 where it is unknown."""
    try:
        pages = pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def memory_limit(gigabytes):
    """Return the lower of a limit and what the machine has free, in bytes."""
    limit = int(gigabytes * 1e9)
    meminfo = pathlib.Path("/proc/meminfo")
    if not meminfo.exists():
        return limit
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable"):
            return min(limit, int(0.97 * 1024 * int(line.split()[1])))
    return limit


# Instructions that products of float32, bfloat16 and int8 gain from.
FEATURES = (
    *("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16"),
    *("amx_bf16", "amx_int8", "asimd", "asimddp", "sve"),
)


def machine():
    """Return what the machine is: processor, features, cores, memory."""
    result = {"cores": os.cpu_count()}
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        pairs = [line.split(":", 1) for line in reversed(lines) if ":" in line]
        found = {name.strip(): value.strip() for name, value in pairs}
        if "model name" in found:
            result["processor"] = found["model name"]
        flags = found.get("flags", found.get("Features", "")).split()
        result["features"] = [x for x in FEATURES if x in flags]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        result["memory_gb"] = round(pages / 1e9, 1)
    return result
