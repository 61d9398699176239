"""oneDNN is on unless the environment says otherwise."""

import logging
import os
import subprocess
import sys

import pytest

from keras_snn import onednn

OLD = "processor : 0\nflags : fpu sse2 avx avx2 avx512f\n"
NEW = "processor : 0\nflags : fpu sse2 avx avx2 avx512f avx512_vnni\n"


@pytest.fixture
def imported(monkeypatch, tmp_path, caplog):
    """Return a function: import the package on a made machine.

    It returns the switch and the lines of the log.
    """

    def turn_on(tensorflow=False, cpu=OLD, machine="x86_64", switch=None):
        monkeypatch.delenv(onednn.SWITCH, raising=False)
        if switch is not None:
            monkeypatch.setenv(onednn.SWITCH, switch)
        monkeypatch.setattr(onednn.platform, "machine", lambda: machine)
        monkeypatch.setattr(onednn, "CPU_INFO", tmp_path / "cpuinfo")
        if cpu is not None:
            onednn.CPU_INFO.write_text(cpu)
        modules = {k: v for k, v in sys.modules.items() if k != "tensorflow"}
        if tensorflow:
            modules["tensorflow"] = None
        monkeypatch.setattr(onednn.sys, "modules", modules)
        with caplog.at_level(logging.WARNING, "keras_snn"):
            onednn.turn_on()
        return os.environ.get(onednn.SWITCH), caplog.messages

    return turn_on


def test_it_is_turned_on_before_tensorflow_is_imported(imported):
    assert imported() == ("1", [])


@pytest.mark.parametrize("switch", ["0", "1"])
@pytest.mark.parametrize("tensorflow", [False, True])
def test_the_environment_has_the_last_word(imported, switch, tensorflow):
    assert imported(tensorflow, switch=switch) == (switch, [])


def test_afterwards_one_line_says_what_to_do(imported):
    switch, (line,) = imported(tensorflow=True)
    assert switch is None
    assert "Import keras_snn first or set TF_ENABLE_ONEDNN_OPTS=1" in line


@pytest.mark.parametrize("cpu", [NEW, None])
def test_where_tensorflow_has_it_on_nothing_is_said(imported, cpu):
    assert imported(tensorflow=True, cpu=cpu) == (None, [])


def test_other_processors_are_left_alone(imported):
    assert imported(machine="aarch64") == (None, [])


@pytest.mark.skipif(
    onednn.platform.machine() not in ("x86_64", "AMD64"), reason="for x86"
)
def test_importing_the_package_turns_it_on():
    program = (
        "import os, sys; sys.argv = ['keras-snn']; import keras_snn; "
        f"print(os.environ['{onednn.SWITCH}'], 'tensorflow' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k != onednn.SWITCH}
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["1", "False"]
