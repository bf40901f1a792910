"""What a yield gives."""

import os, random, sys, time
import pycos


def gen():
    yield
    return 7


def proc(task=None):
    a = yield
    b = yield 5
    c = yield gen()
    d = yield task.sleep(0.01, "alarm")
    return a, b, c, d


print(pycos.Task(proc).value())

# > (None, 5, 7, 'alarm')
