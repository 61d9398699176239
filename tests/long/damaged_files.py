"""Thousands of damaged files of every kind that is read.

    python -m tests.long.damaged_files --flips 2000

Cuts each at every 1/50 and flips single bits at random places; see
`tests/damage.py` for what is right then. Writes
`tests/long/results/damaged_files.json`: how many were refused, read
unharmed, or, in formats without checksums, taken with another value.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import warnings

from keras_snn.training import records
from tests import damage

RESULT = pathlib.Path(__file__).parent / "results" / "damaged_files.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=pathlib.Path, default=RESULT)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    counts, faults = {}, []
    for name, door in damage.doors().items():
        with tempfile.TemporaryDirectory() as folder:
            trial = damage.Trial(door, folder)
            trial.cuts()
            trial.flips(args.flips, args.seed)
        checked = {"has_checksums": door.is_checked}
        counts[name] = {**checked, "bytes": len(trial.whole), **trial.counts}
        print(name, counts[name], flush=True)
        for fault in trial.faults:
            print("   ", fault, flush=True)
        faults += [f"{name}: {fault}" for fault in trial.faults]
    result = {
        "flips": args.flips,
        "cuts": 50,
        "cases": sum(
            x["refused"] + x["unharmed"] + x["another value"]
            for x in counts.values()
        ),
        "doors": counts,
        "faults": faults,
        "seed": args.seed,
        "versions": records.versions(),
    }
    args.output.parent.mkdir(exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if faults:
        sys.exit(f"{len(faults)} faults")


if __name__ == "__main__":
    main()
