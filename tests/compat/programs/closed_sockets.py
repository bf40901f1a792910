"""A socket that is closed while tasks wait in its calls: they get an error, and the program ends."""

import errno
import socket
import pycos


def ended(call, waiting, task=None):
    waiting.set()
    try:
        yield call()
    except OSError as error:
        return errno.errorcode[error.errno]


def main(task=None):
    listener = pycos.AsyncSocket(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    client = pycos.AsyncSocket(socket.socket())
    yield client.connect(listener.getsockname())
    conn, addr = yield listener.accept()  # and stays open
    for sock, call in ((client, client.recv_msg), (listener, listener.accept)):
        waiting = pycos.Event()
        waiter = pycos.Task(ended, call, waiting)
        yield waiting.wait()
        sock.close()
        print((yield waiter.finish(10)))


pycos.Task(main).value()

# > EBADF
# > EBADF
