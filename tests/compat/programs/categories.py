"""Categories."""

import os, random, sys, time
import pycos


def main(task=None):
    c = pycos.CategorizeMessages(task)
    c.add(lambda m: "odd" if isinstance(m, int) and m % 2 else None)
    for m in (2, 1, "x", 3):
        task.send(m)
    print((yield c.receive("odd")), (yield c.recv("odd")), (yield c.receive()), (yield c.receive()))
    print((yield c.receive("odd", timeout=0.01, alarm_value="none")))


pycos.Task(main).value()

# > 1 3 2 x
# > none
