"""`python -m bench`: sets up the peers' environment, measures, prints the table and writes results.md."""

import argparse
import os
import sys

from bench import venv


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="parkcos and its peers, side by side")
    parser.add_argument("--quick", action="store_true", help="each once and briefly; writes no results.md")
    parser.add_argument("--rows", default="", metavar="NAME,...", help="only rows whose names begin so; no results.md")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="runs per figure (default: 5)")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    options = parser.parse_args()

    venv.ensure()
    if sys.prefix != str(venv.FOLDER):  # go on inside it: what follows needs psutil
        os.chdir(venv.ROOT)
        os.execv(venv.PYTHON, [str(venv.PYTHON), "-m", "bench", *sys.argv[1:]])

    from bench import report, runner
    from bench.table import ROWS

    names = tuple(name.strip() for name in options.rows.split(",") if name.strip())
    exact = {row.name for row in ROWS}
    prefixes = tuple(name for name in names if name not in exact)
    rows = [row for row in ROWS if not names or row.name in names or row.name.startswith(prefixes)]
    if options.list or not rows:
        print("\n".join(f"{row.name:14} {row.title}" for row in ROWS))
        return
    repetitions = 1 if options.quick else options.repetitions
    print(f"{report.machine()}\n{report.versions()}\n", flush=True)
    table = []
    for row in rows:
        measured = row, runner.run_row(row, repetitions, 0.1 if options.quick else 0.5)
        table.append(measured)
        what, unit, own, peers, target, met = report.line(measured)
        print(f"{what} [{unit}]\n    parkcos {own}; {peers}\n    target: {target}: {met}", flush=True)
    print("\n" + report.markdown(report.HEAD, map(report.line, table)))
    if not options.quick and not names:
        print(f"written: {report.write(table, repetitions)}")


if __name__ == "__main__":
    main()
