"""What the programs of dense networks share."""

import pathlib

import numpy as np

from benchmarks.one_image import timed

IMAGES = "images"  # the name of the batch's axis in ONNX files


def path(case):
    """Return the path of a case's ONNX file."""
    int8 = case["library"].endswith("int8")
    name = f"{case['network']}{'-int8' if int8 else ''}.onnx"
    return str(pathlib.Path(case["folder"], name))


def measured(call, case, module):
    """Measure `call(images)`; images of axes (image, channel, row, column)."""
    images = np.load(pathlib.Path(case["folder"], "images.npy"))
    images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    batches = np.split(images, len(images) // case["images"])
    return {
        "version": module.__version__,
        "scores": np.asarray(call(batches[0]))[0].tolist(),
        "cells": [timed.cell(lambda n: call(batches[n % len(batches)]), case)],
    }
