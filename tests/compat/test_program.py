"""The command: what a program sees of itself, its modules, and its mistakes."""

from __future__ import annotations

import pytest

from tests.compat.conftest import BEGINNING, Programs
from tests.live.lib import Program

pytestmark = pytest.mark.live


def test_a_program_is_main(local: Programs) -> None:
    lines = local.run(
        "import sys, inspect, os, pycos, __main__\n"
        "def old(task=None):\n    yield\n    raise StopIteration(42)\n"
        "print(__name__, sys.argv, os.path.basename(__file__), __main__.old is old)\n"
        "print(inspect.getsource(old).count('raise StopIteration(42)'))\n"
        "print(pycos.Task(old).value())\n",
        "one", "--two",
    )  # fmt: skip
    assert lines == ["__main__ ['program.py', 'one', '--two'] program.py True", "1", "42"]


def test_modules_of_the_program_s_folder_are_old_too(local: Programs) -> None:
    folder = local.folder / "lib" / "inner"
    folder.mkdir(parents=True)
    (local.folder / "beside.py").write_text(
        "import pycos\ndef proc(task=None):\n    yield\n    raise StopIteration('beside')\n"
    )
    (folder / "__init__.py").write_text("def proc(task=None):\n    yield\n    raise StopIteration('inner')\n")
    lines = local.run(
        "import pycos, beside, lib.inner\nprint(pycos.Task(beside.proc).value(), pycos.Task(lib.inner.proc).value())\n"
    )
    assert lines == ["beside inner"]


def test_pycos_beside_the_program_is_not_taken(local: Programs) -> None:
    (local.folder / "pycos").mkdir()
    (local.folder / "pycos" / "__init__.py").write_text("raise SystemError('the real one')\n")
    (local.folder / "pycos" / "netpycos.py").touch()
    assert local.run("import pycos.netpycos\nprint(pycos.netpycos.RTI.__name__)\n") == ["RPS"]


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_of_multiprocessing_have_pycos(local: Programs, method: str) -> None:
    lines = local.run(
        "import multiprocessing, sys\n"
        "import pycos.netpycos as pycos\nfrom pycos.dispycos import *\n"
        "def proc(n, task=None):\n    yield\n    return n\n"
        "def child(n):\n"
        "    sys.modules.pop('pycos.asyncfile', None)\n"
        "    import pycos.asyncfile, asyncoro\n"
        "    print(asyncoro.Coro is pycos.Task, Scheduler.TaskCreated, n, proc.__module__ != '__main__', flush=True)\n"
        "if __name__ == '__main__':\n"
        f"    process = multiprocessing.get_context({method!r}).Process(target=child, args=(3,))\n"
        "    process.start()\n    process.join()\n    print(process.exitcode)\n"
    )
    assert lines == [f"True 21 3 {method != 'fork'}", "0"]


def test_programs_that_a_program_starts_have_pycos(local: Programs) -> None:
    (local.folder / "beside.py").write_text("def proc(task=None):\n    yield\n    raise StopIteration('beside')\n")
    (local.folder / "other.py").write_text(
        "import pycos\nimport beside\nprint(pycos.Task(beside.proc).value(), 'compat' in pycos.__file__)\n"
    )
    assert local.run(
        "import subprocess, sys\nimport pycos\nprint(subprocess.check_output([sys.executable, 'other.py']).decode())\n"
    ) == ["beside True", ""]


def test_sources_in_another_encoding(local: Programs) -> None:
    text = (
        "#!/usr/bin/env python\n# -*- coding: latin-1 -*-\n"
        "import inspect, pycos\n"
        "def old(task=None):\n    yield\n    raise StopIteration('\xe4')\n"
        "print(pycos.Task(old).value() == chr(0xe4), chr(0xe4) in inspect.getsource(old))\n"
    )
    (local.folder / "latin.py").write_bytes(text.encode("latin-1"))
    with Program("-m", "parkcos.compat", "latin.py", cwd=local.folder) as program:
        assert program.wait() == 0
        assert program.lines == ["True True"]


def test_lines_of_old_generators_in_tracebacks(local: Programs) -> None:
    program = local.start(
        "import pycos\n"
        "def decorate(f):\n    return f\n"
        "@decorate\n"
        "def old(n, task=None):\n"
        "    'What it does.'\n"
        "    if n > 2:\n        raise StopIteration(n)\n"
        "    yield task.sleep(0.01)\n"
        "    raise StopIteration(\n        1 / n)\n"
        "print(pycos.Task(old, 4).value(), pycos.Task(old, 2).value(), old.__doc__)\n"
        "print(pycos.Task(old, 0).value().value)\n"
    )
    assert program.wait() == 0
    assert program.find("What it does") == ["4 0.5 What it does."]
    assert {line.split(", ")[1] for line in program.find("program.py")} == {"line 11"}


def test_a_traceback_begins_in_the_program(local: Programs) -> None:
    program = local.start("import pycos\n\ndef wrong():\n    raise ValueError('no')\n\nwrong()\n")
    assert program.wait() == 1
    frames = program.find(r'^  File "')
    assert [line.split(", ")[1:] for line in frames] == [["line 6", "in <module>"], ["line 4", "in wrong"]]
    assert program.lines[-1] == "ValueError: no"
    assert "parkcos" not in program.text


def test_a_syntax_error_is_shown_as_python_does(local: Programs) -> None:
    program = local.start("import pycos\ndef wrong(:\n")
    assert program.wait() == 1
    assert program.find("program.py") == [f'  File "{local.folder / "program.py"}", line 2']
    assert program.lines[-1] == "SyntaxError: invalid syntax"
    assert "parkcos" not in program.text


def test_exit_code(local: Programs) -> None:
    program = local.start("import sys, pycos\nsys.exit(3)\n")
    assert program.wait() == 3


def test_the_end_waits_for_tasks_but_not_for_daemons(local: Programs) -> None:
    lines = local.run(
        BEGINNING + "def proc(n, task=None):\n    yield task.sleep(n)\n    print('done', flush=True)\n"
        "def forever(task=None):\n    task.set_daemon()\n    try:\n        yield task.receive()\n"
        "    finally:\n        print('closed', flush=True)\n"
        "pycos.Pycos.instance().atexit(1, print, 'low')\npycos.Pycos.instance().atexit(2, print, 'high')\n"
        "pycos.Pycos.instance().atexit(2, print, 'as high')\n"
        "pycos.Task(forever)\npycos.Task(proc, 0.2)\nprint('main ends')\n"
    )
    assert lines == ["main ends", "done", "high", "as high", "low", "closed"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("missing.py",), "No such file"),
        (("--node", "127.0.0.1:99999", __file__), "TCP port"),
        ((), "program"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(local: Programs, args: tuple[str, ...], message: str) -> None:
    with Program("-m", "parkcos.compat", *args, cwd=local.folder) as program:
        assert program.wait() == 2
        program.wait_for(message)


def test_changed_import_lines_do_without_the_command(local: Programs) -> None:
    (local.folder / "own.py").write_text(
        "import parkcos.compat.pycos as pycos\n"
        "def proc(task=None):\n    return (yield task.receive())\n"
        "task = pycos.Task(proc)\ntask.send(5)\nprint(task.value(), pycos.asyncfile.AsyncPipe.__name__)\n"
    )
    with Program("own.py", cwd=local.folder) as program:
        assert program.wait() == 0
        assert program.lines == ["5 AsyncPipe"]
