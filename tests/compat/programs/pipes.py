"""Pipes: lines, bulk, text files, chains, errors."""

import sys, time, random, os
import pycos

import pycos.asyncfile, subprocess
from subprocess import PIPE


def talks(task=None):
    pipe = pycos.asyncfile.AsyncPipe(subprocess.Popen(["cat"], stdin=PIPE, stdout=PIPE))
    print((yield pipe.write(b"one\ntwo\n", full=True)))
    print((yield pipe.readline()), (yield pipe.stdout.readline(sizehint=10)))
    pipe.stdin.close()
    print((yield pipe.read()), (yield pipe.stdout.read()))
    while pipe.poll() is None:
        yield task.sleep(0.01)
    print(pipe.poll(), pipe.returncode)


def communicates(task=None):
    pipe = pycos.asyncfile.AsyncPipe(subprocess.Popen(["cat"], stdin=PIPE, stdout=PIPE))
    out, err = yield pipe.communicate(b"x" * 5000000)
    pipe = pycos.asyncfile.AsyncPipe(subprocess.Popen(["wc", "-c"], stdin=PIPE, stdout=PIPE))
    with open("text", "w") as file:
        file.write("hello")
    with open("text") as file:
        counted = yield pipe.communicate(file)
    return len(out), err, counted


def chained(task=None):
    first = subprocess.Popen(["grep", "e"], stdin=PIPE, stdout=PIPE)
    last = subprocess.Popen(["wc", "-l"], stdin=first.stdout, stdout=PIPE)
    pipe = pycos.asyncfile.AsyncPipe(first, last)
    yield pipe.write(b"yes\nno\nmaybe\n")
    pipe.stdin.close()
    return (yield pipe.stdout.read()).strip()


def errors(task=None):
    pipe = pycos.asyncfile.AsyncPipe(subprocess.Popen(["sh", "-c", "echo oops >&2"], stdout=PIPE, stderr=PIPE))
    return (yield pipe.readline_stderr()), (yield pipe.communicate())


def ends(task=None):
    r, w = os.pipe()
    with (
        pycos.asyncfile.AsyncFile(os.fdopen(r, "rb")) as reader,
        pycos.asyncfile.AsyncFile(os.fdopen(w, "wb")) as writer,
    ):
        yield writer.write(b"abcdef")
        print((yield reader.read(3)))
        try:
            yield reader.read(9, full=True, timeout=0.01)
        except OSError:
            pass


pycos.Task(talks).value()
for proc in communicates, chained, errors:
    print(pycos.Task(proc).value())
pycos.Task(ends).value()

# > 8
# > b'one\n' b'two\n'
# > b'' b''
# > 0 0
# > (5000000, None, (b'5\n', None))
# > b'2'
# > (b'oops\n', (b'', b''))
# > b'abc'
