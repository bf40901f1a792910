"""parkcos/net/trust/certificates.py: what is wrong with the files, said at the start; handshakes; processes."""

from __future__ import annotations

import datetime
import os
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from parkcos.errors import ConfigError
from parkcos.net.trust.certificates import CertificateIdentity, Certificates, load_certificates, make_certificate
from parkcos.net.trust.tls import Identity, TlsIdentity
from tests.net.cluster_of_networks import KEYS, Cluster, Log
from tests.net.test_tls import Wire

DAY = datetime.timedelta(days=1)
BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


class Authority:
    """Signs certificates, as an organisation's own authority does."""

    def __init__(self, name: str, issuer: Authority | None = None, *, from_day: int = -10, to_day: int = 100) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (issuer or self).sign(self.name, self.key, from_day, to_day, authority=True)

    def sign(
        self,
        name: x509.Name,
        key: Any,
        from_day: int,
        to_day: int,
        *,
        authority: bool,
        usage: list[Any] | None = None,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + from_day * DAY)
            .not_valid_after(now + to_day * DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(
        self, folder: Path, name: str, *, from_day: int = -1, to_day: int = 90, key: Any = None, usage: Any = BOTH
    ) -> tuple[Path, Path]:
        """A certificate and its key, in files."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self.sign(subject, key, from_day, to_day, authority=False, usage=usage)
        return pem_file(folder / f"{name}.pem", certificate), key_file(folder / f"{name}.key", key)


def pem_file(path: Path, *certificates: x509.Certificate) -> Path:
    path.write_bytes(b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates))
    return path


def key_file(path: Path, key: Any, passphrase: bytes | None = None) -> Path:
    hidden: Any = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
    path.chmod(0o600)
    return path


def loaded(*paths: Path | None, **options: Any) -> Certificates:
    found = load_certificates(*paths, **options)
    assert found is not None
    return found


def identity(*paths: Path | None) -> CertificateIdentity:
    return CertificateIdentity(loaded(*paths))


def shake(client: Identity, server: Identity) -> tuple[str, str]:
    """What each side says about the other, empty for success."""
    a, b = Wire(client.client_context(), server.server_context()).shake()
    return client.explain(a) if a else "", server.explain(b) if b else ""


def refused(*paths: Path | None, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_certificates(*paths, **options)
    return str(caught.value)


@pytest.fixture
def ca() -> Authority:
    return Authority("the authority")


# A shared certificate that signed itself


def test_made_once_and_shared(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path / "new", days=10)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    one, two = identity(certificate, key), identity(certificate, key)
    assert shake(one, two) == ("", "")
    ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    assert abs(ends - datetime.datetime.now(datetime.UTC) - 10 * DAY) < DAY / 10


def test_made_anew_never_over_an_old_one(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    before = certificate.read_bytes(), key.read_bytes()
    for missing in (None, certificate, key):
        if missing is not None:
            missing.rename(tmp_path / "away")
        with pytest.raises(ConfigError, match="is not overwritten"):
            make_certificate(tmp_path)
        if missing is not None:
            (tmp_path / "away").rename(missing)
    assert (certificate.read_bytes(), key.read_bytes()) == before


@pytest.mark.parametrize("days", [0, -1, 10**6])
def test_made_for_a_senseless_time(tmp_path: Path, days: int) -> None:
    with pytest.raises(ConfigError, match=f"{days} days"):
        make_certificate(tmp_path, days)
    assert list(tmp_path.iterdir()) == []


def test_made_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written into"):
        make_certificate(tmp_path / "file")


def test_key_and_certificate_in_one_file(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    assert "chmod 600" in refused(both)
    both.chmod(0o600)
    assert shake(identity(both), identity(certificate, key)) == ("", "")


def test_only_that_very_certificate_is_accepted(tmp_path: Path) -> None:
    ours = identity(*make_certificate(tmp_path / "a"))
    theirs = identity(*make_certificate(tmp_path / "b"))
    for one, two in ((ours, theirs), (theirs, ours)):
        client, server = shake(one, two)
        assert "not one that" in client and "certificate.pem" in client
        assert "does not accept the certificate of this process" in server


def test_the_chain_behind_it_is_shown_and_not_trusted(tmp_path: Path, ca: Authority) -> None:
    """Else everybody with a certificate of the same public authority would come in."""
    mine, other = ca.issue(tmp_path, "mine"), ca.issue(tmp_path, "other")
    chained = tmp_path / "chained.pem"
    chained.write_bytes(mine[0].read_bytes() + ca.certificate.public_bytes(serialization.Encoding.PEM))
    ours = identity(chained, mine[1])
    assert shake(ours, ours) == ("", "")
    stranger = CertificateIdentity(loaded(*other, pem_file(tmp_path / "ca.pem", ca.certificate)))
    client, server = shake(stranger, ours)
    assert "does not accept" in client
    assert "not one that" in server


# An authority


def test_an_authority_and_a_certificate_for_each(tmp_path: Path, ca: Authority) -> None:
    trusted = pem_file(tmp_path / "ca.pem", ca.certificate)
    one, two = (identity(*ca.issue(tmp_path, name), trusted) for name in ("one", "two"))
    assert shake(one, two) == shake(two, one) == ("", "")


def test_an_authority_in_between(tmp_path: Path, ca: Authority) -> None:
    middle = Authority("in between", ca)
    trusted = pem_file(tmp_path / "ca.pem", ca.certificate)
    certificate, key = middle.issue(tmp_path, "one")
    assert "not signed by any in" in refused(certificate, key, trusted)
    with certificate.open("ab") as file:
        file.write(middle.certificate.public_bytes(serialization.Encoding.PEM))
    assert shake(identity(certificate, key, trusted), identity(*ca.issue(tmp_path, "two"), trusted)) == ("", "")


def test_the_next_authority_and_the_one_before(tmp_path: Path, ca: Authority) -> None:
    """Both in the cafile: certificates of either are accepted while one replaces the other."""
    after = Authority("the next authority")
    trusted = pem_file(tmp_path / "ca.pem", ca.certificate, after.certificate)
    one, two = identity(*ca.issue(tmp_path, "one"), trusted), identity(*after.issue(tmp_path, "two"), trusted)
    assert shake(one, two) == shake(two, one) == ("", "")


def test_another_authority(tmp_path: Path, ca: Authority) -> None:
    other = Authority("the authority")  # of the same name
    ours = identity(*ca.issue(tmp_path, "one"), pem_file(tmp_path / "ca.pem", ca.certificate))
    theirs = identity(*other.issue(tmp_path, "two"), pem_file(tmp_path / "other.pem", other.certificate))
    client, server = shake(ours, theirs)
    assert "ca.pem" in client
    assert "two.pem" in server


@pytest.mark.parametrize("side", ["client", "server"])
def test_who_has_only_the_secret_does_not_come_in(tmp_path: Path, side: str) -> None:
    ours, theirs = identity(*make_certificate(tmp_path)), TlsIdentity(KEYS, "theirs")
    words = shake(ours, theirs) if side == "client" else shake(theirs, ours)[::-1]
    assert "secret only" in words[0]
    assert "certificates of its own" in words[1]


def test_trusts_nothing_else(tmp_path: Path) -> None:
    ours = identity(*make_certificate(tmp_path))
    for context in (ours.client_context(), ours.server_context()):
        # an end's certificate, so it does not count as an authority's; nothing else is there
        assert context.cert_store_stats()["x509"] == 1
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is context.maximum_version is ssl.TLSVersion.TLSv1_3


def test_a_peer_whose_certificate_has_expired(tmp_path: Path, ca: Authority) -> None:
    trusted = pem_file(tmp_path / "ca.pem", ca.certificate)
    ours = identity(*ca.issue(tmp_path, "ours"), trusted)
    files = ca.issue(tmp_path, "late", from_day=-9, to_day=-1)
    expired = CertificateIdentity(
        Certificates(*(str(path) for path in (*files, trusted)), *(path.read_text() for path in (*files, trusted)))
    )
    client, server = shake(ours, expired)
    assert "its certificate has expired" in client
    assert "certificate of this process" in server and "late.pem" in server and "has expired" in server
    client, server = shake(expired, ours)
    assert "late.pem" in client and "has expired" in client
    assert "its certificate has expired" in server


# What is wrong is said at the start


def test_nothing_given() -> None:
    assert load_certificates(None) is None
    assert "give the certfile" in refused(None, Path("key.pem"))
    assert "give the certfile" in refused(None, None, Path("ca.pem"))


def test_missing(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    nowhere = tmp_path / "nowhere.pem"
    for paths in ((nowhere, key), (certificate, nowhere), (certificate, key, nowhere)):
        assert f"{nowhere} is not there" in refused(*paths)


def test_a_folder(tmp_path: Path) -> None:
    assert f"{tmp_path} cannot be read" in refused(tmp_path)


def test_unreadable(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    certificate.chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)  # root may read everything
    try:
        said = refused(certificate, key)
    finally:
        os.seteuid(me)
    assert f"{certificate} cannot be read (Permission denied)" in said


def test_open_to_others(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    key.chmod(0o640)
    said = refused(certificate, key)
    assert f"chmod 600 {key}" in said and "0640" in said


@pytest.mark.parametrize("content", [b"", b"hello", b"\x30\x82\xff\x00", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_no_pem(tmp_path: Path, content: bytes) -> None:
    certificate, key = make_certificate(tmp_path)
    bad = tmp_path / "bad.pem"
    bad.write_bytes(content)
    bad.chmod(0o600)
    for paths in ((bad, key), (certificate, bad), (certificate, key, bad)):
        said = refused(*paths)
        assert str(bad) in said and "PEM" in said


def test_another_key(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path / "a")
    _, key = make_certificate(tmp_path / "b")
    said = refused(certificate, key)
    assert f"{key} does not fit the certificate in {certificate}" in said


def test_a_key_with_a_passphrase(tmp_path: Path, ca: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate, _ = ca.issue(tmp_path, "one", key=key)
    said = refused(certificate, key_file(tmp_path / "hidden.key", key, b"open sesame"))
    assert "hidden.key has a passphrase" in said


def test_expired_or_early(tmp_path: Path, ca: Authority) -> None:
    trusted = pem_file(tmp_path / "ca.pem", ca.certificate)
    for from_day, to_day, words in ((-9, -1, "expired on"), (1, 9, "not valid before")):
        certificate, key = ca.issue(tmp_path, "one", from_day=from_day, to_day=to_day)
        for paths in ((certificate, key), (certificate, key, trusted)):
            said = refused(*paths)
            assert words in said and str(certificate) in said


def test_the_authority_has_expired(tmp_path: Path) -> None:
    late = Authority("late", to_day=-1)
    trusted = pem_file(tmp_path / "ca.pem", late.certificate)
    said = refused(*late.issue(tmp_path, "one"), trusted)
    assert "CN=late" in said and str(trusted) in said and "expired" in said


def test_not_signed_by_the_cafile(tmp_path: Path, ca: Authority) -> None:
    trusted = pem_file(tmp_path / "ca.pem", Authority("another").certificate)
    said = refused(*ca.issue(tmp_path, "one"), trusted)
    assert f"is not signed by any in {trusted}" in said


@pytest.mark.parametrize("usage", BOTH)
def test_meant_for_one_end_only(tmp_path: Path, ca: Authority, usage: Any) -> None:
    certificate, key = ca.issue(tmp_path, "one", usage=[usage])
    trusted = pem_file(tmp_path / "ca.pem", ca.certificate)
    assert "clientAuth" in refused(certificate, key, trusted)


def test_a_key_that_is_too_weak(tmp_path: Path, ca: Authority) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    certificate, key = ca.issue(tmp_path, "one", key=weak)
    assert f"{certificate} cannot be used" in refused(certificate, key)


def test_ends_soon(tmp_path: Path) -> None:
    files = make_certificate(tmp_path, days=3)
    with Log() as log:
        loaded(*files)
    assert log.with_words(str(files[0]), "expires in", "days")


def test_the_key_is_never_printed(tmp_path: Path) -> None:
    found = loaded(*make_certificate(tmp_path))
    assert "PRIVATE" in found.key
    assert "PRIVATE" not in repr(found)


# Renewal


def test_renewed_on_disk(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path / "now")
    ours = identity(certificate, key)
    first = ours.client_context()
    assert ours.client_context() is first
    fresh = make_certificate(tmp_path / "fresh")
    theirs = identity(*fresh)
    assert shake(ours, theirs) != ("", "")
    with Log() as log:
        fresh[0].replace(certificate)  # the key does not fit yet
        assert ours.client_context() is first
        log.wait_for("the one from before stays", str(certificate), "does not fit")
        assert ours.client_context() is first
        assert len(log.lines) == 1
    fresh[1].replace(key)
    assert shake(ours, theirs) == shake(theirs, ours) == ("", "")


def test_goes_on_with_files_that_are_gone(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    ours = identity(certificate, key)
    certificate.unlink()
    key.unlink()
    assert shake(ours, ours) == ("", "")


def test_what_it_was_given_may_be_older_than_the_files(tmp_path: Path) -> None:
    """A server gets what its node had read at its start; meanwhile the files were renewed."""
    certificate, key = make_certificate(tmp_path / "now")
    given = loaded(certificate, key)
    for new, path in zip(make_certificate(tmp_path / "fresh"), (certificate, key), strict=True):
        new.replace(path)
    assert shake(CertificateIdentity(given), identity(certificate, key)) == ("", "")


# Processes


@pytest.mark.live
def test_networks_with_the_same_certificate(tmp_path: Path) -> None:
    ours = loaded(*make_certificate(tmp_path / "a"))
    theirs = loaded(*make_certificate(tmp_path / "b"))
    with Cluster() as cluster, Log() as log:
        one, two = (cluster.place(name, certificates=ours) for name in ("one", "two"))
        one.connect(two)
        assert two.is_connected_to(one)
        stranger = cluster.place("stranger", certificates=theirs)

        def dial(task: Any = None) -> Any:
            return (yield stranger.network.peer(one.location))

        assert stranger.run(dial) == -1
        port = one.location.port
        log.wait_for("no connection to", f"127.0.0.1:{port}", "not one that", theirs.certfile)
        log.wait_for("refused a connection from 127.0.0.1:", "does not accept the certificate", ours.certfile)
        without = cluster.place("without")

        def dial_too(task: Any = None) -> Any:
            return (yield without.network.peer(one.location))

        assert without.run(dial_too) == -1
        log.wait_for("no connection to", "another secret", "or certificates of its own")
