"""The example programs, which come with the package: ``python -m parkcos.examples`` lists them, and copies them."""

from __future__ import annotations

import argparse
import ast
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).parent
FOLDERS = (_HERE / "example_files", _HERE.parent / "examples")
"""Where they are: in an installed package, and in the project's sources."""


def examples() -> list[Path]:
    """The programs, and what they import."""
    folder = next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[0])
    return sorted(folder.glob("*.py"))


def summary(program: Path) -> str:
    """The first line of what a program says of itself."""
    return (ast.get_docstring(ast.parse(program.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def copy(folder: Path) -> list[Path]:
    """Copy all into a folder, which is made; a file that is there already remains.  Returns: those copied.

    Raises: OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copied = []
    for program in examples():
        target = folder / program.name
        if not target.exists():
            shutil.copyfile(program, target)
            copied.append(target)
    return copied


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m parkcos.examples", description="List the example programs, or copy them to try and change them."
    )
    parser.add_argument("folder", nargs="?", type=Path, help="copy them there; files that are there already remain")
    folder = parser.parse_args(argv).folder
    if folder is None:
        for program in examples():
            if not program.name.startswith("_"):
                print(f"{program.name:20} {summary(program)}")
        print("\nTo copy them:  python -m parkcos.examples FOLDER")
        return 0
    try:
        copied = copy(folder)
    except OSError as error:
        print(f"the examples cannot be copied to {folder}: {error.strerror}: {error.filename}", file=sys.stderr)
        return 1
    there = len(examples()) - len(copied)
    print(f"{len(copied)} files are in {folder}" + (f"; {there} were there already, and remain" if there else ""))
    print(f"To try one:  python {folder / 'client1.py'} --local")
    return 0


if __name__ == "__main__":
    sys.exit(main())
