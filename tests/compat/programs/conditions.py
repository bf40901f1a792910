"""Conditions, events, semaphores; wait() that timed out owns the lock."""

import os, random, sys, time
import pycos

cond, ready, sem = pycos.Condition(), pycos.Event(), pycos.Semaphore(2)
items = []


def takes(task=None):
    yield cond.acquire()
    while not items:
        yield cond.wait()
    item = items.pop()
    cond.release()
    return item


def late(task=None):
    yield cond.acquire()
    got = yield cond.wait(0.01)
    cond.release()
    return got


def puts(task=None):
    yield cond.acquire()
    items.append("item")
    cond.release()
    cond.notify()
    cond.notify_all()


print(pycos.Task(late).value())
t = pycos.Task(takes)
pycos.Task(puts).value()
print(t.value())


def waits(task=None):
    first = yield ready.wait(0.01)
    second = yield ready.wait()
    return first, second, ready.is_set()


def sets(task=None):
    yield task.sleep(0.05)
    ready.set()


w = pycos.Task(waits)
pycos.Task(sets)
print(w.value())


def sems(task=None):
    a = yield sem.acquire()
    b = yield sem.acquire()
    c = yield sem.acquire(blocking=False)
    sem.release()
    d = yield sem.acquire()
    return a, b, c, d


print(pycos.Task(sems).value())
r = pycos.RLock()


def nests(task=None):
    yield r.acquire()
    yield r.acquire()
    r.release()
    r.release()
    try:
        r.release()
    except RuntimeError:
        return "nested"


print(pycos.Task(nests).value())

# > False
# > item
# > (False, True, True)
# > (True, True, False, True)
# > nested
