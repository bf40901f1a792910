"""Tasks that are ended by a handler of Python's atexit, which was registered after pycos was made."""

import atexit
import pycos

scheduler = pycos.Pycos.instance()


def shutdown():
    print("shutdown")
    task.send(None)
    task.value()
    scheduler.finish()


atexit.register(shutdown)


def serve(task=None):
    while (yield task.receive()) is not None:
        pass
    print("served")


task = pycos.Task(serve)

# > shutdown
# > served
