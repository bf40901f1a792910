"""A process that is a node, from its network's start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from parkcos.net.options import NetworkOptions
from parkcos.net.runtime import Parkcos
from parkcos.node.offer import NodeOptions
from parkcos.node.program import NodeProgram
from parkcos.program.limits import raise_open_files
from parkcos.program.signals import Signals


def run(
    network: NetworkOptions, node: NodeOptions, listening: Callable[[NodeProgram], None] = lambda program: None
) -> None:
    """Be a node with these options until it is told to end.  Main thread.

    listening: called with the node when its network is there, before it is ready for clients.
    """
    runtime = Parkcos.instance()
    node.open_files = raise_open_files()
    signals = Signals()
    program = runtime.start_network(network, lambda started: NodeProgram(started, node))
    try:
        listening(program)
        ended = asyncio.run_coroutine_threadsafe(_until_stopped(program), program.loop)
        signals.wait(ended, lambda: program.loop.call_soon_threadsafe(program.signalled))
    finally:
        runtime.terminate()


async def _until_stopped(program: NodeProgram) -> None:
    if program.stopped:
        return
    stopped = asyncio.Event()
    program.options.on_stop.append(stopped.set)
    program.start()
    await stopped.wait()
