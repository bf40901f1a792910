"""Monitors."""

import os, random, sys, time
import pycos


def fails(task=None):
    yield
    raise ValueError("no")


def fine(task=None):
    yield
    return 4


def watch(task=None):
    f, g = pycos.Task(fails), pycos.Task(fine)
    print((yield task.monitor(f)), g.notify(task))
    print((yield task.monitor(f)))
    got = {}
    for _ in range(2):
        status = yield task.receive()
        assert isinstance(status, pycos.MonitorStatus)
        got[status.info.name] = status
    print(got["fails"].type, "ValueError: no" in got["fails"].value)
    print(got["fine"].type, got["fine"].value)
    print((yield task.receive(0.05)), f.is_alive())


pycos.Task(watch).value()

# > 0 0
# > 0
# > <class 'ValueError'> True
# > <class 'StopIteration'> 4
# > None False
