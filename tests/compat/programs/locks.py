"""Locks; of a dead owner they are free."""

import os, random, sys, time
import pycos

lock = pycos.Lock()
n = 0


def adds(task=None):
    global n
    for _ in range(10):
        yield lock.acquire()
        was = n
        yield
        n = was + 1
        lock.release()


tasks = [pycos.Task(adds) for _ in range(5)]
for t in tasks:
    t.value()
print(n)


def dies(task=None):
    yield lock.acquire()


def after(task=None):
    yield pycos.Task(dies).finish()
    print((yield lock.acquire(timeout=1)))
    print((yield lock.acquire(blocking=False)))
    lock.release()
    try:
        lock.release()
    except RuntimeError:
        print("not owned")


pycos.Task(after).value()

# > 50
# > True
# > False
# > not owned
