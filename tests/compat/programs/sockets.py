"""Sockets: messages, bulk, refusal, time-outs, plain threads."""

import sys, time, random, os
import pycos

import socket


def process(conn, task=None):
    kind = yield conn.recv_msg()
    if kind == b"echo":
        yield conn.send_msg(b"echo: " + (yield conn.recv_msg()))
    else:
        data = yield conn.recvall(100000)
        yield conn.sendall(data[::-1])
    conn.close()


def server(sock, n, task=None):
    tasks = []
    for _ in range(n):
        conn, addr = yield sock.accept()
        assert isinstance(conn, pycos.AsyncSocket)
        tasks.append(pycos.Task(process, conn))
    for each in tasks:
        yield each.finish()
    sock.close()


def client(addr, kind, task=None):
    with pycos.AsyncSocket(socket.socket()) as sock:
        print((yield sock.connect(addr)), flush=True)
        yield sock.send_msg(kind)
        if kind == b"echo":
            yield sock.send_msg(b"hello")
            return bytes((yield sock.recv_msg()))
        yield sock.sendall(b"ab" * 50000)
        data = yield sock.recvall(100000)
        return len(data), bytes(data[:2]), (yield sock.recv(10))


def refused(task=None):
    sock = pycos.AsyncSocket(socket.socket())
    try:
        yield sock.connect(addr)
    except OSError as error:
        return isinstance(error, OSError)


def late(task=None):
    a, b = map(pycos.AsyncSocket, socket.socketpair())
    a.settimeout(0.01)
    try:
        yield a.recv(1)
    except socket.timeout:
        pass
    b.close()
    return a.gettimeout(), b.gettimeout(), (yield a.recv(1))


sock = pycos.AsyncSocket(socket.socket())
sock.bind(("127.0.0.1", 0))
sock.listen(5)
addr = sock.getsockname()
s = pycos.Task(server, sock, 2)
print(pycos.Task(client, addr, b"echo").value())
print(pycos.Task(client, addr, b"bulk").value())
s.value()
print(pycos.Task(refused).value())
print(pycos.Task(late).value())


def blocks(port):
    sock = pycos.AsyncSocket(socket.socket(), blocking=True)
    sock.connect(("127.0.0.1", port))
    sock.send_msg(b"echo")
    sock.send_msg(b"thread")
    return bytes(sock.recv_msg())


sock = pycos.AsyncSocket(socket.socket())
sock.bind(("127.0.0.1", 0))
sock.listen(5)
s = pycos.Task(server, sock, 1)
print(blocks(sock.getsockname()[1]))
s.value()

# > 0
# > b'echo: hello'
# > 0
# > (100000, b'ba', b'')
# > True
# > (0.01, 0, b'')
# > b'echo: thread'
