"""What may be a task: generator functions and ``async def`` functions, and nothing else.

Whether a function wants to be told its own task (a parameter ``task`` with a default) is found out once per code
object, because tasks are made by the hundred thousand.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Generator
from types import AsyncGeneratorType, CodeType, CoroutineType, GeneratorType, MethodType
from typing import TYPE_CHECKING, Any

from parkcos.errors import NotATask
from parkcos.kernel.wait import Call

if TYPE_CHECKING:
    from parkcos.kernel.task import Task

__all__ = ["check", "is_task", "make_generator", "plain_call"]

_GENERATOR = 0x20
_COROUTINE = 0x80
_ASYNC_GENERATOR = 0x200
_KINDS_MAX = 4096

NO_TASK = 0  # otherwise: 1 + the position of the parameter "task", or KEYWORD_TASK
KEYWORD_TASK = -1


def make_generator(kinds: dict[CodeType, int], task: Task, fn: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
    """The generator or coroutine of ``fn(*args, **kwargs)``, which is told `task` if it wants to know.

    Args:
        kinds: the cache, of the kernel.

    Raises: NotATask if `fn` is not a function whose call gives one; TypeError if the arguments do not fit.
    """
    try:
        kind = kinds[fn.__code__]
    except (AttributeError, KeyError):
        kind = _kind_of(kinds, fn)
    if kind is NO_TASK or "task" in kwargs:
        gen = fn(*args, **kwargs)
    elif kind > 0 and len(args) + (type(fn) is MethodType) >= kind:
        gen = fn(*args, **kwargs)  # given by position
    else:
        gen = fn(*args, task=task, **kwargs)
    if type(gen) is Call:
        gen._begun = True
        gen = gen._gen
    return gen


def check(kinds: dict[CodeType, int], fn: Any, call: str = "Task({}, ...)", plain: str = "") -> None:
    """`fn` is not called.  call: how the program should write it, for the message; plain: what takes a plain function.

    Raises: NotATask if `fn` cannot be a task.
    """
    if getattr(fn, "__code__", None) not in kinds:
        _kind_of(kinds, fn, call, plain)


def is_task(kinds: dict[CodeType, int], fn: Any) -> bool:
    """Whether `fn` is a task as it is, a generator function or an ``async def``."""
    try:
        check(kinds, fn)
    except NotATask:
        return False
    return True


def _kind_of(kinds: dict[CodeType, int], fn: Any, call: str = "Task({}, ...)", plain: str = "") -> int:
    """Check `fn`, and say whether it wants its task; cached where it is a function or a method."""
    function = fn
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None and not isinstance(function, type):
        function = vars(type(function)).get("__call__")
        code = getattr(function, "__code__", None)
    flags = code.co_flags if code is not None else 0
    operation = getattr(function, "_is_operation", False)
    if not (flags & (_GENERATOR | _COROUTINE) or operation) or flags & _ASYNC_GENERATOR:
        raise NotATask(_why_not(fn, flags, call, plain)) from None  # how it was found does not matter
    if isinstance(fn, functools.partial) or operation or not hasattr(fn, "__code__"):
        parameter = inspect.signature(fn).parameters.get("task")
        wants = parameter is not None and parameter.default is not inspect.Parameter.empty
        return KEYWORD_TASK if wants else NO_TASK
    if len(kinds) >= _KINDS_MAX:  # programs that make functions for ever
        kinds.clear()
    assert code is not None
    kind = kinds[code] = _task_parameter(function, code)
    return kind


def _task_parameter(function: Any, code: CodeType) -> int:
    names = code.co_varnames
    positional = names[: code.co_argcount]
    if "task" in positional[code.co_posonlyargcount :]:
        index = positional.index("task")
        if index >= len(positional) - len(function.__defaults__ or ()):
            return index + 1
    keyword_only = names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    if "task" in keyword_only and (function.__kwdefaults__ or {}).get("task", 0) is None:
        return KEYWORD_TASK
    return NO_TASK


def _why_not(fn: Any, flags: int, call: str, plain: str) -> str:
    if isinstance(fn, (GeneratorType, CoroutineType)):
        name = fn.__name__
        return (
            f"{name}(...) was called already; a task wants the function and its arguments apart\n"
            f"  wrong: {call.format(name + '(...)')}\n  write: {call.format(name)}"
        )
    name = getattr(fn, "__name__", None) or repr(fn)
    if flags & _ASYNC_GENERATOR or isinstance(fn, AsyncGeneratorType):
        return (
            f"{name} is an async generator; a task is a generator function or an async def without 'yield'\n"
            f"  write: async def main(): async for item in {name}(...): ...   and then {call.format('main')}"
        )
    if not callable(fn):
        return (
            f"{fn!r} is not a function\n  write: {call.format('function')}, with a generator function or an async def"
        )
    return (
        f"{name} is a plain function, it has no 'yield'; a task is a generator function or an async def\n"
        f"  wrong: {call.format(name)}\n"
        f"  write: async def {name}(...): ...   or put a 'yield' into it, and then {call.format(name)}"
        + (f"\n  or:    {plain.format(name)}" if plain else "")
    )


def plain_call(fn: Any, /, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
    """A task that calls a plain function; what that returns is waited for, if a task would."""
    value = fn(*args, **kwargs)
    if isinstance(value, (GeneratorType, CoroutineType, Call)):
        value = yield value
    return value
