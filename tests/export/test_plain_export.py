"""SavedModels have to run where keras_snn is not installed."""

import subprocess
import sys

import numpy as np

import keras_snn as snn

LOAD = """
import sys
import numpy as np
import tensorflow as tf

loaded = tf.saved_model.load(sys.argv[1])
x = np.load(sys.argv[2])
np.save(sys.argv[3], loaded.serve(x))
graph = loaded.signatures["serve"].graph.as_graph_def()
assert b"_XlaMustCompile" not in graph.SerializeToString()
assert "keras_snn" not in sys.modules
"""


def test_a_saved_model_needs_tensorflow_alone(tmp_path):
    model = snn.models.LeNet(
        input_shape=(8, 8, 1), width=0.2, seed=0, time_steps=9, encoder="rate"
    )
    x = np.random.default_rng(0).random((3, 8, 8, 1), "float32")
    model.export(str(tmp_path / "model"), verbose=False)
    np.save(tmp_path / "x.npy", x)
    # -P keeps the checkout, and with it keras_snn, off the path.
    subprocess.run(
        [
            *(sys.executable, "-P", "-c", LOAD),
            *(tmp_path / "model", tmp_path / "x.npy", tmp_path / "y.npy"),
        ],
        check=True,
        cwd=tmp_path,
    )
    np.testing.assert_allclose(
        np.load(tmp_path / "y.npy"), model.predict(x, verbose=0), atol=1e-5
    )
