"""A file from one process to another, over loopback, into a folder on the disk, safely written (fsync): MB/s.

    send PEER    PEER: parkcos (TLS, digest checked at both ends), socket (bare), tls (a bare TLS socket)
The file has BENCH_FILE_GIB GiB (default 1); it is sparse, so that its reading costs nothing of the disk.
"""

import contextlib
import datetime
import os
import socket
import ssl
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.rows.lib import HOST, Result, Tasks, announce, main, partner

SIZE = int(float(os.environ.get("BENCH_FILE_GIB", "1")) * 2**30)
CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """The file to send, and where it may go."""
    with tempfile.TemporaryDirectory(prefix="bench-file-") as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        target.mkdir()
        with open(source, "wb") as file:
            file.truncate(SIZE)
        yield source, target


def send(peer: str) -> Result:
    with folders() as (source, target):
        seconds = send_by_task(source, target) if peer == "parkcos" else send_bare(peer, source, target)
        (arrived,) = target.iterdir()
        if arrived.stat().st_size != SIZE:
            raise RuntimeError(f"{arrived.stat().st_size} bytes arrived")
    return {"value": SIZE / seconds / 1e6}


# ---- parkcos


def serve(target: str) -> None:
    lib = Tasks("parkcos", network=True)
    net = lib.module.Parkcos(host=HOST, secret="a secret of the bench alone", discover_peers=False, dest_path=target)
    announce(net.location.port)


def send_by_task(source: Path, target: Path) -> float:
    lib = Tasks("parkcos", network=True)
    net = lib.go_online()

    def measure(port: int, task: Any = None) -> Generator[Any, Any, float]:
        where = lib.module.Location(HOST, port)
        yield net.peer(where)
        begin = perf_counter()
        if (yield net.send_file(where, source)) != 0:
            raise RuntimeError("it was not sent")
        return perf_counter() - begin

    with partner("serve", target) as port:
        return float(lib.Task(measure, port).value())


# ---- no library


def bare_serve(kind: str, target: str) -> None:
    with socket.create_server((HOST, 0)) as server:
        print(f"port {server.getsockname()[1]}", flush=True)
        link, _ = server.accept()
        if kind == "tls":
            link = _context(ssl.PROTOCOL_TLS_SERVER, Path(target).parent).wrap_socket(link, server_side=True)
        buffer = memoryview(bytearray(CHUNK_BYTES))
        left = SIZE
        with open(Path(target, "arrived"), "wb", buffering=0) as file:
            while left and (got := link.recv_into(buffer)):
                file.write(buffer[:got])
                left -= got
            os.fsync(file.fileno())
        link.sendall(b".")


def send_bare(kind: str, source: Path, target: Path) -> float:
    if kind == "tls":
        _make_certificate(source.parent)
    with partner("bare_serve", kind, target) as port, socket.create_connection((HOST, port)) as link:
        if kind == "tls":
            link = _context(ssl.PROTOCOL_TLS_CLIENT, source.parent).wrap_socket(link)
        begin = perf_counter()
        with open(source, "rb", buffering=0) as file:
            while data := file.read(CHUNK_BYTES):
                link.sendall(data)
        link.recv(1)
        return perf_counter() - begin


def _context(side: Any, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.load_verify_locations(folder / "certificate.pem")
    context.load_cert_chain(folder / "certificate.pem")
    return context


def _make_certificate(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1)).sign(key, None)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "certificate.pem").write_bytes(pem)


if __name__ == "__main__":
    main({"send": send, "serve": serve, "bare_serve": bare_serve})
