"""Messages."""

import os, random, sys, time
import pycos


def server(task=None):
    task.set_daemon()
    while 1:
        msg, reply = yield task.receive()
        reply.send(msg * 2)


def client(server, task=None):
    for i in range(3):
        server.send((i, task))
    got = []
    for i in range(3):
        got.append((yield task.recv()))
    late = yield task.receive(timeout=0.01, alarm_value="late")
    now = yield task.receive(timeout=0, alarm_value="now")
    n = yield server.deliver((5, task), timeout=1)
    last = yield task.receive()
    return got, late, now, n, last


print(pycos.Task(client, pycos.Task(server)).value())

# > ([0, 2, 4], 'late', 'now', 1, 10)
