"""The scheduler, and another one after it."""

import os, random, sys, time
import pycos


def proc(task=None):
    print(pycos.Pycos.cur_task() is task, pycos.Pycos.scheduler() is pycos.Pycos())
    yield


print(pycos.Pycos.cur_task(), pycos.Pycos.scheduler(), pycos.Pycos().location)
t = pycos.Task(proc)
t.value()
print(t.location)
pycos.Pycos().terminate()
print(pycos.Task(proc).value(), pycos.Pycos.instance().is_alive())

# > None None None
# > True True
# > None
# > True True
# > None True
