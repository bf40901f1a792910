"""The names of pycos and dispycos 4.x over parkcos's own: thin, and below it nothing knows of it.

``python -m parkcos.compat program.py [args]`` runs a program that was written for pycos as it stands.  One that changes
its import lines writes ``import parkcos.compat.netpycos as pycos`` and ``from parkcos.compat.dispycos import *``.
What is different on purpose is listed in docs/migrating-from-pycos.md.
"""
