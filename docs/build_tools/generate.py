"""Write the pages that only running code knows: commands and networks.

    python docs/build_tools/generate.py

The rest of the site is built without importing the package.
"""

import dataclasses
import inspect
import pathlib
import re
import textwrap

import click
import typer
from typer.cli import get_docs_for_click

from keras_snn import models
from keras_snn.cli import app

API = pathlib.Path(__file__).parents[1] / "api"

TITLE = re.compile(r"\[bold\](\w+)\[/bold\]")
COMMANDS = re.compile(r"^(?:  +\S.*\n)+", re.MULTILINE)
DIM = re.compile(r"\[/?dim\]")
COMMAND = re.compile(r"^\* `([a-z-]+)`: .*\.\.\.$", re.MULTILINE)
ARGUMENT = re.compile(r"^    (\w+): ((?:.+\n)(?:     .+\n)*)", re.MULTILINE)


def command_line():
    """Return usage, arguments and options of every command."""
    command = typer.main.get_command(app)
    context = click.Context(command, info_name="keras-snn")
    text = get_docs_for_click(obj=command, ctx=context, name="keras-snn")
    # Click's mark for text that is not to be wrapped.
    text = DIM.sub("", text.replace("\b", ""))
    text = COMMANDS.sub(_console, TITLE.sub(r"**\1**:", text))

    def whole(match):
        name = match.group(1)
        return f"* `{name}`: {command.commands[name].get_short_help_str(200)}"

    text = COMMAND.sub(whole, text)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _console(match):
    lines = textwrap.indent(
        textwrap.dedent(match.group(0)), "$ ", lambda x: not x.startswith(" ")
    )
    return f"```console\n{lines}```\n"


def networks():
    """Return the published networks, and the arguments that all share."""
    builders = [
        getattr(models, name)
        for name in models.__all__
        if hasattr(getattr(models, name), "defaults")
    ]
    builders.sort(key=lambda f: (f.__name__.rstrip("0123456789"), _size(f)))
    parts = [
        "# Published networks",
        "Functions of `keras_snn.models` that build a "
        "[`keras_snn.Model`][keras_snn.models.Model] each. They take the same "
        "arguments and differ in their layers and defaults.",
        "## Arguments",
        _arguments(inspect.getdoc(models.VGG9)),
        "## Defaults",
        _defaults(builders),
        "## Networks",
        *map(_network, builders),
    ]
    return "\n\n".join(parts) + "\n"


def _size(builder):
    return int(re.sub(r"\D", "", builder.__name__) or 0)


def _arguments(docstring):
    section = docstring.split("Args:\n")[1].split("\n\n")[0] + "\n"
    return "\n".join(
        f"- **`{name}`** – {' '.join(_general(text).split())}"
        for name, text in ARGUMENT.findall(section)
    )


def _general(text):
    """Return an argument's text without the default of one network."""
    return re.sub(
        r"(`\"auto\"` \(default\)\s+is|Defaults to)"
        r"\s+[^.]*(\d\.\d+[^.]*)*network\)\.|Defaults to\s+`\([^`]*\)`\.",
        "Defaults below.",
        text,
    )


def _defaults(builders):
    """Return a table of what each network is built with."""
    fields = dataclasses.fields(models.VGG9.defaults.setup)
    names = ["input_shape", *(x.name for x in fields)]
    rows = ["| | " + " | ".join(f"`{x}`" for x in names) + " |"]
    rows.append("|---" * (len(names) + 1) + "|")
    for builder in builders:
        defaults = builder.defaults
        setups = [("", defaults.setup)]
        if defaults.has_paper:
            setups.append((", the paper's", defaults.paper))
        for which, setup in setups:
            values = [defaults.input_shape, *dataclasses.astuple(setup)]
            cells = " | ".join(f"`{x}`" for x in values)
            rows.append(f"| {builder.__name__}{which} | {cells} |")
    return "\n".join(rows)


def _network(builder):
    name = builder.__name__
    docstring = inspect.getdoc(builder)
    summary = docstring.split("\n\nArguments are in")[0]
    paper = docstring.split("References:\n    - ")[1]
    signature = inspect.signature(builder)
    arguments = ",\n    ".join(_parameters(signature))
    return (
        f"### keras_snn.models.{name} {{ #keras_snn.models.{name} }}\n\n"
        f"```python\n{name}(\n    {arguments},\n)\n```\n\n{summary}\n\n"
        f"From {' '.join(paper.split())}."
    )


def _parameters(signature):
    """Return the parameters as text, and the star before keywords."""
    star = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            yield "*"
        # The text on each argument says its type.
        yield str(parameter.replace(annotation=parameter.empty))


PAGES = {"command_line.md": command_line, "networks.md": networks}

if __name__ == "__main__":
    for file, page in PAGES.items():
        (API / file).write_text(page(), "utf-8")
