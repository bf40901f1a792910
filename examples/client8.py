#!/usr/bin/env python3
"""Long computations that never yield: messages to them queue at their servers meanwhile.

    parkcosnode.py             on one machine or more; then, on any machine:
    python client8.py          or, without any node:  python client8.py --local

Between two yields a task has its server for itself; `time.sleep` stands for a computation here.  No other task runs
at that server then, but what is sent to it comes in (another thread sees to that), and it is not taken for dead.
"""

import time

from _options import use_cluster

from parkcos import Client, Task, run

MESSAGES = 5


def compute(seconds, client_task, task=None):
    """Runs at a server: computes for so long without a yield, then looks at its messages."""
    client_task.send(task)  # the computation begins
    time.sleep(seconds)
    received = []
    while (message := (yield task.receive())) is not None:
        received.append(message)
    return received


def talk(client, seconds, task=None):
    """Runs here, once for each remote task: sends it messages while it computes."""
    rtask = yield client.rtask(compute, seconds, task)
    yield task.receive()
    begin = time.perf_counter()
    for number in range(1, MESSAGES + 1):
        rtask.send(f"message {number}")
        yield task.sleep(0.05)  # unlike time.sleep, this lets the other tasks of this program go on
    sent = time.perf_counter() - begin
    rtask.send(None)
    received = yield rtask.result()
    took = time.perf_counter() - begin
    print(f"{rtask.location} was sent {MESSAGES} messages in {sent:.1f} s, and computed for {seconds} s.")
    print(f"After {took:.1f} s it had received: {', '.join(received)}.", flush=True)


def main():
    """Runs here: two conversations at once, if there are two servers."""
    with Client([compute]) as client:
        yield client.schedule()
        for task in [Task(talk, client, seconds) for seconds in (1.0, 1.5)]:
            yield task.result()


if __name__ == "__main__":
    use_cluster(__doc__)
    run(main)
