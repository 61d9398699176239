"""The tables of `benchmarks/README.md` on one image."""

import pathlib

PAGE = pathlib.Path(__file__).parents[1] / "README.md"
START, END = "<!-- one image -->\n", "<!-- end one image -->"
COLUMNS = {
    (1, 1): "one image, one thread",
    (1, 2): "two threads",
    (32, 1): "32 images, one thread",
    (32, 2): "two threads",
}
PEERS = {
    "onnxruntime-float32": "ReLUs, ONNX Runtime, float32",
    "onnxruntime-int8": "ReLUs, ONNX Runtime, int8",
    "openvino-float32": "ReLUs, OpenVINO, float32",
    "openvino-default": "ReLUs, OpenVINO, {precision}",
    "openvino-int8": "ReLUs, OpenVINO, int8",
    "pytorch-relu": "ReLUs, PyTorch, float32",
}
WEIGHTS = "float32", "int8"
# Of dense networks, and of the trained spiking network of the same layers.
NETWORKS = {
    "VGG9": ("vgg9", "vgg9_trained"),
    "SpikingCNN": ("spikingcnn", "spikingcnn"),
}


def described(row):
    """Return one line about a finished row."""
    name = "{library:20} {network:13} {images:2} x {threads}".format(**row)
    if row["status"] != "ok":
        return f"{name} {row['status']}"
    return f"{name} {row['cells'][-1]['median_ms']:8.2f} ms"


def rows_of(results, network, library):
    """Return rows by images and threads."""
    return {
        (row["images"], row["threads"]): row
        for row in results["rows"]
        if (row["network"], row["library"]) == (network, library)
    }


def _milliseconds(row, index=0):
    if row is None:
        return "-"
    if row["status"] != "ok":
        return row["status"]
    return f"{row['cells'][index]['median_ms']:.2f} ms"


def _line(*cells):
    return f"| {' | '.join(cells)} |"


def _head(first, columns):
    rule = ["---", *["---:"] * len(columns)]
    return [_line(first, *columns), f"|{'|'.join(rule)}|"]


def _cells(rows, index=0):
    return [_milliseconds(rows.get(column), index) for column in COLUMNS]


def _ok(rows):
    return next((x for x in rows.values() if x["status"] == "ok"), None)


def compared(results, title, dense, spiking):
    """Return the lines of the table of a network beside its dense twin."""
    lines = _head(title, COLUMNS.values())
    for library, name in PEERS.items():
        rows = rows_of(results, dense, library)
        if rows:
            precision = (_ok(rows) or {}).get("precision")
            name = name.format(precision=precision)
            lines.append(_line(name, *_cells(rows)))
    for library, name in (
        ("pytorch-spiking", "spikes, PyTorch, float32"),
        *((f"runtime-{x}", f"**keras_snn, {x}**") for x in WEIGHTS),
    ):
        network = dense if library == "pytorch-spiking" else spiking
        rows = rows_of(results, network, library)
        for index, cell in enumerate((_ok(rows) or {"cells": []})["cells"]):
            label = f"{name}, T = {cell['time_steps']}"
            lines.append(_line(label, *_cells(rows, index)))
    return lines


def by_rate(results):
    """Return the lines of the table of VGG9 as built, one image."""
    lines = []
    for weights in WEIGHTS:
        rows = rows_of(results, "vgg9", f"runtime-{weights}")
        for threads in (1, 2):
            row = rows.get((1, threads))
            if row is None or row["status"] != "ok":
                continue
            cells = row["cells"]
            rates = list(dict.fromkeys(x["rate"] for x in cells))
            lines = lines or _head("VGG9 as built", [f"{x:.0%}" for x in rates])
            for steps in dict.fromkeys(x["time_steps"] for x in cells):
                times = [
                    f"{x['median_ms']:.2f} ms"
                    for x in cells
                    if x["time_steps"] == steps
                ]
                plural = "one thread" if threads == 1 else "two threads"
                label = f"{weights}, {plural}, T = {steps}"
                lines.append(_line(label, *times))
    return lines


def early(results):
    """Return the lines of the table of early answers."""
    columns = (
        *("accuracy, T = 4", "early", "steps", "early, one thread"),
        *("all steps", "early, two threads", "all steps"),
    )
    lines = _head("early answers", columns)
    for title, (_, network) in NETWORKS.items():
        exits = results["networks"].get(network, {}).get("exits", {})
        for weights, found in exits.items():
            times = []
            for threads in (1, 2):
                row, full = (
                    rows_of(results, network, f"{x}-{weights}").get(
                        (1, threads)
                    )
                    for x in ("exit", "runtime")
                )
                times += [
                    _milliseconds(row),
                    _milliseconds(full, _index_of_four(full)),
                ]
            test = found["test"]
            lines.append(
                _line(
                    f"{title}, {weights}",
                    f"{test['full_accuracy']:.2%}",
                    f"{test['accuracy']:.2%}",
                    f"{test['steps']:.2f}",
                    *times,
                )
            )
    return lines


def _index_of_four(row):
    cells = row["cells"] if row and row["status"] == "ok" else []
    steps = [x["time_steps"] for x in cells]
    return steps.index(4) if 4 in steps else 0


def text(results):
    """Return all tables."""
    parts = [
        compared(results, title, *names) for title, names in NETWORKS.items()
    ]
    parts += [by_rate(results), early(results)]
    parts = [x for x in parts if len(x) > 2]
    machine = results["machine"]
    features = ", ".join(machine.get("features", []))
    head = f"{machine.get('processor')}, {machine['cores']} cores ({features})."
    return "\n\n".join([head, *("\n".join(x) for x in parts)])


def filled(page, results):
    """Return the page with its tables made anew."""
    before, rest = page.split(START)
    return f"{before}{START}\n{text(results)}\n\n{END}{rest.split(END)[1]}"
