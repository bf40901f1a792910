"""System tasks."""

import os, random, sys, time
import pycos


def system(task=None):
    task.register()
    print(task.name, (yield task.receive()))


def main(task=None):
    s = pycos.SysTask(system)
    yield task.sleep(0.01)
    found = yield pycos.SysTask.locate("system")
    print(found is s, isinstance(s, pycos.Task))
    s.send("hello")


pycos.Task(main).value()

# > True True
# > ^system hello
