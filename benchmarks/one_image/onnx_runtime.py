"""The dense network in ONNX Runtime."""

import onnxruntime

from benchmarks.one_image import dense
from benchmarks.one_image.dense import IMAGES


def run(case):
    """Measure a case."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case["threads"]
    options.inter_op_num_threads = 1
    options.add_free_dimension_override_by_name(IMAGES, case["images"])
    session = onnxruntime.InferenceSession(
        dense.path(case), options, providers=["CPUExecutionProvider"]
    )
    return dense.measured(
        lambda x: session.run(None, {"image": x})[0], case, onnxruntime
    )
