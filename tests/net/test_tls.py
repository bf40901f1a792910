"""parkcos/net/trust/tls.py: real handshakes, in memory."""

from __future__ import annotations

import datetime
import os
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from cryptography import x509

from parkcos.net.trust.issuing import LEAF_RENEW_S, certify
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.tls import TlsIdentity, explain_tls_error

OURS = ClusterKeys(b"a" * 32, b"m" * 32)
THEIRS = ClusterKeys(b"b" * 32, b"m" * 32)


class Wire:
    """Two TLS sides and the bytes between them."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        self.to_client, self.to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self.to_client, self.to_server)
        self.server = server.wrap_bio(self.to_server, self.to_client, server_side=True)

    def shake(self) -> tuple[ssl.SSLError | None, ssl.SSLError | None]:
        """Return why the client and why the server gave up; the client also reads once, as a session does."""
        errors: list[ssl.SSLError | None] = [None, None]
        done = [False, False]
        for _ in range(6):
            for side, tls in enumerate((self.client, self.server)):
                if errors[side] is not None:
                    continue
                try:
                    if not done[side]:
                        tls.do_handshake()
                        done[side] = True
                    elif side == 0:
                        tls.read(1)
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError as exc:
                    errors[side] = exc
        assert all(d or e for d, e in zip(done, errors, strict=True)) or any(errors)
        return errors[0], errors[1]


def shake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[str, str]:
    """Return the words for the client's and the server's failure, empty for success."""
    a, b = Wire(client, server).shake()
    return explain_tls_error(a) if a else "", explain_tls_error(b) if b else ""


def test_same_secret() -> None:
    one, two = TlsIdentity(OURS, "one"), TlsIdentity(OURS, "two")
    for a, b in ((one, two), (two, one), (one, one)):
        wire = Wire(a.client_context(), b.server_context())
        assert wire.shake() == (None, None)
        assert wire.client.version() == wire.server.version() == "TLSv1.3"
        wire.server.write(b"hello")
        assert wire.client.read() == b"hello"
        wire.client.write(b"there")
        assert wire.server.read() == b"there"
    peer = x509.load_der_x509_certificate(peer_certificate(one, two))
    assert peer.subject.rfc4514_string() == "CN=two"


def peer_certificate(client: TlsIdentity, server: TlsIdentity) -> bytes:
    wire = Wire(client.client_context(), server.server_context())
    assert wire.shake() == (None, None)
    der = wire.client.getpeercert(binary_form=True)
    assert der is not None
    return der


def authorities(identity: TlsIdentity) -> list[bytes]:
    """The certificates that it trusts, DER."""
    return identity.server_context().get_ca_certs(binary_form=True)


def test_the_authority_is_the_same_everywhere() -> None:
    one, two = TlsIdentity(OURS, "one"), TlsIdentity(OURS, "two", clock=lambda: 1e9)
    assert authorities(one) == authorities(two) != authorities(TlsIdentity(THEIRS))
    ca = x509.load_der_x509_certificate(authorities(one)[0])
    leaf = x509.load_der_x509_certificate(peer_certificate(one, one))
    leaf.verify_directly_issued_by(ca)
    now = datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(hours=23) < now - leaf.not_valid_before_utc < datetime.timedelta(hours=25)
    assert datetime.timedelta(days=6.9) < leaf.not_valid_after_utc - now < datetime.timedelta(days=7.1)


def test_a_certificate_that_a_parent_has_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its child makes none before that one has to be replaced, as the child would its own."""
    start = time.time()
    now = [start]
    parent, made = TlsIdentity(OURS), certify(OURS, "child", start)
    child = TlsIdentity(OURS, "child", lambda: now[0], made)
    parent.client_context()
    with monkeypatch.context() as without:
        without.setattr("parkcos.net.trust.tls.certify", None)
        first = peer_certificate(parent, child)
        now[0] += LEAF_RENEW_S - 1
        assert peer_certificate(parent, child) == first
    assert x509.load_der_x509_certificate(first).subject.rfc4514_string() == "CN=child"
    now[0] += 1
    later = peer_certificate(parent, child)
    assert later != first
    assert peer_certificate(parent, child) == later


def test_strict_verification_has_nothing_to_object_to() -> None:
    one = TlsIdentity(OURS)
    contexts = one.client_context(), one.server_context()
    for context in contexts:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert shake(*contexts) == ("", "")


def test_another_secret_is_refused_by_the_client_first() -> None:
    client, server = shake(TlsIdentity(OURS).client_context(), TlsIdentity(THEIRS).server_context())
    assert "another secret" in client
    assert "another secret" in server


def test_another_secret_is_refused_by_the_server() -> None:
    careless = TlsIdentity(THEIRS).client_context()
    careless.verify_mode = ssl.CERT_NONE
    client, server = shake(careless, TlsIdentity(OURS).server_context())
    assert "another secret" in server
    assert "another secret" in client


def test_no_certificate_is_refused() -> None:
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    client, server = shake(careless, TlsIdentity(OURS).server_context())
    assert "no certificate" in server
    assert "no certificate" in client


def test_a_leaf_is_no_authority() -> None:
    one = TlsIdentity(OURS)
    leaf = x509.load_der_x509_certificate(peer_certificate(one, one))
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_clocks() -> None:
    now = time.time()
    for offset_s in (-8 * 86400, 3 * 86400):
        wrong = TlsIdentity(OURS, clock=lambda offset_s=offset_s: now + offset_s)  # type: ignore[misc]
        client, server = shake(TlsIdentity(OURS).client_context(), wrong.server_context())
        assert "clocks" in client
        assert "clocks" in server
    late = TlsIdentity(OURS, clock=lambda: now - 86400 * 5)
    early = TlsIdentity(OURS, clock=lambda: now + 86400 * 0.9)
    assert shake(late.client_context(), early.server_context()) == ("", "")


def test_too_old_a_protocol() -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    client, server = shake(old, TlsIdentity(OURS).server_context())
    assert "no TLS 1.3" in server
    assert "no TLS 1.3" in client


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 64, b"\x80\x04\x95" * 30, b"PKC1" * 9],
)
def test_garbage(garbage: bytes) -> None:
    for server_side in (True, False):
        identity = TlsIdentity(OURS)
        context = identity.server_context() if server_side else identity.client_context()
        incoming = ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=server_side)
        incoming.write(garbage)
        with pytest.raises(ssl.SSLError) as caught:
            tls.do_handshake()
        assert "does not speak TLS" in explain_tls_error(caught.value), caught.value


def test_closed() -> None:
    incoming = ssl.MemoryBIO()
    tls = TlsIdentity(OURS).server_context().wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write_eof()
    with pytest.raises(ssl.SSLError) as caught:
        tls.do_handshake()
    for exc in (caught.value, ConnectionResetError(104, "reset"), EOFError(), BrokenPipeError()):
        assert "closed the connection" in explain_tls_error(exc)


def test_other_errors() -> None:
    assert "in time" in explain_tls_error(TimeoutError())
    assert "in time" in explain_tls_error(ConnectionAbortedError("SSL handshake is taking longer than 60.0 seconds"))
    assert "ValueError" in explain_tls_error(ValueError())
    assert "no route" in explain_tls_error(OSError("no route"))
    assert "SOMETHING_NEW" in explain_tls_error(ssl.SSLError(1, "[SSL: SOMETHING_NEW] something new"))


def test_contexts_trust_nothing_else() -> None:
    identity = TlsIdentity(OURS)
    for context in (identity.client_context(), identity.server_context()):
        assert context.get_ca_certs(binary_form=True) == authorities(identity)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert not context.check_hostname
        assert context.minimum_version is context.maximum_version is ssl.TLSVersion.TLSv1_3
    assert identity.server_context().num_tickets == 0


def test_renewed_daily() -> None:
    now = time.time()
    identity = TlsIdentity(OURS, clock=lambda: now)
    first = identity.server_context(), identity.client_context()
    now += LEAF_RENEW_S - 1
    assert (identity.server_context(), identity.client_context()) == first
    now += 2
    second = identity.server_context(), identity.client_context()
    assert second[0] is not first[0]
    assert second[1] is not first[1]
    now -= 3 * 86400  # the clock is set right
    assert identity.server_context() is not second[0]
    assert shake(identity.client_context(), first[0]) == ("", "")


def test_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    TlsIdentity(OURS).server_context()
    before = sorted(os.listdir("/proc/self/fd"))
    TlsIdentity(OURS).server_context()
    monkeypatch.delattr(os, "memfd_create")
    identity = TlsIdentity(OURS)
    assert shake(identity.client_context(), identity.server_context()) == ("", "")
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path) == []


def test_any_name_will_do() -> None:
    for name in ("", "\0\n", "é" * 500, "a=b,c+d"):
        identity = TlsIdentity(OURS, name)
        assert shake(identity.client_context(), identity.server_context()) == ("", "")


def test_imports_little_until_asked() -> None:
    loaded = (
        "import sys, parkcos.net.trust.tls as tls; early = 'cryptography' in sys.modules; tls.preload();"
        "print(early, 'cryptography.x509' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", loaded], cwd=root, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == ["False", "True"]
