"""Pages and a table of the site that live elsewhere in the project."""

import pathlib
import re

import notebooks
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[2]
# Where it is in the project, and where on the site.
PAGES = {
    "benchmarks/README.md": "benchmarks/index.md",
    "benchmarks/accuracy.md": "benchmarks/accuracy.md",
    "benchmarks/choices.md": "benchmarks/choices.md",
}
FOLDERS = ("benchmarks/results",)
SUFFIXES = (".md", ".png")


def on_files(files, config):
    """Add the benchmarks' README, tables and pictures, and the notebooks."""
    pages = dict(PAGES)
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                name = path.relative_to(ROOT).as_posix()
                pages[name] = name
    for source, target in pages.items():
        files.append(
            File.generated(config, target, abs_src_path=str(ROOT / source))
        )
    for path in sorted(notebooks.FOLDER.glob("*.ipynb")):
        text, pictures = notebooks.page(path)
        shown = {f"{path.stem}.md": text, **pictures}
        for name, content in shown.items():
            target = f"notebooks/{name}"
            files.append(File.generated(config, target, content=content))
    return files


def on_page_markdown(markdown, page, **kwargs):
    """Put tables where pages ask for them."""
    readme = (ROOT / "README.md").read_text("utf-8")
    tables = re.finditer(r"(^\|.*\n)+", readme, re.MULTILINE)
    for number, table in enumerate(tables, 1):
        place = f"{{{{ table {number} of README.md }}}}"
        markdown = markdown.replace(place, table.group(0))
    exports = (ROOT / "docs" / "export_table.md").read_text("utf-8")
    return markdown.replace("{{ docs/export_table.md }}", exports)
