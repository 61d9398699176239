"""Entry point of the commands `keras-snn` and `python -m keras_snn`."""

import sys

INSTALL = 'pip install "keras-snn[cli]"'


def main():
    """Run the command line, or say what to install for it."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        print(
            f"The command line needs {error.name}, which is not installed. "
            f"Run: {INSTALL}",
            file=sys.stderr,
        )
        sys.exit(1)
    from keras_snn.cli import app

    app(prog_name="keras-snn")


if __name__ == "__main__":
    main()
