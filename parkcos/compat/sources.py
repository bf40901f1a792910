"""Sources of before Python 3.7, when a StopIteration that left a generator was its way to return.

Since then that is an error (PEP 479).  Here the program, and the modules that it imports from its own folder, are
compiled so that generators which say ``raise StopIteration(value)`` end as they did then: their body stands in a
``try`` that makes a return of it.  So what they have around the statement, a ``finally``, a ``with`` or a handler that
catches it, works as it always did; and lines and columns stay what they are, so that tracebacks and
`inspect.getsource` show the source as it stands.  The same is done for the parameter ``coro`` of asyncoro's functions.
"""

from __future__ import annotations

import ast
import importlib.machinery
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from types import CodeType, ModuleType
from typing import Any

import parkcos

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_OLD_END = "try: pass\nexcept StopIteration as _StopIteration_: return _StopIteration_.value"

_OLD_CORO = "if coro is None: coro = task"


def compile_program(source: bytes | str, path: str) -> CodeType:
    """The code of a module, with the old way to return from a generator.  Raises: SyntaxError."""
    tree = ast.parse(source, path)
    for node in list(ast.walk(tree)):  # not a visitor, which a long sum would take to the recursion limit
        if isinstance(node, ast.FunctionDef):
            _keep_old_end(node)
            _tell_coro(node)
        elif isinstance(node, ast.Assert) and _asks_for_an_old_python(node.test):
            node.test = ast.copy_location(ast.Constant(True), node.test)
    return compile(tree, path, "exec", dont_inherit=True)


def _keep_old_end(node: ast.FunctionDef) -> None:
    own = list(_own_nodes(node.body))
    if any(isinstance(each, ast.Yield | ast.YieldFrom) for each in own) and any(map(_raises_stop, own)):
        documented = ast.get_docstring(node, clean=False) is not None
        node.body[documented:] = [_with_old_end(node.body[documented:])]


def _tell_coro(node: ast.FunctionDef) -> None:
    """A parameter ``coro=None`` is what ``task=None`` is: a function of asyncoro's is told its task there."""
    of = node.args
    with_defaults = (*of.posonlyargs, *of.args)[-len(of.defaults) :] if of.defaults else []
    named = {each.arg for each in (*of.posonlyargs, *of.args, *of.kwonlyargs)}
    if "task" in named or not any(each.arg == "coro" for each in with_defaults):
        return
    if not any(isinstance(each, ast.Yield | ast.YieldFrom) for each in _own_nodes(node.body)):
        return
    documented = ast.get_docstring(node, clean=False) is not None
    (told,) = ast.parse(_OLD_CORO).body
    for each in ast.walk(told):
        ast.copy_location(each, node.body[-1])
    node.body.insert(documented, ast.copy_location(told, node.body[0]))
    of.kwonlyargs.append(ast.copy_location(ast.arg("task"), node))
    of.kw_defaults.append(ast.copy_location(ast.Constant(None), node))


def _asks_for_an_old_python(test: ast.expr) -> bool:
    """Whether it is ``sys.version_info.minor < 7``: what that guards against is taken care of."""
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Attribute)
        and ast.unparse(test) == "sys.version_info.minor < 7"
    )


def _own_nodes(body: Sequence[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes of a function's body, without those of the functions and classes in it."""
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, _SCOPES):
            todo.extend(ast.iter_child_nodes(node))


def _raises_stop(node: ast.AST) -> bool:
    if not isinstance(node, ast.Raise):
        return False
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return isinstance(raised, ast.Name) and raised.id == "StopIteration"


def _with_old_end(body: list[ast.stmt]) -> ast.stmt:
    (guard,) = ast.parse(_OLD_END).body
    assert isinstance(guard, ast.Try)
    for node in ast.walk(guard):
        ast.copy_location(node, body[-1])
    guard.body = body
    return ast.copy_location(guard, body[0])


class _Loader(importlib.machinery.SourceFileLoader):
    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:  # type: ignore[override]
        return compile_program(data, os.fsdecode(path))

    def get_code(self, fullname: str) -> CodeType:
        """From the source in any case: a cached file may be that of the source as Python understands it."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


_INSTALLED = ("site-packages", "dist-packages")
_NEVER_OLD = tuple(
    os.path.join(os.path.realpath(folder), "")
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *parkcos.__path__)
)
"""Python's own modules and ours, which may lie below a program's folder, if that is somebody's home."""


class SourceFinder(MetaPathFinder):
    """Finds the modules below `folder`, but for installed ones, before Python does, to have them rewritten."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.join(os.path.realpath(folder), "")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return None
        origin = os.path.realpath(spec.origin)
        if not origin.startswith(self.folder) or origin.startswith(_NEVER_OLD):
            return None
        if any(f"{os.sep}{name}{os.sep}" in origin[len(self.folder) - 1 :] for name in _INSTALLED):
            return None
        spec.loader = _Loader(fullname, spec.origin)
        return spec


def rewrite_modules_of(folder: str) -> None:
    """From now on, modules that are imported from below `folder` are rewritten."""
    finder = SourceFinder(folder)
    if not any(isinstance(other, SourceFinder) and other.folder == finder.folder for other in sys.meta_path):
        sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), finder)
