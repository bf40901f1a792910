"""What pycos 4.6 called things, and asyncoro before it."""

import asyncoro, pycos, pycos.asyncfile


def child(n, task=None):
    yield
    if n < 0:
        raise ValueError(n)
    return n * 2


def old_child(n, coro=None):
    "What it does."
    yield coro.sleep(0.01)
    raise StopIteration((n, coro is asyncoro.AsynCoro.cur_coro()))


def watches(task=None):
    for n in 2, -2:
        yield task.monitor(pycos.Task(child, n))
        message = yield task.receive()
        assert isinstance(message, pycos.MonitorException)
        kind, value = message.args[1]
        print(message.args[0].name, kind.__name__, repr(value))


def main(coro=None):
    print((yield asyncoro.Coro(old_child, 3).finish()), (yield pycos.Task(child, 3).finish()), old_child.__doc__)
    coro.send("hello")
    print(
        (yield coro.receive()), isinstance(coro, asyncoro.Coro), coro._id == coro.id, coro._scheduler is pycos.Pycos()
    )


pycos.Task(watches).value()
asyncoro.Coro(main).value()
print(pycos.unserialize(asyncoro.serialize([1])), asyncoro.AsynCoroSocket is pycos.AsyncSocket)
try:
    pycos.Task(child, 1)._proceed_(2)
except AttributeError as error:
    print(str(error).splitlines()[-1].strip())

# > child StopIteration 4
# > child ValueError ValueError(-2)
# > (3, True) 6 What it does.
# > hello True True True
# > [1] True
# > write: task.resume(value), and in the task: value = yield task.suspend()
