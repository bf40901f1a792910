"""Throw and terminate."""

import os, random, sys, time
import pycos


def proc(task=None):
    try:
        yield task.sleep()
    except KeyError as e:
        print("caught", e.args)
    try:
        yield task.sleep()
    finally:
        print("cleaned")


def main(task=None):
    t = pycos.Task(proc)
    yield
    print(t.throw(KeyError("k")))
    yield task.sleep(0.01)
    print(t.terminate())
    status = yield t.finish()
    print(status.type is pycos.dispycos.Scheduler.TaskTerminated, status.value)


import pycos.dispycos

pycos.Task(main).value()

# > 0
# > caught ('k',)
# > 0
# > cleaned
# > True None
