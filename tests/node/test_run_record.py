"""parkcos/node/run_record.py: how a task ended that was to end, and whose code is interrupted."""

from __future__ import annotations

import math
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from parkcos.cluster import namespace
from parkcos.cluster import server_messages as sm
from parkcos.errors import TaskTimeout
from parkcos.kernel import Outcome
from parkcos.net.payload import PICKLE
from parkcos.node.run_record import Running, whose_code


def running(outcome: Outcome | None, timeout_s: float = 0.0, **flags: bool) -> Running:
    task: Any = SimpleNamespace(outcome=outcome)
    return Running(sm.RunTask(1, 7, "work", io=False, timeout_s=timeout_s), PICKLE, b"", task, **flags)


FINISHED = Outcome("finished", 3)
INTERRUPTED = Outcome("failed", None, KeyboardInterrupt(), "")


def test_how_it_ended_that_was_to_end() -> None:
    assert running(FINISHED).forced_end() is None
    assert running(FINISHED, to_end=True).forced_end() is None, "it had a last word"
    for outcome in (INTERRUPTED, None):
        ended = running(outcome, to_end=True).forced_end()
        assert ended is not None and ended.kind == "terminated"


def test_how_it_ended_that_has_had_its_time() -> None:
    now = time.monotonic()
    assert running(FINISHED, 5.0).forced_end(now + 60) is None
    assert running(FINISHED, 5.0).forced_end(math.inf) is None
    for late in (running(FINISHED, 5.0).forced_end(now - 1), running(INTERRUPTED, 5.0, timed_out=True).forced_end()):
        assert late is not None and isinstance(late.exception, TaskTimeout)
        assert "work was ended: it ran for longer than its time limit of 5 s" in str(late.exception)
    both = running(INTERRUPTED, 5.0, timed_out=True, to_end=True).forced_end()
    assert both is not None and isinstance(both.exception, TaskTimeout), "it had its time before"


def test_what_a_space_imports_is_the_users_code(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt need not wait until a long import is over."""
    (tmp_path / "imported_in_a_space.py").write_text(
        "import sys\nfrom parkcos.node.run_record import whose_code\nat = whose_code(sys._getframe())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    space = namespace.of(1)
    try:
        names = space.module_globals("__main__")
        exec("def _run_rounds(f): return f()\ndef f():\n import imported_in_a_space as found\n return found.at", names)
        names["whose_code"], names["sys"] = whose_code, sys
        exec("def g(): return whose_code(sys._getframe())", names)
        assert [names["_run_rounds"](names[name]) for name in ("f", "g")] == ["user", "user"]
        assert names["_run_rounds"](lambda: namespace.HOME.loads(PICKLE, CALLS)) == "parkcos"
    finally:
        sys.modules.pop("imported_in_a_space", None)
        namespace.drop([1])


CALLS = b"cparkcos.node.run_record\nwhose_code\n(csys\n_getframe\n(tRtR."
"""The pickle of a call of it, while something is unpickled."""
