"""What docs/chapter6.md names is there: tests, options, names, files; and it leaves out nothing of the chapter."""

from __future__ import annotations

import argparse
import ast
import functools
import inspect
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import parkcos
from parkcos.commands import node, scheduler

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "chapter6.md"

NAMED = {
    "6.1": "client1 client2 client3 client4 client5 client7 client8 client9_node client9_server client10 "
    "cloud_computing kbd_int live_analytics mas mem_servers remote_scheduler ssh_ec2",
    "6.2": "-c -i --ip_addr --ext_ip_addr -u --udp_port -n --name --dest_path --max_file_size -s --secret --certfile "
    "--keyfile --min_pulse_interval --max_pulse_interval --zombie_period -d --debug --tcp_ports --ipv4_udp_multicast "
    "--serve --daemon status close quit exit terminate --service_start --service_stop --service_end --clean --peer "
    "discover_peers --save_config --config",
    "6.3": "Scheduler() -i --ip_addr --ext_ip_addr -u --udp_port -t --tcp_port -n --name --node --dest_path "
    "--max_file_size -s --secret --certfile --keyfile --zombie_period -d --debug --daemon quit exit "
    "--ipv4_udp_multicast schedule peer",
    "6.4": "components pulse_interval nodes status_task node_setup server_setup disable_nodes disable_servers "
    "restart_servers abandon_zombie_nodes allocate schedule schedule(location) schedule(timeout) rtask rtask_at "
    "io_rtask io_rtask_at suspend_server resume_server close_server close_server(terminate=True) "
    "close_server(restart=True) restart_server suspend_node resume_node close_node restart_node abandon_zombie "
    "nodes() servers() tasks(where) node_allocate close() enable_node enable_server "
    "dispycos_close_server dispycos_close_node",
    "6.5": "status info NodeDiscovered NodeInitialized NodeClosed ServerDiscovered ServerInitialized ServerClosed "
    "TaskCreated ClientClosed task args kwargs start_time",
    "6.6": "location cpu memory disk swap",
    "6.7": "node port platform cpus memory disk allocate",
    "6.8": "HTTPServer(client) host port poll_sec DocumentRoot keyfile certfile show_task_args shutdown(wait=True) "
    "status_task",
    "6.11": "--serve --save_config --config",
    "6.13": "--ext_ip_addr --tcp_ports -d",
}
"""What the chapter names in each section, as the first column is to give it."""

PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {"6.3": scheduler._parser}
"""Of whose options a section speaks; else it is the node's."""


@dataclass(frozen=True)
class Row:
    """A line of a table.  spans: what stands in backticks, in each of the four columns."""

    section: str
    line: str
    cells: tuple[str, ...]

    def spans(self, column: int) -> list[str]:
        return re.findall(r"`([^`]+)`", self.cells[column])


def read_page() -> list[Row]:
    section = ""
    rows = []
    for line in PAGE.read_text().splitlines():
        if heading := re.match(r"## (6\.?\d*)? ?", line):
            section = heading[1] or line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith(("| chapter 6 |", "| what |")):
            rows.append(Row(section, line, tuple(cell.strip() for cell in line[1:-1].split(" | "))))
    return rows


ROWS = read_page()


def ids(row: Row) -> str:
    return f"{row.section}-{row.cells[0].replace('`', '')}"


@functools.cache
def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {found.name for found in tree.body if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef)}


@functools.cache
def options(section: str) -> set[str]:
    parsers = [PARSERS[section]()] if section in PARSERS else [node._parser()]
    if section == "Beyond the chapter":
        parsers.append(scheduler._parser())
    return {name for parser in parsers for action in parser._actions for name in action.option_strings}


def must_be_public(span: str) -> None:
    """`Name`, `Name.attribute`, and with parentheses the parameters of a call: `Client.rtask_at(where=)`."""
    found = re.fullmatch(r"(\w+)(?:\.(\w+))?(\([\w=, ]*\))?", span)
    assert found, f"{span} is no name"
    name, attribute, call = found.groups()
    module = parkcos if name != "HTTPServer" else pytest.importorskip("parkcos.httpd", reason="needs aiohttp")
    assert name in module.__all__, f"{module.__name__} exports no {name}"
    value: Any = getattr(module, name)
    if attribute is not None:
        fields = getattr(value, "__dataclass_fields__", {})
        assert hasattr(value, attribute) or attribute in fields, f"{name} has no {attribute}"
        value = getattr(value, attribute, None)
    if call is not None:
        assert callable(value), f"{span} cannot be called"
        function = value.__init__ if inspect.isclass(value) else value
        known = inspect.signature(function).parameters
        assert [p for p in re.findall(r"(\w+)=", call) if p not in known] == [], span


def test_the_table_is_read() -> None:
    assert len(ROWS) > 150
    assert {row.section for row in ROWS} >= {*NAMED, "6", "6.12", "Beyond the chapter"}
    assert [row.line for row in ROWS if len(row.cells) != 4] == []


@pytest.mark.parametrize("section", NAMED)
def test_what_the_chapter_names_has_a_row(section: str) -> None:
    found = {span for row in ROWS if row.section == section for span in row.spans(0)}
    if section == "6.1":
        found = {span.removeprefix("dispycos_").removesuffix(".py") for span in found}
    assert [name for name in NAMED[section].split() if not found & {name, f"{name} 1"}] == []


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_the_tests_are_there(row: Row) -> None:
    named = row.spans(2)
    if not named:
        assert row.cells[2].startswith("none: "), "a test, or why there is none"
    for span in named:
        file, _, name = span.partition("::")
        path = ROOT / file
        assert path.is_file(), span
        assert name.startswith("test_"), span
        assert name in names_in(path), span


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_where_it_lives_is_there(row: Row) -> None:
    spans = row.spans(1)
    assert spans or row.cells[1] == "none"
    for span in spans:
        if span.startswith("-"):
            assert span in options(row.section), f"{span} is no option"
        elif "/" in span:
            assert (ROOT / span).is_file(), span
        else:
            must_be_public(span)


@pytest.mark.parametrize("row", [row for row in ROWS if row.section != "6.1"], ids=ids)
def test_options_that_the_chapter_names_are_known(row: Row) -> None:
    for span in row.spans(0):
        if span.startswith("-"):
            assert span.split()[0] in options(row.section), f"{span} is no option"


def test_links() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text())
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


def test_the_containers_use_what_there_is() -> None:
    """They are not built here: what they copy exists, and the options that they give are the node's."""
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    copied = [
        line.split()[1:-1] for line in dockerfile.splitlines() if line.startswith("COPY ") and "--from" not in line
    ]
    assert [name for names in copied for name in names if not (ROOT / name).exists()] == []
    passed = (ROOT / ".dockerignore").read_text().splitlines()
    assert passed[1] == "*"
    assert {f"!{name}" for names in copied for name in names} <= set(passed)
    assert 'COPY docker/entry.sh /usr/local/bin/parkcos-entry\nENTRYPOINT ["parkcos-entry"]' in dockerfile
    assert os.access(ROOT / "docker" / "entry.sh", os.X_OK)
    command = re.search(r"^CMD (\[.*\])$", dockerfile, re.MULTILINE)
    assert command
    assert node._parser().parse_args(ast.literal_eval(command[1])).daemon
    compose = (ROOT / "docker" / "compose.yaml").read_text()
    given = re.search(r"^    command:\n((?:      - .*\n)+)", compose, re.MULTILINE)
    assert given
    args = node._parser().parse_args([shlex.split(line)[1] for line in given[1].splitlines()])
    assert (args.daemon, args.serve) == (True, 1)
    assert f"/run/secrets/{args.secret_file.name}" == str(args.secret_file)
    assert re.search(rf"^    secrets:\n      - {args.secret_file.name}\n", compose, re.MULTILINE)
    assert (ROOT / "docker" / re.findall(r"context: (.*)", compose)[0] / "docker" / "Dockerfile").is_file()
