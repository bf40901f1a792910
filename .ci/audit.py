"""Looks for known holes in what lock files name: pip-audit, which asks the package index for them.

    python .ci/audit.py requirements/run.txt ...

Returns: 1 if there is one, or a file cannot be read.  Where the index cannot be asked, or knows of no holes (as many
mirrors do not), it says so, and that is no failure: nothing is known then, good or bad.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

LIMIT_S = 600
NOT_REACHED = re.compile(r"Could not connect|ConnectionError|HTTPError|Max retries exceeded|ServiceError|timed out")


def audit(path: str) -> bool:
    """Whether no hole is known in what this file names.  Says what has come of it."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "-f", "json", "-r", path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return said(path, f"NOT AUDITED: the index has not answered within {LIMIT_S} seconds")
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        if NOT_REACHED.search(done.stderr):
            return said(path, f"NOT AUDITED: the index cannot be asked: {done.stderr.strip().splitlines()[-1]}")
        print(done.stderr, file=sys.stderr)
        return said(path, "pip-audit has failed, as it says above", good=False)
    known = [each for each in packages if "vulns" in each]
    holes = [(each, hole) for each in known for hole in each["vulns"]]
    for each, hole in holes:
        mended = ", ".join(hole["fix_versions"]) or "nowhere yet"
        print(f"{path}: {each['name']} {each['version']}: {hole['id']}, mended in {mended}")
    if not known:
        return said(path, f"NOT AUDITED: the index knows nothing of holes in its {len(packages)} packages")
    return said(path, f"{len(known)} of {len(packages)} packages audited, {len(holes)} known holes", good=not holes)


def said(path: str, text: str, *, good: bool = True) -> bool:
    print(f"{path}: {text}", flush=True)
    return good


if __name__ == "__main__":
    good = [audit(path) for path in sys.argv[1:]]
    sys.exit(not all(good))
