"""Sys.exit() ends one task."""

import os, random, sys, time
import pycos


def ends(task=None):
    yield
    sys.exit(1)


def goes_on(task=None):
    yield task.sleep(0.05)
    print("goes on")


pycos.Task(ends)
pycos.Task(goes_on)

# > goes on
