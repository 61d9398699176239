"""Many drawn values of the arguments in `tests/fuzzing.py`.

    python -m tests.long.fuzz --examples 20000

Draws by Hypothesis, anew for each `--seed`, and writes what is wrong, one case
of each argument and kind of value, and how many cases were tried, into
`tests/long/results/fuzz.json`.
"""

import argparse
import collections
import json
import pathlib

import hypothesis

from tests import fuzz_strategies, fuzzing

RESULTS = pathlib.Path(__file__).parent / "results"


def tried(calls, examples, seed):
    """Return the faults by argument and kind, and cases tried by name."""
    found, counts = {}, collections.Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(fuzz_strategies.cases(calls))
    def check(case):
        name, _, _, argument, kind, _ = case
        counts[name] += 1
        line = fuzzing.fault(*case)
        if line:
            found.setdefault((name, argument, kind), line)

    check()
    return list(found.values()), counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    result = {"examples": args.examples, "seed": args.seed}
    for kind, calls, share in (
        ("constructors", fuzzing.calls(), 1),
        # They build and run networks.
        ("functions", fuzzing.calls_with_data(), 5),
    ):
        calls = [c for c in calls if fuzzing.arguments_of(c[1])]
        faults, counts = tried(calls, args.examples // share, args.seed)
        result[kind] = {"cases": counts.total(), "faults": faults}
        print(kind, json.dumps(result[kind], indent=1), flush=True)
    text = json.dumps(result, indent=1) + "\n"
    (RESULTS / "fuzz.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
