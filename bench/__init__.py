"""The design's table of speed, measured: parkcos and its peers side by side, in one run, on one machine.

    python -m bench                       everything; writes bench/results.md
    python -m bench --quick               once each and briefly: does every program still run?
    python -m bench --rows rtask,many     some rows (prefixes are enough)

    __main__.py   the command
    venv.py       a virtual environment with the peers in it; standard library only
    table.py      the rows: who is measured, with which program, against which target
    runner.py     one measurement is one fresh process; afterwards nothing that it started is left
    report.py     the table for the terminal and for results.md (which ends with notes.md)
    rows/         the programs: `python -m bench.rows.switch pycos 100` prints one line of JSON

Timing is never asserted: this prints, tests do not.
"""
