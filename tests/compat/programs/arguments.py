"""Arguments."""

import os, random, sys, time
import pycos


def proc(a, b=2, *, c=3, task=None):
    yield
    return a, b, c, task.name


print(pycos.Task(proc, 1, c=4).value(), pycos.Task(target=proc, args=(5,), kwargs={"b": 6}).value())

# > (1, 2, 4, 'proc') (5, 6, 3, 'proc')
