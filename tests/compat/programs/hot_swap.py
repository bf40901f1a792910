"""Hot swap."""

import os, random, sys, time
import pycos


def second(n, task=None):
    msg = yield task.receive()
    return "second", n, msg


def first(task=None):
    task.hot_swappable(True)
    while 1:
        try:
            print("first got", (yield task.receive()))
        except pycos.HotSwapException as e:
            if e.args[0].__name__ == "second":
                raise
            print("refused", e.args[0].__name__)


def other(task=None):
    yield


def main(task=None):
    t = pycos.Task(first)
    t.send(1)
    yield task.sleep(0.01)
    print(t.hot_swap(other), t.hot_swap(print))
    yield task.sleep(0.01)
    print(t.hot_swap(target=second, args=(9,)))
    yield task.sleep(0.01)
    t.send("m")
    print((yield t.finish()), t.name)


def swaps_and_sends(task=None):
    t = pycos.Task(first)
    yield task.sleep(0.01)
    t.hot_swap(second, 10)
    t.send("after that")
    print((yield t.finish()))


pycos.Task(main).value()
pycos.Task(swaps_and_sends).value()

# > first got 1
# > 0 -1
# > refused other
# > 0
# > ('second', 9, 'm') second
# > ('second', 10, 'after that')
