"""In which control groups (Linux) this process is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def own_groups(controller: str, root: Path = _ROOT) -> Iterator[tuple[str, Path, Path]]:
    """The folders of this process's groups: of version 2, and of version 1 with this controller.

    Args:
        controller: of version 1, as "cpu"; "": of version 2 alone.
        root: where ``/proc`` and the groups are looked for.

    Yields: the kind ("cgroup2" or "cgroup"), the folder of the group, and that of the topmost one that is seen here.
    """
    own: dict[str, str] = {}
    for line in read_text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" or (controller and controller in controllers.split(",")):
            own["cgroup2" if number == "0" else "cgroup"] = group
    for line in read_text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), [*after.split(), "", "", ""][:3]
        if kind not in own or (kind == "cgroup" and controller not in options.split(",")):
            continue
        shown, mounted = (field.replace("\\040", " ") for field in fields[3:5])
        top = root / mounted.lstrip("/")
        group = os.path.relpath(own[kind], shown)
        if ".." in group.split("/"):  # in a container's own view of the groups
            group = "."
        yield kind, top / group, top


def read_text(path: Path) -> str:
    """What stands in such a file; "" if it cannot be read."""
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
