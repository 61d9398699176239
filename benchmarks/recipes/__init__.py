"""Recipes of the accuracy table, one file a row, and what runs them."""

import json

import numpy as np

# Most bytes of a file.
CHUNK = 15_500_000


def load(folder, name):
    """Return the weights by title, and the record, of a recipe that ran."""
    arrays, record = {}, None
    for path in sorted(folder.glob(f"{name}_?.npz")):
        with np.load(path, allow_pickle=False) as archive:
            for key in archive.files:
                if key == "record":
                    record = json.loads(bytes(archive[key]))
                    continue
                title, number = key.split("/")
                value = archive[key].astype("float32")
                arrays.setdefault(title, {})[int(number)] = value
    weights = {t: [x[i] for i in sorted(x)] for t, x in arrays.items()}
    return weights, record


def save(folder, name, weights, record):
    """Write weights by title in float16, in files of bounded size."""
    folder.mkdir(parents=True, exist_ok=True)
    chunks, size = [{}], 0
    for title, values in weights.items():
        for i, value in enumerate(values):
            value = value.astype("float16")
            if size + value.nbytes > CHUNK and chunks[-1]:
                chunks.append({})
                size = 0
            chunks[-1][f"{title}/{i}"] = value
            size += value.nbytes
    content = json.dumps(record).encode()
    chunks[0]["record"] = np.frombuffer(content, "uint8")
    for i, chunk in enumerate(chunks):
        np.savez_compressed(folder / f"{name}_{i}.npz", **chunk)
