"""Datagrams."""

import socket
import pycos


def receives(sock, task=None):
    data, addr = yield sock.recvfrom(100)
    return data


def sends(addr, task=None):
    sock = pycos.AsyncSocket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    n = yield sock.sendto(b"datagram", addr)
    sock.close()
    return n


sock = pycos.AsyncSocket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
sock.bind(("127.0.0.1", 0))
receiver = pycos.Task(receives, sock)
print(pycos.Task(sends, sock.getsockname()).value(), receiver.value())
sock.close()

# > 8 b'datagram'
