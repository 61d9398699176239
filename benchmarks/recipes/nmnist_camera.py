"""How N-MNIST was recorded: fits `saccades` to recordings and their digits.

    python -m benchmarks.recipes.nmnist_camera --data-dir DIR

DIR holds `mnist/train-images-idx3-ubyte.gz` and an archive of N-MNIST in
`nmnist/`, with `Train/DIGIT/NUMBER.bin`. Each 5 ms the difference of ON and OFF
events, of many recordings together, is explained by where the digit is and how
fast it moves: `difference = speed . gradient(log(brightness + offset))`, moved
to the place that explains most. Prints the path, the sum of the speeds, and
how much alike made and real events are, of recordings that were not fitted.
The camera's settings in `SIMULATORS` were chosen by hand so that the numbers of
events, of pixels that saw any, and of those that saw 1 to 5 agree.
"""

import argparse
import gzip
import pathlib
import zipfile

import numpy as np

import keras_snn as snn

events = snn.datasets.events
FITTED, SEEN, BIN, BINS = 60, 60, 5_000, 60
CAMERA, BLUR = events.SIMULATORS["n-mnist"], 0.65
FREQUENCY = np.fft.fftfreq(34)
DY, DX = np.meshgrid(FREQUENCY, FREQUENCY, indexing="ij")


def pairs(data_dir, numbers):
    """Return digits of MNIST and the recordings of the same."""
    with gzip.open(data_dir / "mnist/train-images-idx3-ubyte.gz") as file:
        digits = np.frombuffer(file.read()[16:], "uint8").reshape(-1, 28, 28)
    recordings = []
    path = next((data_dir / "nmnist").glob("*.zip"))
    with zipfile.ZipFile(path) as archive:
        names = {
            int(pathlib.PurePath(x).stem): x
            for x in archive.namelist()
            if x.startswith("Train/") and x.endswith(".bin")
        }
        for number in numbers:
            raw = archive.read(names[number + 1])
            recordings.append(events.nmnist.decode(raw, names[number + 1]))
    return digits[list(numbers)], recordings


def counts(recordings, window, steps):
    return np.stack(
        [
            events.to_frames(
                x, (34, 34), window=window, time_steps=steps, start=0
            )
            for x in recordings
        ]
    )


def gradients(digits):
    """Return the spectra of both derivatives of what the camera sees."""
    padded = np.pad(digits / 255.0, [(0, 0), (3, 3), (3, 3)])
    optics = np.exp(-2 * (np.pi * BLUR) ** 2 * (DY**2 + DX**2))
    blurred = np.fft.ifft2(np.fft.fft2(padded) * optics).real
    levels = np.log(1 - np.clip(blurred, 0, 1) + CAMERA["offset"])
    spectrum = np.fft.fft2(levels)
    return [spectrum * 2j * np.pi * d for d in (DY, DX)]


def explained(spectra, place, difference):
    """Return speeds in events, and the share they explain, of each bin."""
    moved = np.exp(-2j * np.pi * (DY * place[0] + DX * place[1]))
    a = np.stack([np.fft.ifft2(s * moved).real.ravel() for s in spectra], 1)
    products = a.T @ difference
    speeds = np.linalg.solve(a.T @ a, products)
    return speeds, (speeds * products).sum(0) / (difference**2).sum(0)


def path(spectra, difference):
    """Return places (bin, 2), speeds (bin, 2) and shares (bin,)."""
    places, speeds = np.zeros((2, BINS, 2))
    shares = np.zeros(BINS)
    for y in np.arange(-5, 5.1, 0.5):
        for x in np.arange(-5, 5.1, 0.5):
            found, share = explained(spectra, (y, x), difference)
            better = share > shares
            places[better], shares[better] = (y, x), share[better]
            speeds[better] = found.T[better]
    return places, speeds, shares


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=pathlib.Path, required=True)
    data_dir = parser.parse_args().data_dir
    digits, recordings = pairs(data_dir, range(FITTED))
    frames = counts(recordings, BIN, BINS)
    difference = frames[..., 1] - frames[..., 0]
    difference = difference.transpose(0, 2, 3, 1).reshape(-1, BINS)
    places, speeds, shares = path(gradients(digits), difference)
    # The image moves against the change of brightness that it brings.
    moved = -np.cumsum(speeds, 0) + speeds / 2
    sure = shares > 0.2
    design = np.kron(np.eye(2), np.ones((sure.sum(), 1)))
    design = np.c_[design, moved[sure].T.ravel()]
    start_y, start_x, pixels = np.linalg.lstsq(
        design, places[sure].T.ravel(), rcond=None
    )[0]
    print("ms  y  x  share explained")
    for k, (y, x) in enumerate([start_y, start_x] + pixels * moved):
        print(f"{(k + 0.5) * BIN / 1000:5.1f} {y:6.2f} {x:6.2f}", end="")
        print(f" {shares[k]:5.2f}")
    digits, recordings = pairs(data_dir, range(500, 500 + SEEN))
    made = [
        events.saccades(x, (34, 34), seed=i, **CAMERA)
        for i, x in enumerate(digits)
    ]
    real, made = (counts(x, 20_000, 15) for x in (recordings, made))
    both = np.corrcoef(real.ravel(), made.ravel())[0, 1]
    print(f"events a recording: {real.sum() / SEEN:.0f}, made", end=" ")
    print(f"{made.sum() / SEEN:.0f}; correlation {both:.3f}")


if __name__ == "__main__":
    main()
