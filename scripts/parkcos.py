#!/usr/bin/env python3
"""The command ``parkcos.py``: runs the shared scheduler.

Once installed, this file lies in the environment's folder of scripts. Python puts that folder first on ``sys.path``
for every script in it (``pytest``, for one), so there ``import parkcos`` finds this file before the package. As it
cannot be avoided under this name, it is answered: imported as ``parkcos``, the file gives way to the package.
"""

import importlib
import os
import sys


def _offers_this_file(entry):
    try:
        return os.path.samefile(os.path.join(entry, os.path.basename(__file__)), __file__)
    except (OSError, TypeError):
        return False


def _give_way():
    """Import the package in place of this file. The import system returns what it then finds in ``sys.modules``."""
    hidden = [(index, entry) for index, entry in enumerate(sys.path) if _offers_this_file(entry)]
    sys.path[:] = [entry for entry in sys.path if not _offers_this_file(entry)]
    del sys.modules[__name__]
    try:
        importlib.import_module(__name__)
    finally:
        for index, entry in hidden:
            sys.path.insert(index, entry)


if __name__ == "parkcos":
    _give_way()
elif __name__ == "__main__":
    from parkcos.commands.scheduler import main  # finds this very file first, which gives way

    sys.exit(main())
