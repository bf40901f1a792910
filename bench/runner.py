"""One measurement is one fresh process, with a time limit and a home of its own; nothing it started outlives it."""

import json
import os
import signal
import subprocess
import tempfile
import uuid
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import psutil

from bench.table import Row
from bench.venv import PYTHON, ROOT

MARK = "PARKCOS_BENCH_RUN"  # in the environment of what a measurement starts, so that strays can be told
MISSING = "not there yet"
FAILURES_MAX = 2  # some peers lose a result now and then: they get another chance, but do not hold up the run


@dataclass
class Figures:
    """What one peer gave in one row, over the repetitions."""

    values: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)  # of latencies, whose value is the median
    trouble: str = ""  # the last
    failures: int = 0

    @property
    def value(self) -> float | None:
        return median(self.values) if self.values else None


def run_row(row: Row, repetitions: int, seconds: float) -> dict[str, Figures]:
    """All peers in turn, and again: what disturbs the machine for a while disturbs them alike."""
    figures = {peer: Figures() for peer in row.programs}
    for _ in range(repetitions):
        for peer, words in row.programs.items():
            if figures[peer].failures < FAILURES_MAX and figures[peer].trouble != MISSING:
                _measure(figures[peer], words, row.time_limit_s, seconds)
    return figures


def _measure(into: Figures, words: str, time_limit_s: float, seconds: float) -> None:
    module, *arguments = words.split()
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="pb-", ignore_cleanup_errors=True) as home:  # short: Ray has sockets in it
        places = {"HOME": home, "TMPDIR": home, "IPYTHONDIR": home, "PYTHONPATH": str(ROOT)}
        env = {**os.environ, **places, MARK: mark, "BENCH_SECONDS": str(seconds)}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # a user has his modules compiled
        with open(os.path.join(home, "out"), "w+") as out, open(os.path.join(home, "err"), "w+") as err:
            process = subprocess.Popen(
                [PYTHON, "-m", f"bench.rows.{module}", *arguments],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                process.wait(time_limit_s)
            except subprocess.TimeoutExpired:
                into.trouble = f"more than {time_limit_s:.0f} s"
            finally:
                _clear_away(mark)
                process.wait()
            out.seek(0)
            err.seek(0)
            result = _result(out.read())
            if "value" not in result:
                into.failures += 1
            if "missing" in result:
                into.trouble = MISSING
            elif "value" in result:
                into.values.append(float(result["value"]))
                into.means.extend([float(result["mean"])] if "mean" in result else [])
            elif not into.trouble:
                lines = err.read().strip().splitlines() or [f"exit {process.returncode}"]
                into.trouble = f"failed: {lines[-1][:200]}"


def _result(output: str) -> dict[str, Any]:
    """The last line of JSON; some peers log to their standard output."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            return dict(json.loads(line))
    return {}


def _clear_away(mark: str) -> None:
    """Kill every process that carries this measurement's mark, until there is none (a supervisor may restart some)."""
    for _ in range(10):
        strays = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                    strays.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        if not strays:
            return
        for process in strays:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(strays, timeout=1)
