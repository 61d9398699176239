"""The dense network in OpenVINO, from the same ONNX files.

The variant is `"float32"`, `"int8"`, or `"default"`: float32 weights in the
precision that OpenVINO takes on this processor unless told otherwise.
"""

import openvino

from benchmarks.one_image import dense


def run(case):
    """Measure a case."""
    core = openvino.Core()
    model = core.read_model(dense.path(case))
    model.reshape([case["images"], *model.input().partial_shape[1:]])
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": case["threads"],
    }
    if not case["library"].endswith("default"):
        options["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = core.compile_model(model, "CPU", options)
    request = compiled.create_infer_request()

    def call(x):
        request.infer([x])
        return request.get_output_tensor().data.copy()

    hint = compiled.get_property("INFERENCE_PRECISION_HINT")
    found = dense.measured(call, case, openvino)
    return {**found, "precision": hint.get_type_name()}
