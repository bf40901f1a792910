"""Two tasks in accept() of one socket; what was received as a bytearray."""

import socket
import pycos


def serve(sock, task=None):
    conn, addr = yield sock.accept()
    kind = type((yield conn.recv_msg())).__name__, type((yield conn.recvall(3))).__name__
    end = yield conn.recv_msg()
    conn.close()
    return kind, end


def main(task=None):
    sock = pycos.AsyncSocket(socket.socket())
    sock.bind(("127.0.0.1", 0))
    sock.listen(5)
    waiting = [pycos.Task(serve, sock) for _ in range(3)]
    waiting.pop(1).terminate()
    for _ in waiting:
        client = pycos.AsyncSocket(socket.socket())
        yield client.connect(sock.getsockname())
        yield client.send_msg(b"message")
        yield client.sendall(b"abc")
        client.close()
    for each in waiting:
        print((yield each.finish(10)))
    sock.settimeout(0.01)
    late = [pycos.Task(serve, sock) for _ in range(2)]
    for each in late:
        print((yield each.finish(10)).type.__name__)


pycos.Task(main).value()

# > (('bytearray', 'bytearray'), b'')
# > (('bytearray', 'bytearray'), b'')
# > TimeoutError
# > TimeoutError
