"""What is no task."""

import os, random, sys, time
import pycos


def plain():
    pass


for wrong in plain, 5, (x for x in ()):
    try:
        pycos.Task(wrong)
    except Exception:
        print("refused")


def proc(a):
    yield


try:
    pycos.Task(proc)
except TypeError:
    print("TypeError")

# > refused
# > refused
# > refused
# > TypeError
