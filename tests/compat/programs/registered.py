"""Names."""

import os, random, sys, time
import pycos


def named(task=None):
    print(task.register("here"), task.register("^no"))
    yield task.receive()
    print(task.unregister("here"), task.unregister("here"))


def main(task=None):
    t = pycos.Task(named)
    yield task.sleep(0.01)
    found = yield pycos.Task.locate("here")
    print(found is t)
    t.send(0)
    yield t.finish()
    print(task.location, pycos.Pycos.instance().location)  # there is no network without netpycos


pycos.Task(main).value()

# > 0 -1
# > True
# > 0 -1
# > None None
