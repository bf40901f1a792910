"""The table, for the terminal and for results.md."""

import datetime
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

import psutil

from bench.runner import Figures
from bench.table import Row, Target
from bench.venv import PEERS

HERE = Path(__file__).resolve().parent
Measured = tuple[Row, dict[str, Figures]]
VERSIONS = (*PEERS, "msgspec", "cryptography", "cloudpickle")
HEAD = ("what", "unit", "parkcos", "peers (parkcos / peer)", "target", "met")


def line(measured: Measured) -> list[str]:
    """The cells of one row, in the order of HEAD."""
    row, figures = measured
    own = figures["parkcos"]
    peers = [_peer(row, own, name, each) for name, each in figures.items() if name != "parkcos"]
    targets = [(_target(row, target), _met(row, figures, target)) for target in row.targets]
    aims, met = "; ".join(aim for aim, _ in targets), "; ".join(met for _, met in targets)
    return [row.title, row.unit, _figure(own), "; ".join(peers), aims, met]


def _peer(row: Row, own: Figures, name: str, each: Figures) -> str:
    ratio = f" ({own.value / each.value:.2f}x)" if own.value and each.value else ""
    return f"{name} {_figure(each)}{ratio}"


def _figure(figures: Figures) -> str:
    if figures.value is None:
        return figures.trouble
    mean = f" (mean {number(sum(figures.means) / len(figures.means))})" if figures.means else ""
    return (
        number(figures.value) + mean + (f" [{figures.failures} failed: {figures.trouble}]" if figures.trouble else "")
    )


def _target(row: Row, target: Target) -> str:
    bound = "at most" if row.less_is_better else "at least"
    return f"{bound} {target.factor:g}" + (f"x {target.peer}" if target.peer else f" {row.unit}")


def _met(row: Row, figures: dict[str, Figures], target: Target) -> str:
    own = figures["parkcos"].value
    base = figures[target.peer].value if target.peer else 1.0
    if own is None or not base:
        return "-"
    met = own <= target.factor * base if row.less_is_better else own >= target.factor * base
    return "yes" if met else "**NO**"


def number(value: float) -> str:
    """Three digits that matter."""
    for limit, suffix in ((1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{value / limit if suffix == ' M' else value / 1e3:.3g}{suffix}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows) + "\n"


def machine() -> str:
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [each.partition(":")[2].strip() for each in cpuinfo.read_text().splitlines() if "model name" in each]
        model = names[0] if names else model
    memory_gib = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} cores, {model}, {memory_gib:.0f} GiB, {platform.platform()}"


def versions() -> str:
    names = [f"Python {platform.python_version()}"]
    for package in VERSIONS:
        try:
            names.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(names)


def write(table: Sequence[Measured], repetitions: int) -> Path:
    """bench/results.md: the table, the spread of each figure, and notes.md below."""
    spread = [
        [row.title, peer, str(len(each.values)), *(number(bound(each.values)) for bound in (min, max))]
        for row, figures in table
        for peer, each in figures.items()
        if each.values
    ]
    notes = HERE / "notes.md"
    parts = [
        "# Speed, beside the peers\n",
        f"Written by `python -m bench` on {datetime.date.today()}; do not edit, write into `notes.md`.\n",
        f"- machine: {machine()}\n- versions: {versions()}\n",
        f"- each figure: the median of {repetitions} runs, each in a fresh process, the peers in turn\n",
        "- a rate: more is better; us, s and MiB: less is better; a latency is its median and its mean\n",
        markdown(HEAD, map(line, table)),
        "## The spread\n",
        markdown(("what", "who", "runs", "lowest", "highest"), spread),
        notes.read_text() if notes.exists() else "",
    ]
    path = HERE / "results.md"
    path.write_text("\n".join(parts))
    return path
