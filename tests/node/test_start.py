"""parkcos/node/start.py, birth.py: what the processes of a node import, each in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys


def modules(*lines: str) -> set[str]:
    """What is imported after these lines, but not after the first one."""
    first, *others = lines
    program = ["import sys", first, "before = set(sys.modules)", *others, "print(*(set(sys.modules) - before))"]
    done = subprocess.run([sys.executable, "-c", "\n".join(program)], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_node_imports_no_client() -> None:
    loaded = modules("", "import parkcos.commands.local_node, parkcos.commands.node")
    assert {"parkcos.node.program", "parkcos.node.zygote"} <= loaded | modules("", "import parkcos.node.zygote")
    assert [name for name in loaded if name.startswith(("parkcos.client", "parkcos.scheduler"))] == []
    assert "cryptography.x509" not in loaded, "its first certificate is made by its program, or while it starts"


def test_what_servers_import_later_is_parkcos_alone() -> None:
    """A client's files come first on their path: one that is called as a module is would be taken for it."""
    later = modules("from parkcos.node import zygote; zygote.warm_up()", "from parkcos import *")
    assert "parkcos.client.client" in later
    assert [name for name in later if not name.startswith("parkcos.")] == []
