"""Value and finish together; join."""

import os, random, sys, time
import pycos


def proc(task=None):
    yield task.sleep(0.05)
    return 3


t = pycos.Task(proc)
print(t.value(0.001))


def waits(t, task=None):
    return (yield t.finish(0.001)), (yield t.finish())


w = pycos.Task(waits, t)
print(t.value(), w.value())
print(pycos.Task.scheduler().join(), pycos.Pycos.instance().join(True, 1))

# > None
# > 3 (None, 3)
# > True True
