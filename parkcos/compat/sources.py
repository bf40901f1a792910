"""Sources of before Python 3.7: ``raise StopIteration(value)`` in a generator meant ``return value``.

Since then it is an error (PEP 479).  Here the program, and the modules that it imports from its own folder, are
compiled with such statements rewritten; lines and columns stay what they are, so tracebacks and `inspect.getsource`
show the source as it stands.
"""

from __future__ import annotations

import ast
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import CodeType, ModuleType
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_SCOPES = (*_FUNCTIONS, ast.ClassDef)


def compile_program(source: bytes | str, path: str) -> CodeType:
    """The code of a module, with the old way to return from a generator rewritten.  Raises: SyntaxError."""
    tree = ast.parse(source, path)
    _Rewriter().visit(tree)
    return compile(tree, path, "exec", dont_inherit=True)


class _Rewriter(ast.NodeTransformer):
    def __init__(self) -> None:
        self._in_generator = False
        self._caught = 0
        """In how many `try` this is whose handlers name StopIteration: there it is meant for them."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._scope(node, _has_yield(node.body))

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._scope(node, False)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._scope(node, False)

    def _scope(self, node: ast.AST, generator: bool) -> ast.AST:
        before = self._in_generator, self._caught
        self._in_generator, self._caught = generator, 0
        self.generic_visit(node)
        self._in_generator, self._caught = before
        return node

    def visit_Try(self, node: ast.Try) -> ast.AST:
        catches = any(_names_stop(handler.type) for handler in node.handlers)
        self._caught += catches
        node.body = [self.visit(statement) for statement in node.body]
        self._caught -= catches
        for part in (node.handlers, node.orelse, node.finalbody):
            part[:] = [self.visit(each) for each in part]
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if not self._in_generator or self._caught or node.exc is None:
            return node
        call = node.exc if isinstance(node.exc, ast.Call) else None
        if not _is_stop(call.func if call else node.exc):
            return node
        value: ast.expr | None = None
        if call is not None and (call.args or call.keywords):
            if len(call.args) == 1 and not call.keywords and not isinstance(call.args[0], ast.Starred):
                value = call.args[0]
            else:
                value = ast.copy_location(ast.Attribute(call, "value", ast.Load()), call)
        return ast.copy_location(ast.Return(value), node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """``assert sys.version_info.minor < 7``: what it guards against is taken care of."""
        test = node.test
        if isinstance(test, ast.Compare) and ast.unparse(test) == "sys.version_info.minor < 7":
            node.test = ast.copy_location(ast.Constant(True), test)
        return node


def _has_yield(body: Sequence[ast.stmt]) -> bool:
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, _SCOPES):
            todo.extend(ast.iter_child_nodes(node))
    return False


def _is_stop(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "StopIteration"


def _names_stop(node: ast.expr | None) -> bool:
    return isinstance(node, ast.expr) and any(_is_stop(each) for each in ast.walk(node) if isinstance(each, ast.expr))


class _Loader(importlib.machinery.SourceFileLoader):
    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:  # type: ignore[override]
        return compile_program(data, os.fsdecode(path))

    def get_code(self, fullname: str) -> CodeType:
        """From the source in any case: a cached file may be that of the source as Python understands it."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class SourceFinder(MetaPathFinder):
    """Finds the modules below `folder` before Python does, to have them rewritten."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.realpath(folder)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return None
        origin = os.path.realpath(spec.origin)
        if "site-packages" in origin or not origin.startswith(self.folder + os.sep):
            return None
        spec.loader = _Loader(fullname, spec.origin)
        return spec


def rewrite_modules_of(folder: str) -> None:
    """From now on, modules that are imported from below `folder` are rewritten."""
    sys.meta_path.insert(0, SourceFinder(folder))
