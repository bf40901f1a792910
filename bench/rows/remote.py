"""Messages between tasks of two processes, over loopback: round trips one at a time, and bursts in one direction.

    roundtrip LIBRARY    microseconds, half of them faster (value), and the mean
    oneway LIBRARY SIZE  messages per second; SIZE 0 is a small object, otherwise that many bytes
LIBRARY: parkcos (TLS), parkcos-plain, pycos (plain), socket (no library: the bound that the machine sets).
"""

import socket
from collections.abc import Generator
from statistics import mean, median
from time import perf_counter
from typing import Any

from bench.rows.lib import HOST, SECONDS, Result, Tasks, announce, main, partner, rate

SMALL = ("sample", 17, 0.25)  # the small object
BURST_BYTES = 64 << 20  # of large messages, in flight at most; the receiver acknowledges a burst
BURST = 5_000  # of small ones
ECHO_BYTES = 64  # of bare echo, about what a small message takes


def start(library: str) -> tuple[Tasks, Any]:
    lib = Tasks(library.removesuffix("-plain"), network=True)
    return lib, lib.go_online(secure=not library.endswith("-plain"))


# ---- tasks: the server's side


def serve(library: str) -> None:
    lib, net = start(library)

    def connect(task: Any) -> Generator[Any, Any, Any]:
        client = yield task.receive()
        if not lib.is_parkcos:
            yield net.peer(client.location, **lib.peer_options())
        return client

    def echo(task: Any = None) -> Generator[Any, Any, None]:
        task.register("echo")
        client = yield connect(task)
        while True:
            client.send((yield task.receive()))

    def sink(task: Any = None) -> Generator[Any, Any, None]:
        task.register("sink")
        client = yield connect(task)
        while True:
            count = yield task.receive()
            for _ in range(count):
                yield task.receive()
            client.send(count)

    lib.Task(echo)
    lib.Task(sink)
    announce(net.location.port)


# ---- tasks: the client's side


def find(lib: Tasks, net: Any, name: str, port: int, task: Any) -> Generator[Any, Any, Any]:
    where = lib.module.Location(HOST, port)
    yield net.peer(where, **lib.peer_options())
    server = yield lib.Task.locate(name, location=where, timeout=10)
    if server is None:
        raise RuntimeError(f"no task {name!r} at {where}")
    server.send(task)
    return server


def roundtrip(library: str) -> Result:
    if library == "socket":
        return bare_roundtrip()
    lib, net = start(library)

    def measure(port: int, task: Any = None) -> Generator[Any, Any, list[float]]:
        server = yield find(lib, net, "echo", port, task)
        times = []
        begin = perf_counter()
        while (before := perf_counter()) < begin + 2 * SECONDS:
            server.send(SMALL)
            yield task.receive()
            times.append(perf_counter() - before)
        return times

    with partner("serve", library) as port:
        return latency(lib.Task(measure, port).value())


def oneway(library: str, size: int) -> Result:
    message = bytes(size) if size else SMALL
    burst = max(1, BURST_BYTES // size) if size else BURST
    if library == "socket":
        return bare_oneway(size, burst)
    lib, net = start(library)

    def measure(port: int, task: Any = None) -> Generator[Any, Any, float]:
        server = yield find(lib, net, "sink", port, task)
        begin, bursts = perf_counter(), -1  # the first is for warming up
        while perf_counter() < begin + SECONDS or bursts < 1:
            server.send(burst)
            for _ in range(burst):
                server.send(message)
            yield task.receive()
            bursts += 1
            if bursts == 0:
                begin = perf_counter()
        return burst * bursts / (perf_counter() - begin)

    with partner("serve", library) as port:
        return throughput(float(lib.Task(measure, port).value()), size)


# ---- no library


def bare_serve(size: int) -> None:
    """Echo of ECHO_BYTES, or, with a size, one byte back for each burst."""
    with socket.create_server((HOST, 0)) as server:
        print(f"port {server.getsockname()[1]}", flush=True)
        link, _ = server.accept()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not size:
            while data := link.recv(ECHO_BYTES):
                link.sendall(data)
        buffer = memoryview(bytearray(size))
        burst = max(1, BURST_BYTES // size)
        while True:
            for _ in range(burst):
                got = 0
                while got < size:
                    if not (part := link.recv_into(buffer[got:])):
                        return
                    got += part
            link.sendall(b".")


def bare_roundtrip() -> Result:
    with partner("bare_serve", 0) as port, socket.create_connection((HOST, port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = []
        begin = perf_counter()
        while (before := perf_counter()) < begin + 2 * SECONDS:
            link.sendall(bytes(ECHO_BYTES))
            link.recv(ECHO_BYTES)
            times.append(perf_counter() - before)
        return latency(times)


def bare_oneway(size: int, burst: int) -> Result:
    message = bytes(size)
    with partner("bare_serve", size) as port, socket.create_connection((HOST, port)) as link:

        def bursts(count: int) -> float:
            begin = perf_counter()
            for _ in range(count):
                for _ in range(burst):
                    link.sendall(message)
                link.recv(1)
            return perf_counter() - begin

        return throughput(burst * rate(bursts), size)


def latency(times: list[float]) -> Result:
    times = times[len(times) // 10 :]  # the first are for warming up
    return {"value": 1e6 * median(times), "mean": 1e6 * mean(times)}


def throughput(per_second: float, size: int) -> Result:
    """Messages per second, or MB/s of large ones."""
    return {"value": per_second * size / 1e6 if size else per_second}


if __name__ == "__main__":
    main({"roundtrip": roundtrip, "oneway": oneway, "serve": serve, "bare_serve": bare_serve})
