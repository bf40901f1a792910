"""Start a part of parkcos as a process of its own: ``python -P start.py MODULE ARGUMENTS``.

A script, so that the package around it is found by where it lies, and neither by the environment, which the programs
that tasks start inherit, nor by the folder in which somebody is.  It imports nothing but the standard library.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from pathlib import Path


def _find_package() -> None:
    """Make this very parkcos the one of this process.  What it needs may lie beside it, behind all else."""
    package = Path(__file__).resolve().parent.parent
    if str(package.parent) not in sys.path:
        sys.path.append(str(package.parent))
    spec = importlib.util.spec_from_file_location("parkcos", package / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["parkcos"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    gc.disable()  # what is imported stays: the collector would look at it in vain, again and again
    _find_package()
    main = importlib.import_module(sys.argv.pop(1)).main
    gc.enable()
    sys.exit(main())
