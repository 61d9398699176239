"""oneDNN, where TensorFlow leaves it off by itself.

Convolutions of few channels take about a third of the time with it.
"""

import logging
import os
import pathlib
import platform
import sys

SWITCH = "TF_ENABLE_ONEDNN_OPTS"
CPU_INFO = pathlib.Path("/proc/cpuinfo")
# TensorFlow turns it on where a processor has one of these.
_SUFFICIENT = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile"}


def turn_on():
    """Have TensorFlow use oneDNN on x86, unless the environment says how.

    TensorFlow looks at `TF_ENABLE_ONEDNN_OPTS` when it is imported, so that
    later there is only to say what to do: in one line of the log, where it
    runs without.
    """
    if SWITCH in os.environ or platform.machine() not in ("x86_64", "AMD64"):
        return
    if "tensorflow" not in sys.modules:
        os.environ[SWITCH] = "1"
    elif _is_off():
        logging.getLogger("keras_snn").warning(
            "TensorFlow was imported before keras_snn and runs without "
            "oneDNN: convolutions of few channels take about three times as "
            "long. Import keras_snn first or set %s=1; %s=0 leaves it off "
            "without this line.",
            SWITCH,
            SWITCH,
        )


def _is_off():
    """Return whether TensorFlow leaves it off, as far as Linux tells."""
    if not CPU_INFO.exists():
        return False
    flags = next(
        (x for x in CPU_INFO.read_text().splitlines() if x.startswith("flags")),
        "",
    )
    return bool(flags) and not _SUFFICIENT & set(flags.split())
