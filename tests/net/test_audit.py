"""The audit's lines, and how many there may be."""

from __future__ import annotations

import logging

from parkcos.net.audit import BURST, LINES_S, Audit
from tests.net.cluster_of_networks import Log


def test_so_many_and_no_more() -> None:
    now = 0.0
    audit = Audit(lambda: now)
    with Log(logging.INFO) as log:
        for number in range(BURST + 50):
            audit.note(logging.INFO, "line %d", number)
        assert len(log.lines) == BURST
        now += 0.5 / LINES_S
        audit.note(logging.INFO, "too early")
        assert len(log.lines) == BURST
        now += 1.0 / LINES_S
        audit.note(logging.INFO, "again")
    assert log.lines[-2:] == ["51 lines of the audit are left out: there were too many at once", "again"]


def test_it_has_a_name_of_its_own() -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("parkcos.audit")
    logger.addHandler(handler)
    try:
        Audit().note(logging.WARNING, "seen")
    finally:
        logger.removeHandler(handler)
    assert [record.getMessage() for record in records] == ["seen"]
