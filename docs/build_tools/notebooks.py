"""The notebooks of examples/notebooks: run, and shown as pages.

    pip install nbclient ipykernel
    python docs/build_tools/notebooks.py    # runs all, keeps what they print

Pages are made of what stands in the files; building them runs nothing.
"""

import base64
import json
import pathlib
import re
import sys
import tempfile

FOLDER = pathlib.Path(__file__).parents[2] / "examples" / "notebooks"
# What TensorFlow's C++ says as it starts, whatever the settings.
STARTING = (
    "WARNING: All log messages before absl::InitializeLog()",
    "INFO: Created TensorFlow Lite",
)


def page(path):
    """Return a notebook as Markdown, and its pictures by file name."""
    parts, pictures = [], {}
    cells = json.loads(path.read_text("utf-8"))["cells"]
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(r"\.ipynb([)#])", r".md\1", source))
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            name = f"{path.stem}_{number}_{len(pictures)}.png"
            parts.append(_shown(output, name, pictures))
        if number == 1:
            note = f"This page is the notebook `examples/notebooks/{path.name}`"
            parts.insert(1, f"*{note}, run from top to bottom.*")
    return "\n\n".join(parts) + "\n", pictures


def _shown(output, name, pictures):
    """Return an output as Markdown; add its picture under `name`."""
    if "text" in output:
        return _text(output["text"])
    data = output["data"]
    if "image/png" in data:
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return f"![What the code above draws]({name})"
    if "text/html" in data:
        table = re.sub(
            r"(?s)<style.*?</style>|</?div>", "", "".join(data["text/html"])
        )
        # Without a class it looks as the other tables do.
        return re.sub(r"<table[^>]*>", "<table>", table.strip())
    return _text(data["text/plain"])


def _text(lines):
    text = "".join(lines).rstrip()
    return f"```text\n{text}\n```"


def execute(path):
    """Run a notebook in an empty folder; write what it prints into it."""
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook,
            timeout=1800,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        ).execute()
    # The version of Python that ran it is no part of it.
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = list(filter(_says_something, cell.outputs))
    path.write_text(nbformat.writes(notebook).rstrip() + "\n", "utf-8")


def _says_something(output):
    if output["output_type"] == "stream":
        return not output["text"].startswith(STARTING)
    return bool(output["data"]["text/plain"].strip())


if __name__ == "__main__":
    names = sys.argv[1:] or sorted(FOLDER.glob("*.ipynb"))
    for path in map(pathlib.Path, names):
        print(path)
        execute(path)
