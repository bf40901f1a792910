"""Suspend and resume; numbers after the end."""

import os, random, sys, time
import pycos


def waits(task=None):
    return (yield task.suspend())


def wakes(other, task=None):
    yield task.sleep(0.01)
    print(other.resume("up"))
    value = yield other.finish()
    print(other.resume(), other.send(1), other.terminate())
    late = yield other.deliver(1)
    return value, late, other.is_alive()


print(pycos.Task(wakes, pycos.Task(waits)).value())

# > 0
# > -1 -1 -1
# > ('up', -1, False)
