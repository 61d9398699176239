"""What griffe, which reads the package without importing it, has to be told.

Docstrings here have Keras' sections ("Call arguments:", "Input shape:"),
which its Google parser does not know, and some modules import their public
names at first use, which only shows when the code runs.
"""

import ast
import re

import griffe

# Sections with a list of arguments, and their titles.
_RENAMED = {
    "Args": "Args: Arguments:",
    "Call arguments": "Other Parameters: Call arguments:",
}
# Sections of plain text, which become a bold line and that text.
_PLAIN = ("Input shape", "Output shape", "Returns", "Example", "References")
_SECTION = re.compile(r"^([A-Z][a-z]+(?: [a-z]+)?):$")
_EXAMPLE = re.compile(r"^>>> (?:.+\n)*.+", re.MULTILINE)


class KerasDocstrings(griffe.Extension):
    """Rewrites sections for the parser, and adds names imported lazily."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring is not None:
            obj.docstring.value = google_style(obj.docstring.value)

    def on_package(self, *, pkg, **kwargs):
        if pkg.path != "keras_snn":
            return
        homes = ast.literal_eval(str(pkg["export._HOME"].value))
        for name, module in homes.items():
            target = f"{pkg.path}.export.{module}.{name}"
            pkg["export"].set_member(name, griffe.Alias(name, target))


def google_style(docstring):
    """Return a docstring with Keras' sections as the Google parser wants."""
    lines, section = [], None
    for line in docstring.split("\n"):
        if line and not line[0].isspace():
            match = _SECTION.match(line)
            section = match and match.group(1)
            if section in _PLAIN:
                lines += [f"**{section}:**", ""]
                continue
            line = _RENAMED.get(section, line)
        elif section in _PLAIN:
            line = line.removeprefix("    ")
        lines.append(line)
    return _EXAMPLE.sub(r"```pycon\n\g<0>\n```", "\n".join(lines))
