"""The runtime's file: an .npz archive of plain arrays and a description.

The archive holds `network.json` and one array a weight, float32 or int8, stored
and not compressed. What is read is bounded by the file's size, no pickled
object is ever loaded, and all numbers that the compiled code relies on are
checked.
"""

import dataclasses
import hashlib
import io
import json
import math
import os
import pathlib
import tempfile
import zipfile

import numpy as np

from keras_snn_runtime import operations
from keras_snn_runtime.operations import NO_BIAS, NO_SCALES

FORMAT, VERSIONS = "keras_snn_runtime", (1, 2)
DESCRIPTION = "network.json"
ENCODERS = ("repeat", "poisson", "rate", "latency")
KINDS = {
    kind.__name__: kind
    for kind in (
        operations.Source,
        operations.Convolution,
        operations.Product,
        operations.Pooling,
        operations.Reshape,
        operations.Normalization,
        operations.Sum,
        operations.Neurons,
        operations.Integration,
        operations.Depthwise,
        operations.MaxRatePooling,
        operations.Concatenation,
    )
}
# Version 2 is version 1 with these.
SECOND = (
    operations.Depthwise,
    operations.MaxRatePooling,
    operations.Concatenation,
)
# Numbers in all frames of one sample. More is no network, but an attack.
LARGEST = 2**27


def write(path, description, arrays):
    """Write a network.

    Args:
        path: Where to.
        description: Dict, see `read`; the operations as objects.
        arrays: Dict of arrays by name, float32 or int8.

    Raises:
        ValueError: If `read` would refuse it.
    """
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    later = any(isinstance(x, SECOND) for x in description["operations"])
    description = {
        "format": FORMAT,
        "version": 2 if later else 1,
        **description,
        "operations": [
            {"operation": type(x).__name__, **dataclasses.asdict(x)}
            for x in description["operations"]
        ],
        "sha256": {name: _digest(x) for name, x in arrays.items()},
    }
    text, path = json.dumps(description, default=int), pathlib.Path(path)
    try:
        _checked(json.loads(text), arrays)
    except ValueError as error:
        raise ValueError(
            f"The network does not fit the format of '{path}': {error}. "
            "Nothing is written."
        ) from error
    # Beside its place, so that the move is a renaming; within a folder, since
    # its own permissions are for one user only.
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}-", dir=path.parent
    ) as folder:
        draft = pathlib.Path(folder, path.name)
        with open(draft, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                archive.writestr(DESCRIPTION, text)
                for name, x in arrays.items():
                    content = io.BytesIO()
                    np.lib.format.write_array(content, x, allow_pickle=False)
                    archive.writestr(f"{name}.npy", content.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)


def read(path):
    """Read a network.

    Returns:
        Tuple: the description, a dict with `name`, `time_steps` (None for
        any), `encoder` (None, or a dict of `name` and `max_rate`), `operations`
        and `divides` (whether the result is a mean over time); and a dict of
        arrays by name.

    Raises:
        ValueError: If the file is damaged, of another kind, or does not
            describe a network.
        FileNotFoundError: If there is none.
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.compress_size for entry in entries) > size:
                raise ValueError(f"more than its {size} bytes")
            content = {
                entry.filename: _content(archive, entry, size)
                for entry in entries
            }
        description = json.loads(content.pop(DESCRIPTION))
        arrays = {
            name.removesuffix(".npy"): _array(name, x)
            for name, x in content.items()
        }
        return _checked(description, arrays), arrays
    # By the place of the damage, zipfile and NumPy raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"'{path}' is no network of keras_snn_runtime: "
            f"{type(error).__name__}, {error}. Expected what "
            "keras_snn.export.runtime wrote, whole. Copy or export it again."
        ) from error


def _digest(x):
    return hashlib.sha256(x.tobytes()).hexdigest()


def _content(archive, entry, size):
    """Return what an entry of the archive holds, no more than the file."""
    stored = entry.compress_type == zipfile.ZIP_STORED
    if not stored or not entry.file_size == entry.compress_size <= size:
        raise ValueError(f"'{entry.filename}' is not stored plainly")
    return archive.read(entry)


def _array(name, content):
    """Return the array of a .npy file."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"'{name}' has version {version} of .npy")
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(file)
    numbers = content[file.tell() :]
    if by_column or dtype not in (np.float32, np.int8):
        raise ValueError(f"'{name}' holds {dtype}, not rows of float32 or int8")
    if len(shape) > 4 or math.prod(shape) * dtype.itemsize != len(numbers):
        raise ValueError(f"'{name}' holds {len(numbers)} bytes for {shape}")
    return np.frombuffer(numbers, dtype).reshape(shape)


def _expect(true, what):
    if not true:
        raise ValueError(what)


def _checked(description, arrays):
    """Return a description, its operations as objects, or raise an error."""
    _expect(description["format"] == FORMAT, "another format")
    if description["version"] not in VERSIONS:
        raise ValueError(
            f"version {description['version']} of the format, and this reads "
            f"{VERSIONS}: install the keras_snn that wrote it"
        )
    for name, x in arrays.items():
        if description["sha256"][name] != _digest(x):
            raise ValueError(f"'{name}' has another checksum")
    steps, encoder = description["time_steps"], description["encoder"]
    _expect(steps is None or _is_count(steps), f"time_steps {steps!r}")
    if encoder is not None:
        _expect(encoder["name"] in ENCODERS, f"encoder {encoder!r}")
        _expect(0 < float(encoder["max_rate"]) <= 1, f"encoder {encoder!r}")
        _expect(steps is not None, "an encoder without time_steps")
    shapes, found = {}, []
    for given in description["operations"]:
        operation = _operation(given)
        _check_sizes(operation, shapes, arrays)
        shapes[operation.key] = operation.shape
        found.append(operation)
    int8 = {
        x.kernel for x in found if getattr(x, "scales", NO_SCALES) != NO_SCALES
    }
    for name, x in arrays.items():
        dtype = "int8" if name in int8 else "float32"
        _expect(x.dtype == dtype, f"'{name}' holds {x.dtype}, not {dtype}")
    numbers = sum(math.prod(x) for x in shapes.values())
    _expect(numbers <= LARGEST, f"{numbers} numbers in its frames")
    kinds = [type(x) for x in found]
    _expect(kinds and kinds[0] is operations.Source, "no source in front")
    _expect(kinds.count(operations.Source) == 1, "several sources")
    _expect(kinds[-1] is operations.Integration, "no readout at the end")
    _expect(kinds.count(operations.Integration) == 1, "several readouts")
    return {
        "name": str(description["name"]),
        "time_steps": steps,
        "encoder": encoder,
        "divides": bool(description["divides"]),
        "operations": found,
    }


def _is_count(x, least=1):
    return isinstance(x, int) and not isinstance(x, bool) and x >= least


def _operation(given):
    """Return the operation that a dict describes, its numbers checked."""
    given = dict(given)
    kind = KINDS[given.pop("operation")]
    names = {x.name for x in dataclasses.fields(kind)}
    # Files of before there were scales have none.
    later = {"scales"}
    _expect(
        names - later <= set(given) <= names,
        f"{kind.__name__} of {sorted(given)}",
    )
    values = {k: _plain(v) for k, v in given.items()}
    for name in ("key", "source"):
        if name in values:
            _expect(_is_count(values[name], 0), f"{name} {values[name]!r}")
    shape = values["shape"]
    _expect(
        1 <= len(shape) <= 3 and all(map(_is_count, shape)),
        f"a frame of shape {shape}",
    )
    return kind(**values)


def _plain(x):
    return tuple(map(_plain, x)) if isinstance(x, list) else x


def _check_sizes(operation, shapes, arrays):
    """Raise unless the kernels read and write within their arrays."""
    name = type(operation).__name__
    kind, shape = type(operation), operation.shape
    _expect(operation.key not in shapes, f"{name} writes a key twice")
    if kind is operations.Source:
        return
    if kind is operations.Sum:
        same = [shapes[key] for key in operation.sources]
        _expect(len(same) > 1 and set(same) == {shape}, f"{name} of {same}")
        return
    if kind is operations.Concatenation:
        _check_joined(operation, [shapes[key] for key in operation.sources])
        return
    before = shapes[operation.source]
    frame, out = operations.as_frame(before), operations.as_frame(shape)
    text = f"{name} from {before} to {shape}"
    if kind is operations.Convolution:
        kernel = arrays[operation.kernel].shape
        _expect(len(kernel) >= 2, text)
        rows, columns, channels, outputs = (1,) * (4 - len(kernel)) + kernel
        _expect(channels == frame[2] and outputs == out[2], text)
        _expect_clipped(operation.strides, operation.before, text)
        _expect(rows * columns > 0 and len(before) == len(shape), text)
        _check_synapses(operation, arrays, outputs, text)
    elif kind is operations.Depthwise:
        kernel = arrays[operation.kernel].shape
        _expect(len(before) == len(shape) == len(kernel) - 1 > 1, text)
        *sizes, channels, multiplier = kernel
        _expect(channels == frame[2] and math.prod(sizes) > 0, text)
        _expect(channels * multiplier == out[2], text)
        _expect_clipped(operation.strides, operation.before, text)
        _check_bias(operation, arrays, out[2])
    elif kind is operations.Product:
        kernel = arrays[operation.kernel].shape
        _expect(kernel == (math.prod(before), math.prod(shape)), text)
        _expect(out[:2] == (1, 1), text)
        _check_synapses(operation, arrays, kernel[1], text)
    elif kind in (operations.Pooling, operations.MaxRatePooling):
        how = getattr(operation, "kind", "maximum")
        _expect(how in ("average", "maximum"), text)
        _expect(frame[2] == out[2], text)
        sizes = operation.size
        _expect(len(sizes) == 2 and all(map(_is_count, sizes)), text)
        _expect_windows(out, frame, operation.strides, sizes, text)
    elif kind is operations.Reshape:
        _expect(math.prod(before) == math.prod(shape), text)
    elif kind is operations.Normalization:
        _expect(before == shape, text)
        _expect(0 <= float(operation.epsilon) < math.inf, text)
        names = dict(operation.weights)
        known = {"gamma", "beta", "moving_mean", "moving_variance"}
        needed = {"moving_mean", "moving_variance"}
        _expect(needed <= set(names) <= known, text)
        for name, weight in names.items():
            known = {(shape[-1],)}
            if name == "beta":  # may be one of each position
                known.add(tuple(shape))
            _expect(arrays[weight].shape in known, text)
    else:
        _expect(before == shape, text)
        beta = _number(operation.beta, arrays, shape, text)
        _expect(np.all((0 < beta) & (beta <= 1)), f"{text}, beta")
    if kind is operations.Neurons:
        _expect(isinstance(operation.subtract, bool), text)
        same = isinstance(operation.threshold, str) is operation.differ
        _expect(same, f"{text}, numbers")
        threshold = _number(operation.threshold, arrays, shape, text)
        for x in (threshold, float(operation.initial_potential)):
            _expect(np.all(np.isfinite(x)), f"{text}, numbers")


def _check_joined(operation, shapes):
    """Raise unless frames of some shapes lie side by side in the result."""
    axis, rank = operation.axis, len(operation.shape)
    text = f"Concatenation of {shapes} to {operation.shape}, axis {axis!r}"
    _expect(len(shapes) > 1 and _is_count(axis, -rank) and axis < 0, text)
    sizes = [list(shape) for shape in shapes]
    joined = list(operation.shape)
    _expect(all(len(x) == rank for x in sizes), text)
    _expect(sum(x.pop(axis) for x in sizes) == joined.pop(axis), text)
    _expect(all(x == joined for x in sizes), text)


def _number(value, arrays, shape, text):
    """Return a number, or the array of one a neuron that it names."""
    if not isinstance(value, str):
        return np.float64(value)
    _expect(arrays[value].shape == tuple(shape), f"{text}, numbers")
    return arrays[value]


def _expect_windows(out, frame, strides, sizes, text):
    """Raise unless windows lie within the frame."""
    _expect(len(strides) == 2 and all(map(_is_count, strides)), text)
    for n, stride, size, width in zip(out, strides, sizes, frame):
        _expect((n - 1) * stride + size <= width, text)


def _expect_clipped(strides, zeros, text):
    """Raise unless windows are such as convolutions clip to the frame."""
    _expect(len(strides) == len(zeros) == 2, text)
    for stride, zero in zip(strides, zeros):
        _expect(_is_count(stride) and stride <= LARGEST, text)
        _expect(_is_count(zero, 0) and zero <= LARGEST, text)


def _check_synapses(operation, arrays, outputs, text):
    """Raise unless scales and biases are one an output."""
    if operation.scales != NO_SCALES:
        _expect(arrays[operation.scales].shape == (outputs,), text)
        # Sums in int16 count on it.
        _expect(np.all(arrays[operation.kernel] != -128), text)
    _check_bias(operation, arrays, outputs)


def _check_bias(operation, arrays, outputs):
    if operation.bias != NO_BIAS:
        bias = arrays[operation.bias]
        _expect(bias.shape == (outputs,), "a bias of another size")
