"""One measurement in a fresh process: `python -m benchmarks.case IN OUT`.

IN is a JSON file with the keys `library`, `network`, `time_steps`, `batch`,
`what` (`"train"`, `"inference"` or `"outputs"`), `dtype`, `width`, `repeats`,
`learning_rate` and optionally `warm_ups`. OUT receives the results as JSON.
"""

import importlib
import json
import pathlib
import sys
import time

MODULES = {
    "keras_snn": "benchmarks.keras_case",
    "snntorch": "benchmarks.snntorch_case",
    "spikingjelly": "benchmarks.spikingjelly_case",
    "torch": "benchmarks.torch_case",
    "limits": "benchmarks.limits",
    "matrix": "benchmarks.matrix",
    "runtime": "benchmarks.one_image.runtime",
    "exit": "benchmarks.one_image.runtime",
    "onnxruntime": "benchmarks.one_image.onnx_runtime",
    "openvino": "benchmarks.one_image.open_vino",
    "pytorch": "benchmarks.one_image.pytorch",
}

OUT_OF_MEMORY = ("out of memory", "RESOURCE_EXHAUSTED", "can't allocate memory")


def run(case):
    """Return the case with its results and a `status`.

    The status is `"ok"`, `"not installed"`, `"out of memory"` or `"failed"`.
    """
    # "keras_snn-exact" is a variant of "keras_snn".
    name = MODULES[case["library"].split("-")[0]]
    start = time.perf_counter()
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        return {**case, "status": "not installed", "error": str(error)}
    imported = time.perf_counter() - start
    try:
        result = module.run(case)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"[:2000]
        full = isinstance(error, MemoryError) or any(
            words in text for words in OUT_OF_MEMORY
        )
        status = "out of memory" if full else "failed"
        return {**case, "status": status, "error": text}
    return {**case, "status": "ok", "import_seconds": imported, **result}


def go_first():
    """Let Linux end this process, not another one, if memory runs out."""
    score = pathlib.Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("1000")


if __name__ == "__main__":
    go_first()
    source, target = map(pathlib.Path, sys.argv[1:])
    result = run(json.loads(source.read_text()))
    target.write_text(json.dumps(result))
