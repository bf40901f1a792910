"""What all tests share: a home of their own, the rules about skips and leaks, and labs of several hosts."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from multiprocessing import resource_tracker
from typing import Any

import hypothesis
import psutil
import pytest

from tests import control_groups
from tests.lab import Lab, unavailable
from tests.logs import Logs

IN_CI = bool(os.environ.get("PARKCOS_CI"))
LEAK_GRACE_S = 3.0
SESSION_TAG = "PARKCOS_TEST_SESSION"  # inherited by all processes that tests start, so that orphans are found too


# A home of its own: no test reads or writes the user's settings and secret.


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; programs would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # tmp_path outlives the session, as always
    home = tempfile.mkdtemp(prefix="parkcos-test-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    kept = ("PARKCOS_CI", "PARKCOS_FUZZ_SECONDS")
    for name in [name for name in os.environ if name.startswith("PARKCOS_") and name not in kept]:
        del os.environ[name]
    folders = {
        "": ["HOME", "USERPROFILE"],
        "config": ["XDG_CONFIG_HOME", "APPDATA"],
        "cache": ["XDG_CACHE_HOME", "LOCALAPPDATA"],
        "data": ["XDG_DATA_HOME"],
        "state": ["XDG_STATE_HOME"],
        "tmp": ["TMPDIR", "TEMP", "TMP"],
    }
    for folder, variables in folders.items():
        path = os.path.join(home, folder).rstrip(os.sep)
        os.makedirs(path, exist_ok=True)
        os.environ.update(dict.fromkeys(variables, path))
    tempfile.tempdir = None
    os.environ[SESSION_TAG] = os.path.basename(home)
    config.pluginmanager.register(Logs())
    hypothesis.settings.register_profile("parkcos", deadline=None)  # how long an example takes says nothing here
    hypothesis.settings.load_profile("parkcos")


# Skips: said in words; in CI, where everything is installed, a skip is a failure.


def need_root() -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs root")


def need_namespaces() -> None:
    if reason := unavailable():
        pytest.skip(f"needs several hosts on this machine: {reason}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root"):
        need_root()
    if item.get_closest_marker("netns"):
        need_namespaces()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Control groups are the machine's, and cannot be installed: see tests/control_groups.py."""
    needing = [item for item in items if item.get_closest_marker("control_groups")]
    if needing and (reason := control_groups.unavailable()):
        items[:] = [item for item in items if item not in needing]
        config.hook.pytest_deselected(items=needing)
        print(f"{len(needing)} tests of control groups are not run: {reason}", file=sys.stderr)


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"Nothing may be skipped in CI. {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    _refuse_skip(report)
    return report


# Leaks: what a live test started, it ends.


def _processes(shared_pids: set[int]) -> dict[object, str]:
    found = dict.fromkeys(psutil.Process().children(recursive=True), "child")
    tag = os.environ[SESSION_TAG]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(SESSION_TAG) == tag:
                found.setdefault(process, "orphan")
    for process in list(found):
        with contextlib.suppress(psutil.Error):
            if shared_pids.intersection([process.pid, *(p.pid for p in process.parents())]):
                del found[process]
    described: dict[object, str] = {}
    for process, kind in found.items():
        with contextlib.suppress(psutil.Error):
            what = " ".join(process.cmdline()) or process.name()
            described[process] = f"{kind} process {process.pid} ({process.status()}): {what[:200]}"
    return described


def _threads() -> dict[object, str]:
    return {t: f"{'daemon ' if t.daemon else ''}thread {t.name!r}" for t in threading.enumerate()}


def _descriptors() -> dict[object, str]:
    found: dict[object, str] = {}
    if sys.platform == "linux":
        for fd in os.listdir("/proc/self/fd"):
            if int(fd) <= 2:  # pytest changes them
                continue
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{fd}")
                found[fd, target] = f"file descriptor {fd}: {target}"
    return found


def _census(shared_pids: set[int]) -> dict[object, str]:
    return _processes(shared_pids) | _threads() | _descriptors()


@contextlib.contextmanager
def no_leaks(what: str, shared_pids: set[int]) -> Iterator[None]:
    """Around something: no process, thread or file descriptor may stay.  shared_pids: whose families do not count."""
    if os.name == "posix":
        resource_tracker.ensure_running()  # multiprocessing's own helper: it comes with first use and stays
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.new_event_loop().close()  # so does libuv's pipe for signals
    before = _census(shared_pids)
    yield
    gc.collect()
    deadline = time.monotonic() + LEAK_GRACE_S
    while leaked := {key: text for key, text in _census(shared_pids).items() if key not in before}:
        if time.monotonic() > deadline:
            sockets = "".join(f"\n  {c.fd}: {c.laddr} {c.raddr} {c.status}" for c in psutil.Process().net_connections())
            pytest.fail(f"left behind by {what}:\n  " + "\n  ".join(leaked.values()) + sockets, pytrace=False)
        time.sleep(0.02)


@pytest.fixture(scope="module")
def shared_pids() -> set[int]:
    """The processes that the tests of a module share: what they start in turn is their business."""
    return set()


@pytest.fixture(autouse=True)
def leak_check(request: pytest.FixtureRequest, shared_pids: set[int]) -> Iterator[None]:
    """Around tests marked ``live`` or ``netns``: no process, thread or file descriptor may stay."""
    if not any(request.node.get_closest_marker(name) for name in ("live", "netns")):
        yield
        return
    with no_leaks("this test", shared_pids):
        yield


@pytest.fixture(scope="module", autouse=True)
def network_check() -> Iterator[None]:
    """Around each module: the network of this process does not stay, for it has the options of whoever was first."""
    yield
    runtime = sys.modules.get("parkcos.net.runtime")
    if runtime is not None and runtime.Parkcos.instance()._network is not None:
        runtime.Parkcos.instance().terminate()
        pytest.fail("a test of this module has left the network of this process running", pytrace=False)


# Labs


@pytest.fixture
def lab() -> Iterator[Callable[..., Lab]]:
    """Make a lab of several hosts, ``lab({"a": ["h1", "h2"]})``; it is taken down after the test."""
    need_namespaces()
    with contextlib.ExitStack() as labs:
        yield lambda *args, **kwargs: labs.enter_context(Lab(*args, **kwargs))
