"""The look of tables on the terminal."""

import rich.box
import rich.table


def table(title, texts, numbers, **options):
    """Return a table without rows; `options` are of the columns of texts."""
    found = rich.table.Table(
        title=title, box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in texts:
        found.add_column(name, **{"no_wrap": True, **options})
    for name in numbers:
        found.add_column(name, justify="right", no_wrap=True)
    return found
