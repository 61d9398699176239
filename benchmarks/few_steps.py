"""Time and memory of a training step at few time steps, by learning rule.

    python -m benchmarks.few_steps
    python -m benchmarks.few_steps --network VGG9 --norm none --scale-to 0.1 \
        --rules relu rate rate_time_first

Each row is a process of its own: the network with ReLUs, then the spiking one
by each rule, on the same made images; `rate_time_first` is the rate rule in
the order of more steps, `rate_dense` without the event-driven engine,
`rate_bfloat16` and `relu_bfloat16` in mixed precision. It makes two updates to
compile and warm up, then takes the median of some.
"""

import argparse
import json
import statistics
import subprocess
import sys

from benchmarks.measure import WARM_UPS, memory, seconds

RULES = ("relu", "rate", "collapsed", "arctan")
# What a row may be besides its rule.
SUFFIXES = "_time_first", "_dense", "_bfloat16"


def measure(args, name):
    """Return seconds of updates and the memory of this process in MB."""
    import keras
    import numpy as np

    import keras_snn as snn
    from keras_snn.running import obstacles

    rule = name
    for suffix in SUFFIXES:
        rule = rule.replace(suffix, "")
    if "_bfloat16" in name:
        keras.config.set_dtype_policy("mixed_bfloat16")
    _, imported = memory()
    rng = np.random.default_rng(0)
    x = rng.random((args.batch, 32, 32, 3)).astype("float32")
    y = np.eye(10)[rng.integers(0, 10, args.batch)]
    options = {"width": args.width, "norm": args.norm, "seed": 0}
    if rule == "relu":
        options["spiking"] = False
    else:
        if "_time_first" in name:
            obstacles.MOST_STEPS_KEPT = 0
        if "_dense" in name:
            snn.event_driven.disable()
        options.update(learning_rule=rule, time_steps=args.time_steps)
    model = getattr(snn.models, args.network)(**options)
    if args.scale_to and rule != "relu":
        snn.models.scale_to_rate(model, x[:64], args.scale_to)
    model.compile(snn.training.sgd(0.01, 100), snn.losses.CrossEntropy())
    times = [
        seconds(lambda: model.train_on_batch(x, y))
        for _ in range(WARM_UPS + args.repeats)
    ]
    return {
        "rule": name,
        "seconds": times[WARM_UPS:],
        "peak_mb": memory()[1] / 2**20,
        "imported_mb": imported / 2**20,
        "backend": keras.config.backend(),
    }


def report(rows):
    """Return the rows as a table in Markdown."""
    relu = statistics.median(rows[0]["seconds"])
    lines = [
        "| | a step | of ReLU | memory above the import |",
        "|---|---:|---:|---:|",
    ]
    for row in rows:
        median = statistics.median(row["seconds"])
        memory = row["peak_mb"] - row["imported_mb"]
        lines.append(
            f"| {row['rule']} | {median:.2f} s | {median / relu:.1f} x | "
            f"{memory:,.0f} MB |"
        )
    return "\n".join(lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="SpikingCNN")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--norm", default="batch")
    parser.add_argument("--time-steps", type=int, default=4)
    parser.add_argument("--scale-to", type=float, help="rate of each layer")
    parser.add_argument("--batch", type=int, default=125)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rules", nargs="+", default=RULES)
    parser.add_argument("--only", help="for one row, as JSON")
    return parser


def main():
    args = arguments().parse_args()
    if args.only:
        print(json.dumps(measure(args, args.only)))
        return
    rows = []
    for rule in args.rules:
        command = [sys.executable, "-m", "benchmarks.few_steps"]
        result = subprocess.run(
            [*command, *sys.argv[1:], "--only", rule],
            capture_output=True,
            text=True,
            check=True,
        )
        rows.append(json.loads(result.stdout.splitlines()[-1]))
        print(
            f"{rule}: {statistics.median(rows[-1]['seconds']):.2f} s",
            flush=True,
        )
    print(report(rows))


if __name__ == "__main__":
    main()
