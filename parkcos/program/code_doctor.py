"""What `parkcos.py --doctor --code program.py` finds: which modules of a program travel, and why.  Nothing is run."""

from __future__ import annotations

import os
import sys

from parkcos.cluster.imports import Companions, find, place_of_spec
from parkcos.cluster.origins import origin
from parkcos.doctor.findings import Finding
from parkcos.errors import ConfigError


def examine_code(program: str) -> list[Finding]:
    """A finding for each module that a program, or one of its own modules, imports.

    Raises: ConfigError if it cannot be read.
    """
    path = os.path.abspath(program)
    try:
        with open(path, "rb") as file:
            compile(file.read(), path, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"--code {program}: it cannot be read: {error}") from error
    folder = os.path.dirname(path)
    sys.path.insert(0, folder)  # as Python does when it runs the program
    try:
        companions = Companions()
        companions.of_file(path)
        return _judge(companions, folder)
    finally:
        sys.path.remove(folder)


def _judge(companions: Companions, folder: str) -> list[Finding]:
    findings: dict[str, Finding] = {}
    standard: set[str] = set()
    for name in sorted(companions.named):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names:
            standard.add(top)
            continue
        spec = find(name)
        place = place_of_spec(spec) if spec is not None else None
        if place is None:
            text = f"is not found here (looked from {folder}); if the program needs it, install it"
            findings[name] = Finding("hint", f"module {name}", text)
            continue
        kind, why = origin(name, place)
        if kind == "own":
            findings[name] = _judge_own(companions, name, why)
        elif kind != "standard":
            text = f"does not travel: {why}; it is to be installed at the nodes"
            findings[top] = Finding("ok", f"module {top}", f"{text}, say Client(requirements=[{top!r}])")
        else:
            standard.add(top)
    if standard:
        findings[""] = Finding("ok", "Python and parkcos", f"every node has {', '.join(sorted(standard))}")
    return list(findings.values())


def _judge_own(companions: Companions, name: str, why: str) -> Finding:
    about = f"module {name}"
    if name in companions.files:
        return Finding("ok", about, f"travels as a file, to be imported at the servers: {why}")
    if name in companions.by_value:
        return Finding("ok", about, f"what is used of it travels by value: {why}")
    text = "what is used of it travels by value; if it is used as a module, list it in components"
    return Finding("hint", about, f"{text}: {why}, but not below the program's folder")
