"""On the path of the programs that tests start with ``python -u``: they write whole lines, at once.

Else ``print("end:", value)`` is several writes, and the log, which goes the same way, comes in between.
"""

import sys

if getattr(sys.stdout, "write_through", False):
    for _stream in (sys.stdout, sys.stderr):
        if _stream is not None:
            _stream.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]
