"""TLS as pycos has it: the client trusts the server's own certificate; on every Python."""

from __future__ import annotations

import pytest

from tests.compat.conftest import BEGINNING, Programs
from tests.descriptors.test_sockets import Certificate

pytestmark = pytest.mark.live

SOURCE = """
import socket

def server(sock, task=None):
    conn, addr = yield sock.accept()
    yield conn.send_msg((yield conn.recv_msg()).upper())
    conn.close()
    sock.close()

def client(addr, task=None):
    sock = pycos.AsyncSocket(socket.socket(), certfile="server.pem")
    yield sock.connect(addr)
    yield sock.send_msg(b"hello")
    reply = yield sock.recv_msg()
    print(bytes(reply), sock.version())
    sock.close()

sock = socket.socket()
sock.bind(("127.0.0.1", 0))
sock.listen(1)
addr = sock.getsockname()
version = pycos.AsyncSocket.get_ssl_version()
sock = pycos.AsyncSocket(sock, keyfile="server.key", certfile="server.pem", ssl_version=version)
s = pycos.Task(server, sock)
pycos.Task(client, addr).value()
s.value()
"""


def test_selfsigned(local: Programs) -> None:
    Certificate(local.folder, "server")
    assert local.run(BEGINNING + SOURCE) == ["b'HELLO' TLSv1.3"]


def test_programs_with_certificates_of_their_own(peers: Programs) -> None:
    Certificate(peers.folder, "cluster").keyfile.chmod(0o600)
    options = "certfile='cluster.pem', keyfile='cluster.key'"
    first = (
        f"import pycos.netpycos as pycos\npycos.Pycos(name='one', {options})\n"
        "def proc(task=None):\n    task.register('it')\n    print('ready', flush=True)\n"
        "    print((yield task.receive()), flush=True)\npycos.Task(proc).value()\n"
    )
    program = peers.start(first)
    program.wait_for("ready")
    second = (
        f"import pycos.netpycos as pycos\npycos.Pycos(name='two', {options})\n"
        "def main(task=None):\n    it = yield pycos.Task.locate('it', timeout=10)\n"
        "    print((yield it.deliver('secretly', timeout=10)))\npycos.Task(main).value()\n"
    )
    assert peers.run(second, name="second.py")[-1] == "1"
    assert program.wait() == 0
    assert "secretly" in program.lines
