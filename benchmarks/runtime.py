"""What `keras_snn_runtime` costs: start, memory, a sample, a step of a stream.

    python -m benchmarks.runtime --data-dir DIR --peer-python PEERS/bin/python

DIR holds N-MNIST, or its first recordings. Each program starts anew: LeNet on
frames of N-MNIST at 1 ms, its weights as drawn and those of "nmnist", and
`SpikingCNN(weights="cifar10_sparse")`, with the runtime and with TensorFlow.
Beside them the step loops of snnTorch and Norse take the same frames through
layers of LeNet's shapes, in one thread and in two; they compute all products,
whatever the weights. Results go to `results/runtime.json`.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

RESULT = pathlib.Path(__file__).parent / "results" / "runtime.json"
ROOT = pathlib.Path(__file__).parents[1]

COMMON = """
import json, sys, time
start = time.perf_counter()
import numpy as np
folder, repeats = sys.argv[1], int(sys.argv[2])

def memory():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(x.split()[1]) / 1e3 for x in lines if "VmRSS" in x)

def timed(call, inputs):
    seconds = []
    for x in inputs:
        before = time.perf_counter()
        call(x)
        seconds.append(time.perf_counter() - before)
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return {"p50_ms": float(p50), "p99_ms": float(p99)}

image = np.load(folder + "/image.npy")
frames = np.load(folder + "/frames.npy")
"""
PROGRAMS = {
    "keras_snn_runtime": """
import keras_snn_runtime as runtime
network = runtime.load(folder + "/cnn.npz")
network.predict(image)
result = {"start_s": time.perf_counter() - start, "memory_MB": memory()}
result["image"] = timed(network.predict, [image] * repeats)
for name, kind in (("lenet", ""), ("trained", "trained ")):
    stream = runtime.load(folder + f"/{name}.npz").stream()
    for frame in frames[:20]:
        stream.step(frame)
    result[kind + "step"] = timed(stream.step, frames)
    empty = [0 * frames[0]] * len(frames)
    result[kind + "empty step"] = timed(stream.step, empty)
""",
    "keras_snn": """
import keras, tensorflow as tf
import keras_snn as snn
model = keras.models.load_model(folder + "/cnn.keras", compile=False)
model.predict_on_batch(image)
result = {"start_s": time.perf_counter() - start, "memory_MB": memory()}
result["image"] = timed(model.predict_on_batch, [image] * repeats)
lenet = keras.models.load_model(folder + "/lenet.keras", compile=False)
step = snn.streaming(lenet)
state = step.initial_state(batch_size=1)
call = tf.function(lambda inputs: step(inputs), reduce_retracing=True)

def advance(frame):
    global state
    _, *state = call([tf.constant(frame[None]), *state])

for frame in frames[:20]:
    advance(frame)
result["step"] = timed(advance, frames)
""",
}
TORCH = """
import torch
from torch import nn

torch.set_num_threads(int(sys.argv[3]))
frames = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy())[:, None]
synapses = [
    nn.Conv2d(2, 20, 5, padding=2, bias=False),
    nn.AvgPool2d(2),
    nn.Conv2d(20, 50, 5, padding=2, bias=False),
    nn.AvgPool2d(2),
    nn.Sequential(nn.Flatten(), nn.Linear(3200, 200, bias=False)),
    nn.Linear(200, 10, bias=False),
]
"""
MEASURE = """
with torch.no_grad():
    for frame in frames[:20]:
        advance(frame)
    result = {"step": timed(advance, frames)}
"""
PEERS = {
    "snntorch": """
import snntorch
neurons = [snntorch.Leaky(0.99, reset_mechanism="zero") for _ in synapses[1:]]
neurons.append(snntorch.Leaky(0.99, reset_mechanism="none"))
potentials = [x.init_leaky() for x in neurons]

def advance(x):
    for i, (synapse, neuron) in enumerate(zip(synapses, neurons)):
        x, potentials[i] = neuron(synapse(x), potentials[i])
""",
    "norse": """
import norse.torch as norse
neurons = [*(norse.LIFBoxCell() for _ in synapses[1:]), norse.LICell()]
network = norse.SequentialState(*(x for y in zip(synapses, neurons) for x in y))
state = None

def advance(x):
    global state
    _, state = network(x, state)
""",
}
END = "\nprint('result', json.dumps(result))\n"


def run(python, program, *arguments):
    """Run a program that starts anew, and return its result."""
    command = [python, "-c", COMMON + program + END, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=True
    )
    return json.loads(done.stdout.split("result ")[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--peer-python", help="python of snnTorch and Norse")
    args = parser.parse_args()
    import numpy as np

    import keras_snn as snn

    events = snn.datasets.events
    recording = events.recordings("nmnist", "test", args.data_dir)[0]
    frames = events.to_frames(recording, (34, 34), window=1000)
    cnn = snn.models.SpikingCNN(weights="cifar10_sparse")
    lenet = snn.models.LeNet(
        input_shape=(34, 34, 2), time_steps=None, encoder=None, seed=0
    )
    snn.models.scale_to_rate(lenet, frames[None, 20:90], rate=0.02)
    trained = snn.models.LeNet(weights="nmnist")
    image = np.random.default_rng(0).uniform(-0.9, 0.9, (1, 32, 32, 3))
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/image.npy", image.astype("float32"))
        np.save(f"{folder}/frames.npy", frames)
        models = {"cnn": cnn, "lenet": lenet, "trained": trained}
        for name, model in models.items():
            snn.export.runtime(model, f"{folder}/{name}.npz")
            model.save(f"{folder}/{name}.keras")
        for name, program in PROGRAMS.items():
            for _ in range(2):  # the second finds what the first compiled
                found = run(sys.executable, program, folder, args.repeats)
            result[name] = found
            print(name, found, flush=True)
        for name, program in PEERS.items() if args.peer_python else ():
            program = TORCH + program + MEASURE
            result[name] = {
                f"threads {threads}": run(
                    args.peer_python, program, folder, args.repeats, threads
                )
                for threads in (1, 2)
            }
            print(name, result[name], flush=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
