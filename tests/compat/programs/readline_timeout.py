# A line that does not come in time, of a pipe.
import subprocess

import pycos
import pycos.asyncfile


def main(task=None):
    pipe = pycos.asyncfile.AsyncPipe(
        subprocess.Popen(["sh", "-c", "echo first; read x; echo $x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    )
    print((yield pipe.readline(timeout=10)))
    try:
        print((yield pipe.readline(timeout=0.2)))
    except Exception as error:
        print(isinstance(error, TimeoutError))
    yield pipe.write(b"second\n", full=True)
    print((yield pipe.readline(timeout=10)))


pycos.Task(main)

# > b'first\n'
# > True
# > b'second\n'
