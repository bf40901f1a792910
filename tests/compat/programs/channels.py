"""Channels: hierarchies and transforms work."""

import os, random, sys, time
import pycos


def receiver(n, task=None):
    total = 0
    while 1:
        msg = yield task.receive()
        if msg is None:
            break
        total += msg
    print(n, total)


def main(task=None):
    c, d = pycos.Channel("sums"), pycos.Channel("more", lambda name, m: m and m * 10)
    a, b = pycos.Task(receiver, "a"), pycos.Task(receiver, "b")
    print((yield c.subscribe(a)), (yield d.subscribe(b)), (yield c.subscribe(d)))
    print(c.send(1), (yield c.deliver(2)), (yield c.deliver(4, n=2)))
    yield c.deliver(None)
    yield a.finish()
    b.send(None)
    yield b.finish()
    print((yield c.unsubscribe(a)), (yield c.deliver(1, timeout=0.01, n=5)))


pycos.Task(main).value()
channel = pycos.Channel("named")
print(channel.register(), channel.register(), channel.unregister(), channel.unregister())

# > 0 0 0
# > 0 2 2
# > a 7
# > b 70
# > 0 0
# > 0 -1 0 -1
