"""The benchmark of converted networks at toy size."""

import json

import pytest

from benchmarks import conversion


@pytest.mark.long
def test_accuracy_over_time_is_measured_and_resumed(tmp_path, capsys):
    arguments = ["--smoke", "--output", str(tmp_path)]
    conversion.main(arguments)
    results = json.loads((tmp_path / "conversion.json").read_text())
    cases = results["digits"]["cases"]
    assert list(cases) == list(conversion.CASES)
    for case in cases.values():
        assert list(case["accuracy"]) == ["4", "8"]
        assert case["report"]["time_steps"] == 8
    assert "| percentile |" in (tmp_path / "conversion.md").read_text()
    capsys.readouterr()
    conversion.main(arguments)
    assert "digits: max" not in capsys.readouterr().out
    assert json.loads((tmp_path / "conversion.json").read_text()) == results


def test_the_verdict_on_a_bar():
    entry = {
        "ann": 0.990,
        "cases": {"percentile": {"accuracy": {"256": 0.988}}},
    }
    (line,) = conversion.bars("mnist", entry)
    assert "loses 0.20 points" in line and line.endswith("missed.")
    entry["cases"]["percentile"]["accuracy"]["256"] = 0.9895
    assert conversion.bars("mnist", entry)[0].endswith("asked for: met.")
