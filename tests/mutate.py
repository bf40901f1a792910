"""What no test notices: each of many small changes of the code must make a test fail.

    make mutate FILES="parkcos/net/session/frames.py parkcos/kernel/timers.py" SAMPLE=80 SEED=7 JOBS=1

The seed draws a sample of all such changes.  Each is made alone in a copy of the tree, where the unit tests of its
package are run; for the machines that the simulation runs, a few of its worlds as well.  A change that makes a
test fail or hang is killed; one that survives shows behaviour that nothing asserts, or code without effect.

Without files: those that decide, and so should be tested to the last comparison.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
FILES: Final = (
    "parkcos/kernel/loop.py",
    "parkcos/kernel/timers.py",
    "parkcos/net/session/session.py",
    "parkcos/net/session/frames.py",
    "parkcos/net/finding/discovery.py",
    "parkcos/net/finding/datagram.py",
    "parkcos/scheduler/state.py",
    "parkcos/node/state.py",
    "parkcos/node/executor.py",
    "parkcos/client/backlog.py",
    "parkcos/client/choices.py",
    "parkcos/client/tasks.py",
    "parkcos/client/places.py",
    "parkcos/client/processes.py",
    "parkcos/client/own.py",
    "parkcos/client/holds.py",
    "parkcos/client/membership.py",
    "parkcos/client/ends.py",
    "parkcos/client/returning.py",
    "parkcos/client/controls.py",
    "parkcos/client/dispatch.py",
    "parkcos/httpd/model.py",
)
SAMPLE: Final = 300
KILLED_LEAST: Final = 0.95
"""The share of the sample that the tests must kill."""
SIMULATED: Final = ("scheduler", "node", "client")
"""The packages whose machines run in the simulation."""
WORLDS: Final = 100
"""Simulated for each change that the unit tests have not killed."""
UNIT: Final = "not live and not netns and not slow"
TEST_S: Final = 60
"""The limit of one test: a change may make it hang."""
PATIENCE: Final = 4
"""How many times as long as without any change the tests may take."""
NOT_COPIED: Final = (".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", "img", "*.egg-info", "build", "dist")

_OPPOSITES: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_LOGGERS: Final = {"logger", "_logger", "logging"}


# The changes


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    start, end: of what is replaced, in bytes of the source.
    """

    path: str
    line: int
    start: int
    end: int
    before: str
    after: str

    def apply(self, source: bytes) -> bytes:
        """The source with the change."""
        return source[: self.start] + self.after.encode() + source[self.end :]

    def __str__(self) -> str:
        before, after = (text if len(text) <= 100 else f"{text[:97]}..." for text in (self.before, self.after))
        return f"{self.path}:{self.line}: {before} -> {after}"


def mutants_of(path: str, source: bytes) -> list[Mutant]:
    """All changes of a file, in the order of its lines."""
    begins = [0]
    for line in source.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))
    found: dict[tuple[int, int, str], Mutant] = {}
    for node, after in _changes_below(ast.parse(source), in_function=False, in_class=False):
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = begins[node.lineno - 1] + node.col_offset
        end = begins[node.end_lineno - 1] + node.end_col_offset
        mutant = Mutant(path, node.lineno, start, end, ast.unparse(node), after)
        try:
            ast.parse(mutant.apply(source))
        except SyntaxError:  # the last statement of a kind that must have one, or what stands on one line with others
            continue
        found.setdefault((start, end, after), mutant)
    return sorted(found.values(), key=lambda m: (m.start, m.end, m.after))


_Change = tuple[ast.expr | ast.stmt, str]


def _changes_below(node: ast.AST, *, in_function: bool, in_class: bool) -> Iterator[_Change]:
    """What may be put for this node, or for one below it.

    The numbers of a module are choices, and tests that go by their names are right to pass with others.
    """
    if isinstance(node, ast.expr | ast.stmt):
        if _is_left_alone(node):
            return
        if in_function or in_class or not isinstance(node, ast.Constant):
            yield from _changes_of_expression(node)
        if in_function and isinstance(node, ast.stmt):
            yield from _changes_of_statement(node)
    if isinstance(node, ast.Raise):
        return  # its words are no behaviour of the machine
    in_function = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    in_class = in_class or isinstance(node, ast.ClassDef)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases"):
            continue
        if field == "keywords" and isinstance(node, ast.ClassDef):
            continue  # as `frozen=True`, which the types hold
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.BinOp) and not in_function:
                continue  # a type: `X | Y`
            if isinstance(child, ast.AST):
                yield from _changes_below(child, in_function=in_function, in_class=in_class)


def _is_left_alone(node: ast.expr | ast.stmt) -> bool:
    match node:
        case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.JoinedStr():
            return True
        case ast.Assign(targets=[ast.Name(id="__all__" | "__slots__")]):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Raise(exc=ast.Name(id="NotImplementedError")):
            return True  # nobody comes here: a subclass has the method
        case ast.FunctionDef(name="check"):
            # What it asserts holds in any case, so no test can notice that it asserts less.
            return (ast.get_docstring(node) or "").startswith("The invariants")
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return name in _LOGGERS
    return False


def _changes_of_expression(node: ast.expr | ast.stmt) -> Iterator[_Change]:
    match node:
        case ast.Compare():
            for at, op in enumerate(node.ops):
                changed = copy.deepcopy(node)
                changed.ops[at] = _opposite(op)
                yield node, f"({ast.unparse(changed)})"
        case ast.BoolOp():
            changed_bool = copy.deepcopy(node)
            changed_bool.op = _opposite(node.op)
            yield node, f"({ast.unparse(changed_bool)})"
            for at in range(len(node.values)):
                values = node.values[:at] + node.values[at + 1 :]
                rest = values[0] if len(values) == 1 else ast.BoolOp(node.op, values)
                yield node, f"({ast.unparse(rest)})"
        case ast.BinOp() if type(node.op) in _OPPOSITES and not isinstance(node.left, ast.Constant | ast.JoinedStr):
            yield node, f"({ast.unparse(ast.BinOp(node.left, _opposite(node.op), node.right))})"
        case ast.UnaryOp(op=ast.Not()):
            yield node, f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool(truth)):
            yield node, str(not truth)
        case ast.Constant(value=int(number) | float(number)):
            yield node, str(number + 1)
        case ast.Call() if not (isinstance(node.func, ast.Name) and node.func.id == "dict"):
            for at, keyword in enumerate(node.keywords):
                if keyword.arg is not None:
                    others = node.keywords[:at] + node.keywords[at + 1 :]
                    yield node, ast.unparse(ast.Call(node.func, node.args, others))
        case ast.If() | ast.While() | ast.IfExp():
            if isinstance(node.test, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr):
                yield node.test, f"(not ({ast.unparse(node.test)}))"


def _opposite(op: ast.AST) -> Any:
    return _OPPOSITES[type(op)]()


def _changes_of_statement(node: ast.stmt) -> Iterator[_Change]:
    match node:
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Continue() | ast.Break():
            yield node, "pass"
        case ast.Assign(targets=targets) if not any(isinstance(target, ast.Name | ast.Tuple) for target in targets):
            yield node, "pass"  # a name that is not bound is noticed wherever it is used
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield node, "return None"


# Killing them


class Copy:
    """A copy of the tree, in which one change at a time is tried.

    Args:
        root: of the tree.
        folder: an empty one for the copy.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = folder / "tree"
        self._output = folder / "output.txt"
        shutil.copytree(root, self.root, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
        self._usual_s: dict[str, float] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def stop(self) -> None:
        """End what runs, and run nothing any more.  Another thread."""
        self.stopped = True
        if self._process is not None:
            self._kill(self._process)

    def prepare(self, paths: Sequence[str]) -> None:
        """Run the tests without any change, to see that they pass and how long they take.

        Raises: RuntimeError if they fail, with what pytest has printed.
        """
        for path in paths:
            began = time.monotonic()
            for command in self._commands(path):
                if not self._passes(command, None):
                    printed = self._output.read_text(errors="replace")
                    raise RuntimeError(f"the tests of {path} fail without any change: {' '.join(command)}\n{printed}")
            self._usual_s[path] = time.monotonic() - began

    def survives(self, mutant: Mutant) -> bool:
        """Whether all tests pass with this change."""
        file = self.root / mutant.path
        source = file.read_bytes()
        try:
            self._write(file, mutant.apply(source))
            limit_s = TEST_S + PATIENCE * self._usual_s[mutant.path]
            return all(self._passes(command, limit_s) for command in self._commands(mutant.path))
        finally:
            self._write(file, source)

    @staticmethod
    def _write(file: Path, source: bytes) -> None:
        """Python compares time and size only, and both may be the same."""
        file.write_bytes(source)
        for compiled in file.parent.glob(f"__pycache__/{file.stem}.*"):
            compiled.unlink()

    def _commands(self, path: str) -> list[list[str]]:
        """The runs of pytest that look at a file, the most promising one first."""
        file = Path(path)
        folder = self.root / "tests" / file.parent.relative_to(file.parts[0])
        module = ".".join(file.with_suffix("").parts)

        def promise(test: Path) -> tuple[bool, bool, Path]:
            return not test.stem.startswith(f"test_{file.stem}"), module not in test.read_text(), test

        tests = sorted(folder.glob("test_*.py"), key=promise)
        commands = [["-m", UNIT, *(str(test.relative_to(self.root)) for test in tests)]]
        if file.parent.name in SIMULATED:
            commands.append(["-k", "small_worlds", "--worlds", str(WORLDS), "tests/sim/test_cluster.py"])
        return commands

    def _passes(self, command: list[str], limit_s: float | None) -> bool:
        with self._output.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--timeout={TEST_S}", *command],
                cwd=self.root,
                env={**os.environ, "PYTHONPATH": str(self.root)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._process = process
        if self.stopped:
            self._kill(process)
        try:
            return process.wait(limit_s) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            self._kill(process)
            process.wait()

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        """It, if it hangs, and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def survivors(root: Path, sample: Sequence[Mutant], jobs: int) -> list[Mutant]:
    """Those of the sample that no test kills; each is printed as it is tried."""
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in sample:
        waiting.put(mutant)
    paths = list(dict.fromkeys(mutant.path for mutant in sample))
    survived: list[Mutant] = []
    failures: list[BaseException] = []
    trees: list[Copy] = []

    def work() -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="parkcos-mutate-") as folder:
                tree = Copy(root, Path(folder))
                trees.append(tree)
                tree.prepare(paths)
                while not failures:
                    mutant = waiting.get_nowait()
                    if tree.survives(mutant):
                        survived.append(mutant)
                        print(f"SURVIVED {mutant}", flush=True)
                    else:
                        print(f"killed   {mutant}", flush=True)
        except queue.Empty:
            pass
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(max(1, min(jobs, len(sample))))]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt as error:
        failures.append(error)
        for tree in trees:
            tree.stop()
        for worker in workers:
            worker.join()
    if failures:
        raise failures[0]
    return sorted(survived, key=lambda m: (m.path, m.start))


def main(argv: Sequence[str] | None = None) -> int:
    """Try a sample of changes; 1 if too many survive."""
    parser = argparse.ArgumentParser(prog="make mutate", description="name changes of the code that no test notices")
    parser.add_argument("files", nargs="*", default=FILES, help="of the package, from the root of the tree on")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="how many changes to try (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="draws the sample (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="how many to try at a time (default: %(default)s)")
    args = parser.parse_args(argv)
    everything = [mutant for path in args.files for mutant in mutants_of(path, (ROOT / path).read_bytes())]
    sample = random.Random(args.seed).sample(everything, min(args.sample, len(everything)))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        survived = survivors(ROOT, sample, args.jobs)
    except RuntimeError as error:
        print(f"make mutate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    tried, left = Counter(m.path for m in sample), Counter(m.path for m in survived)
    print(f"\nof {len(everything)} changes {len(sample)} were tried (seed {args.seed}); survivors:")
    for mutant in survived:
        print(f"  {mutant}")
    for path in sorted(tried):
        print(f"{tried[path] - left[path]:4} of {tried[path]:3} killed  {path}")
    killed = 1 - len(survived) / len(sample) if sample else 1.0
    print(f"{killed:.1%} killed; at least {KILLED_LEAST:.0%} must be")
    return int(killed < KILLED_LEAST)


if __name__ == "__main__":
    sys.exit(main())
