"""What `keras_snn.analysis.profile` costs beside plain inference.

    python -m benchmarks.profile_cost

LeNet, T = 25, batch 64, blurred random images: the time of a whole `profile`
call, tracing and compilation included, over that of a `predict` that has run
before. In turns, medians.
"""

import argparse
import os
import statistics

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402

import keras_snn as snn  # noqa: E402
from benchmarks.measure import seconds  # noqa: E402


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--time-steps", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    model = snn.models.LeNet(time_steps=args.time_steps, seed=0)
    rng = np.random.default_rng(0)
    blocks = rng.random((args.images, 7, 7, 1)).astype("float32")
    x = blocks.repeat(4, axis=1).repeat(4, axis=2)
    snn.models.scale_to_rate(model, x[:64])

    def predict():
        model.predict(x, batch_size=64, verbose=0)

    def profile():
        snn.analysis.profile(model, x, batch_size=64)

    predict()
    times = [(seconds(predict), seconds(profile)) for _ in range(args.repeats)]
    plain, profiled = map(statistics.median, zip(*times))
    result = {
        "images": args.images,
        "predict_seconds": plain,
        "profile_seconds": profiled,
        "overhead": profiled / plain - 1,
    }
    print(
        f"{args.images} images: predict {plain:.2f} s, profile "
        f"{profiled:.2f} s, {result['overhead']:.0%} more"
    )
    return result


if __name__ == "__main__":
    main()
