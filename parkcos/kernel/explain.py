"""The wrong line and the right one: texts of the exceptions about misused ``yield``.

Everything here runs only after a mistake was noticed, so it may take its time: it reads and parses the source.
Where there is no source (an interactive session, code that travelled) the texts do without the line.
"""

from __future__ import annotations

import ast
import functools
import linecache
import traceback
import types
from types import CodeType, FrameType
from typing import Any

from parkcos.kernel import failures

__all__ = ["add_loop_note", "describe_line", "forgotten_text", "innermost_frame", "scan_forgotten", "senseless_text"]

_CO_GENERATOR = 0x20
_CO_COROUTINE = 0x80
_CO_ASYNC_GENERATOR = 0x200


def is_async(code: CodeType) -> bool:
    """True if the code is of an ``async def``, where one writes ``await`` instead of ``yield``."""
    return bool(code.co_flags & (_CO_COROUTINE | _CO_ASYNC_GENERATOR))


def describe_line(filename: str, lineno: int) -> str:
    """``file:line: text`` (without the text where there is no source)."""
    text = linecache.getline(filename, lineno).strip()
    return f"{filename}:{lineno}: {text}" if text else f"{filename}:{lineno}"


def innermost_frame(gen: Any) -> FrameType | None:
    """The frame in which a suspended generator or coroutine stands, through ``yield from`` and ``await``."""
    frame: FrameType | None = None
    for _ in range(10_000):
        found = getattr(gen, "gi_frame", None) or getattr(gen, "cr_frame", None)
        if found is None:
            break
        frame = found
        gen = getattr(gen, "gi_yieldfrom", None) or getattr(gen, "cr_await", None)
    return frame


@functools.lru_cache(maxsize=8)
def _parse(filename: str, source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def _calls(filename: str, first: int, last: int) -> list[tuple[ast.Call, ast.AST]]:
    """The calls in these lines that are not yielded or awaited, each with its parent node, in order."""
    tree = _parse(filename, "".join(linecache.getlines(filename)))
    if tree is None:
        return []
    found: list[tuple[ast.Call, ast.AST]] = []
    for parent in ast.walk(tree):
        if isinstance(parent, (ast.Yield, ast.YieldFrom, ast.Await)):
            continue
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.Call) and node.lineno <= last and (node.end_lineno or node.lineno) >= first:
                found.append((node, parent))
    return sorted(found, key=lambda pair: (pair[0].lineno, pair[0].col_offset))


def _called_name(call: ast.Call) -> str | None:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else None


def _with_keyword(filename: str, call: ast.Call, parent: ast.AST, word: str) -> str:
    """The line of `call` with ``yield`` (or ``await``) before it, in parentheses where Python wants them."""
    line = linecache.getline(filename, call.lineno)
    raw = line.encode()
    start = call.col_offset
    bare = isinstance(parent, (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign)) or word == "await"
    if isinstance(parent, (ast.Attribute, ast.Subscript)):
        bare = False
    if bare:
        return (raw[:start] + word.encode() + b" " + raw[start:]).decode().strip()
    end = call.end_col_offset if call.end_lineno == call.lineno else len(raw.rstrip())
    return (raw[:start] + b"(" + word.encode() + b" " + raw[start:end] + b")" + raw[end:]).decode().strip()


def forgotten_text(filename: str, lineno: int, code: CodeType | None, names: tuple[str, ...]) -> str:
    """The message for an operation that was called at this line and never yielded.

    Args:
        code: of the function that the line is in, which says whether it is ``yield`` or ``await``.
        names: what the operation may be called there (``("receive", "recv")``).
    """
    word = "await" if code is not None and is_async(code) else "yield"
    what = names[0]
    right = f"x = {word} ....{what}(...)"
    calls = _calls(filename, lineno, lineno)
    best = next((pair for pair in calls if _called_name(pair[0]) in names), calls[0] if calls else None)
    if best is not None:
        right = _with_keyword(filename, best[0], best[1], word)
    return (
        f"'{word}' was forgotten: {what}() does nothing until it is {word}ed\n"
        f"  wrong: {describe_line(filename, lineno)}\n"
        f"  write: {right}"
    )


def scan_forgotten(code: CodeType, names: tuple[str, ...]) -> str:
    """The message for a call of one of `names` somewhere in a function, which was never yielded."""
    filename = code.co_filename
    lines = [line for _, _, line in code.co_lines() if line is not None]
    if lines:
        for call, _ in _calls(filename, min(lines), max(lines)):
            if _called_name(call) in names:
                return forgotten_text(filename, call.lineno, code, names)
    return forgotten_text(filename, code.co_firstlineno, code, names)


def senseless_text(gen: Any, value: Any, advice: str) -> str:
    """The message for a `value` that makes no sense at a ``yield``.

    Args:
        gen: the innermost generator or coroutine, which stands at that yield.
        advice: the right expression, or a whole ``for``, with ``{}`` for what was yielded.
    """
    frame = innermost_frame(gen)
    code = getattr(gen, "gi_code", None) or getattr(gen, "cr_code", None)
    word, expression, where = "yield", "...", ""
    if frame is not None:
        code = frame.f_code
        filename, lineno = code.co_filename, frame.f_lineno
        where = f"\n  wrong: {describe_line(filename, lineno)}"
        tree = _parse(filename, "".join(linecache.getlines(filename)))
        for node in ast.walk(tree) if tree is not None else ():
            if (
                isinstance(node, (ast.Yield, ast.Await))
                and node.lineno <= lineno <= (node.end_lineno or node.lineno)
                and node.value is not None
            ):
                expression = ast.unparse(node.value)
    if code is not None and is_async(code):
        word = "await"
    write = advice.format(expression)
    if not write.startswith(("async for", "for")):
        write = f"x = {word} {write}"
    return f"{word} of {_kind_of(value)} makes no sense{where}\n  write: {write}"


def add_loop_note(exception: BaseException) -> None:
    """If `exception`, of a task, is that asyncio has no loop in this thread: note what to write instead."""
    if not failures.is_a(exception, (RuntimeError, AttributeError)):
        return
    text = failures.message_of(exception)
    frames = [frame for frame, _ in traceback.walk_tb(failures.trace_of(exception))]
    if failures.is_a(exception, AttributeError):  # asyncio's queues and locks take the loop for granted
        module = str(frames[-1].f_globals.get("__name__")) if frames else ""
        if not module.startswith("asyncio.") or "'NoneType' object" not in text:
            return
    elif text != "no running event loop" and not text.startswith("There is no current event loop in thread"):
        return
    users = [f.f_code for f in frames if not str(f.f_globals.get("__name__")).startswith("asyncio.")]
    waiting = [code for code in users if code.co_flags & (_CO_GENERATOR | _CO_COROUTINE)]
    word = "await" if waiting and is_async(waiting[-1]) else "yield"
    note = (
        "asyncio's loop is not where tasks run: it has a thread of its own\n"
        f"  write: {word} parkcos.cur_task().sleep(seconds)   to sleep\n"
        f"  or:    x = {word} parkcos.io(coroutine)   for all else that needs the loop, in a coroutine of your own\n"
        "Tasks have their own locks, events and messages, in parkcos"
    )
    failures.add_note(exception, note)


def _kind_of(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial)):
        return f"the function {getattr(value, '__name__', repr(value))} itself, not called,"
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        return f"a {type(value).__name__} of {len(value)} calls"
    return f"{value!r}"
