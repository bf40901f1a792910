"""The kernel: generator tasks in ONE thread, and what they have for each other.

This layer knows no socket, no process and no asyncio: tasks, their messages, timers and ends, locks, channels, and
a pool of threads for what blocks.  Everything above stands on ``Kernel.post`` (calls from other threads),
``Completion`` (results from anywhere) and the ports in ports.py.

kernel.py    Kernel: start, join, stop            loop.py      which task runs next: the hot loop
task.py      Task (inside: task_core, _waits)     wait.py      Wait, Completion, @operation: what can be yielded
outcome.py   Outcome, MonitorStatus               failures.py  users' exceptions, whatever their code does
                                                  explain.py   messages that show the wrong line and the right one
locks.py     Lock, RLock, Condition, Event, ...   channel.py   Channel: one message to many
pool.py      AsyncThreadPool                      messages.py  CategorizeMessages
registry.py  which kernel belongs to a thread     ports.py     what the kernel asks of a network
forked.py    kernels in a process that was forked
"""

from parkcos.errors import HotSwapException
from parkcos.kernel import forked as _forked  # noqa: F401  it looks after forks of the process
from parkcos.kernel.channel import Channel
from parkcos.kernel.kernel import Kernel
from parkcos.kernel.locks import Condition, Event, Lock, RLock, Semaphore
from parkcos.kernel.messages import CategorizeMessages
from parkcos.kernel.outcome import MonitorStatus, Outcome
from parkcos.kernel.pool import AsyncThreadPool
from parkcos.kernel.ports import Network
from parkcos.kernel.registry import cur_task, current_kernel, set_default_kernel_factory
from parkcos.kernel.task import Task
from parkcos.kernel.wait import Call, Completion, Wait, operation

__all__ = [
    "AsyncThreadPool",
    "Call",
    "CategorizeMessages",
    "Channel",
    "Completion",
    "Condition",
    "Event",
    "HotSwapException",
    "Kernel",
    "Lock",
    "MonitorStatus",
    "Network",
    "Outcome",
    "RLock",
    "Semaphore",
    "Task",
    "Wait",
    "cur_task",
    "current_kernel",
    "operation",
    "set_default_kernel_factory",
]
