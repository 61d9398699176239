"""`history.json`: what a run was asked to do, and what came out so far."""

import contextlib
import json
import math
import shutil
from importlib import metadata
from pathlib import Path

from keras_snn import atomic, untrusted

HISTORY = "history.json"
LOCK = ".lock"
BEST = "best.keras"
BACKUP = "backup"
ANN = "ann.keras"
ANN_BACKUP = "backup_ann"
SAVED_MODEL = "saved_model"
LOGS = "logs"


def new_record(settings, command=None):
    """Return the record of a run in which no epoch has finished.

    Args:
        settings: the `Settings` of the run.
        command: the command line that started it, if one did.
    """
    return {
        "commands": [command] if command else [],
        "status": "running",
        "settings": settings.to_dict(),
        "seed": settings.seed,
        "versions": versions(),
        "history": {},
        "result": {},
    }


def versions():
    """Return the versions of everything that determines the numbers."""
    import platform

    import keras

    found = {
        "python": platform.python_version(),
        "backend": keras.config.backend(),
    }
    for package in ("keras-snn", "keras", "tensorflow", "jax", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_record(directory, record):
    """Write `history.json` so that a kill never leaves half a file."""
    text = json.dumps(record, indent=2) + "\n"
    atomic.write_text(Path(directory) / HISTORY, text)


def read_record(directory):
    """Return the record in `directory`, or `None` if it holds none."""
    path = Path(directory) / HISTORY
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text("utf-8"))
        _check_record(record)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} is not the record of a run ({untrusted.summary(error)}). "
            "Start over with `--overwrite`, or in another `--output`."
        ) from None
    return record


def _check_record(record):
    """Raise a `ValueError` or so unless a record has what is read of it."""
    kinds = {"settings": dict, "history": dict, "commands": list}
    kinds |= {"status": str, "result": dict}
    for name, kind in kinds.items():
        if not isinstance(record[name], kind):
            raise ValueError(f"{name!r} is no {kind.__name__}")
    ann = record.get("ann", {"history": {}})
    for history in (record["history"], ann["history"]):
        for name, values in history.items():
            if not isinstance(values, list) or not all(map(_number, values)):
                raise ValueError(f"{name!r} of its history is no numbers")


def _number(x):
    return x is None or type(x) in (int, float)


def epochs_done(record):
    """Return the number of epochs whose metrics the record holds."""
    # Metrics of callbacks may have begun later than the run.
    return len(record["history"].get("val_accuracy", []))


def add_epoch(record, epoch, logs):
    """Store the metrics of `epoch` (from 0), dropping any later ones.

    A run killed between writing its history and its checkpoint repeats the
    epoch's end when it is resumed, which replaces the first attempt.
    """
    history = record["history"]
    for name, value in logs.items():
        kept = history.get(name, [])[:epoch]
        missed = [None] * (epoch - len(kept))
        # JSON has no NaN.
        value = float(value) if math.isfinite(value) else None
        history[name] = [*kept, *missed, value]


def cut(record, epochs):
    """Forget the metrics of all but the first epochs."""
    for values in record["history"].values():
        del values[epochs:]


def check_same_settings(record, settings):
    """Raise a `ValueError` unless `settings` continue the recorded run.

    Only the number of epochs may change.
    """
    # Of settings that are newer than the run it had the defaults.
    before = {**type(settings)().to_dict(), **record["settings"]}
    changed = [
        f"`{name}` was {before[name]!r}, received {now!r}"
        for name, now in settings.to_dict().items()
        if name != "epochs" and before[name] != now
    ]
    if changed:
        raise ValueError(
            "A resumed run keeps its settings; only `epochs` may change. "
            f"{'; '.join(changed)}. Leave these options out, or start a new "
            "run in another `--output`."
        )


def find_run(directory, resume=False, overwrite=False):
    """Return the record to resume, or `None` for a new run.

    Raises a `ValueError` where a new run would mix with other files. Nothing
    is changed on the disk.

    Args:
        directory: the output folder of the run.
        resume: whether to continue the run in `directory`. An empty or
            missing folder starts a new run, so that the same command can
            be repeated until it ends.
        overwrite: whether an earlier run may be replaced.
    """
    directory = Path(directory)
    if resume and overwrite:
        raise ValueError(
            "`--resume` continues the run in the folder, `--overwrite` "
            "replaces it. Received both; choose one of them."
        )
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"{directory} is a file; `--output` needs a folder.")
    record = read_record(directory) if resume else None
    is_empty = not directory.is_dir() or not any(directory.iterdir())
    if is_empty or overwrite or record is not None:
        return record
    if resume:
        raise ValueError(
            f"{directory} holds no {HISTORY}, so there is no run to resume. "
            "Choose the `--output` of the run, or an empty folder."
        )
    raise ValueError(
        f"{directory} is not empty. Continue the run in it with `--resume`, "
        "replace the run with `--overwrite`, or choose another `--output`."
    )


@contextlib.contextmanager
def locked(directory):
    """Hold the folder of a run, so that no other one writes into it.

    The operating system ends the lock with the process, whatever ends that.

    Raises:
        ValueError: If another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    with open(Path(directory) / LOCK, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"Another run is writing into {directory}. Wait for its end, "
                "or choose another `--output`."
            ) from None
        yield


def make_folder(directory, overwrite=False):
    """Make the output folder; with `overwrite` delete an earlier run in it.

    Only files that a run writes are deleted. What a kill has left
    half-written is removed in any case.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name in (HISTORY, BEST, ANN, SAVED_MODEL):
        atomic.remove_drafts(directory / name)
    if not overwrite:
        return
    # Checkpoints first: left behind they would be gone on from.
    for name in (BACKUP, ANN_BACKUP, SAVED_MODEL, LOGS):
        folder = directory / name
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
    for name in (HISTORY, BEST, ANN):
        (directory / name).unlink(missing_ok=True)
