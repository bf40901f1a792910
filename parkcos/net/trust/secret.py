"""The cluster's secret: where its file lies, how it is made on first use, and the two keys derived from it.

The secret is the only thing that the processes of a cluster must share, beside the cluster's name.  From it come the
seed of the certificate authority (``tls.py``) and the key of the datagrams' MAC (``datagram.py``).  Where it is a text
of the user's own, the derivation is slow on purpose (``secret_text.py``): derive once per program and hand the
:class:`ClusterKeys` down.

What must not live here: certificates, sockets, and anything that prints a secret or a key.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import secrets
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from parkcos.errors import ConfigError
from parkcos.net.trust.secret_text import CLUSTER, flaw_of, key_material, make_secret

logger = logging.getLogger("parkcos")

__all__ = ["ClusterKeys", "cluster_keys", "default_secret_path", "fingerprint", "load_secret", "make_secret_file"]

_FILE_BYTES_MAX: Final = 4096  # somebody named the wrong file
_HALF_WRITTEN_WAIT_S: Final = 1.0  # how long an empty file may be one that another program is just writing

# Part of the protocol: two processes that differ in any of these do not understand each other.
_CA_INFO: Final = b"parkcos certificate authority, Ed25519 seed, version 1"
_MAC_INFO: Final = b"parkcos discovery datagrams, HMAC-SHA256 key, version 1"
_FINGERPRINT_INFO: Final = b"parkcos fingerprint of the secret, to be shown, version 2"
_FINGERPRINT_BYTES: Final = 6  # enough to tell two secrets apart by eye


@dataclass(frozen=True, slots=True)
class ClusterKeys:
    """The keys of a cluster; every process with the same secret has the same ones.  They are never printed.

    Attributes:
        ca_seed: 32 bytes, the Ed25519 private key of the certificate authority.
        mac_key: 32 bytes, the key of the discovery datagrams' HMAC-SHA256.
        old: the keys of the secret before this one, while it is being replaced: those who have only one of the two
            are understood, too.
        name: of keys that come from no secret: whoever holds them asks for it of processes that hold others, too.
    """

    ca_seed: bytes = field(repr=False)
    mac_key: bytes = field(repr=False)
    old: ClusterKeys | None = field(default=None, repr=False)
    name: str = field(default="", repr=False)

    @classmethod
    def random(cls) -> ClusterKeys:
        """Keys that nobody else has, with a name."""
        return cls(secrets.token_bytes(32), secrets.token_bytes(32), name=f"parkcos-{secrets.token_hex(8)}")

    @classmethod
    def derive(cls, secret: str, cluster: str = CLUSTER) -> ClusterKeys:
        """Derive the keys from a secret and the name of its cluster, with HKDF's expand step (RFC 5869) for each.

        White space around the secret does not count, and two Unicode spellings of one text are one secret.

        Raises:
            ConfigError: the secret is one that can be guessed, or was copied badly; or the name cannot be one.
        """
        prk = key_material(secret, cluster)
        return cls(ca_seed=_expand(prk, _CA_INFO), mac_key=_expand(prk, _MAC_INFO))


def cluster_keys(
    secret: str | None, secret_file: Path | None, old_secret_file: Path | None = None, cluster: str = CLUSTER
) -> ClusterKeys:
    """Return the keys that a program's options mean.

    Args:
        secret: None: the one in *secret_file*.
        secret_file: None: the user's own, made on first use.
        old_secret_file: of the secret that is being replaced; it must be there.
        cluster: its name.

    Raises:
        ConfigError: see :func:`load_secret`; or the two secrets are the same.
    """
    keys = ClusterKeys.derive(secret or load_secret(secret_file), cluster)
    if old_secret_file is None:
        return keys
    old = ClusterKeys.derive(load_secret(old_secret_file, make=False), cluster)
    if old == keys:
        raise ConfigError(
            f"the old secret in {old_secret_file} is the same as the new one: put a new secret into the secret file "
            "(of every machine the same), or leave --old_secret_file out"
        )
    return ClusterKeys(keys.ca_seed, keys.mac_key, old)


def fingerprint(keys: ClusterKeys) -> str:
    """Return twelve digits that people compare: the same for the same secret and cluster, and no help in finding one.

    They are a hash of the keys, with a label of its own, so that nothing else follows from them.
    """
    digits = _expand(keys.ca_seed, _FINGERPRINT_INFO)[:_FINGERPRINT_BYTES].hex()
    return "-".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def _expand(prk: bytes, info: bytes) -> bytes:
    """HKDF-Expand of RFC 5869 for one block of SHA-256 (32 bytes)."""
    return hmac.digest(prk, info + b"\x01", "sha256")


def default_secret_path() -> Path:
    """Return where the user's cluster secret lies: ``$XDG_CONFIG_HOME/parkcos/secret``, or below ``~/.config``.

    Raises:
        ConfigError: the user has no home directory.
    """
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(configured):  # the XDG specification: a relative path is to be ignored
        return Path(configured, "parkcos", "secret")
    try:
        home = Path.home()
    except RuntimeError as exc:
        raise ConfigError(
            "this user has no home directory to keep the cluster's secret in: set HOME, or give the secret"
        ) from exc
    return home / ".config" / "parkcos" / "secret"


def load_secret(path: Path | None = None, *, make: bool = True) -> str:
    """Return the secret in the file *path* (the user's own by default), and make file and secret on first use.

    Unless *make* is false: then the file must be there.

    A new secret has 256 random bits.  Two programs that start at once agree on one: the file appears complete or
    not at all.

    Raises:
        ConfigError: others than its owner can read the file, or put another one in its place; it is empty or can be
            guessed, cannot be read, or cannot be made; the message names the file and the remedy.
    """
    path = default_secret_path() if path is None else path
    _check_folders(path)
    text = _read(path)
    if text is None and not make:
        raise ConfigError(f"the secret file {path} is not there: give the path of one that is")
    if text is None:
        _make(path)
        if path != default_secret_path():
            logger.warning("there was no secret in %s: a new one was made there, which no other machine has yet", path)
        text = _read(path)
    give_up = time.monotonic() + _HALF_WRITTEN_WAIT_S
    while not text and time.monotonic() < give_up:  # only where files cannot be linked, see _make
        time.sleep(0.01)
        text = _read(path)
    if text is None:
        raise ConfigError(f"the secret file {path} is a link that leads nowhere: remove it, and a new secret is made")
    if not text:
        raise ConfigError(f"the secret file {path} is empty: remove it, and a new one is made; or copy the cluster's")
    if flaw := flaw_of(text):
        raise ConfigError(f"the secret in {path} {flaw}; remove the file, and a new one is made, or copy the cluster's")
    return text


def make_secret_file(path: Path) -> str:
    """Make the file *path* with a new secret in it, and return that.

    Raises:
        ConfigError: there is one already, or it cannot be made; the message names the file and the remedy.
    """
    _check_folders(path)
    if os.path.lexists(path) or not _make(path):
        raise ConfigError(f"the secret file {path} is there already: move it away first, or use it as it is")
    return load_secret(path, make=False)


def _check_folders(path: Path) -> None:
    """Nobody else may put another file in the place of this one, or of the one that it is a link to.

    Raises: ConfigError with the remedy.
    """
    if not hasattr(os, "geteuid"):
        return
    trusted = {0, os.geteuid()}
    for place in dict.fromkeys((path, path.resolve())):
        folder = place.parent
        try:
            mode, owner = (status := os.stat(folder)).st_mode, status.st_uid
        except OSError:
            continue  # it is not there yet, or the file cannot be reached, which is said then
        if owner not in trusted and os.geteuid():  # root reads whose file it likes
            raise ConfigError(
                f"the folder {folder} of the secret file belongs to another user, who could put another secret there: "
                "copy the file into a folder of your own"
            )
        if not mode & 0o022:
            continue
        with contextlib.suppress(FileNotFoundError):
            if mode & stat.S_ISVTX and os.lstat(place).st_uid in trusted:  # only their owners replace files there
                continue
        raise ConfigError(
            f"other users can write to the folder {folder} of the secret file (mode {stat.S_IMODE(mode):04o}), and put "
            f"another secret there: run  chmod go-w {folder}  or give a file in a folder of its own"
        )


def _read(path: Path) -> str | None:
    """Return the file's text without the white space around it, or ``None`` when there is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(
            f"the secret file {path} cannot be read ({exc.strerror}): make it readable for this user "
            "(chown, chmod 600), or give another file"
        ) from exc
    try:
        status = os.fstat(fd)  # of what was opened, not of what lies at the path a moment later
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"the secret file {path} is not a regular file: give the path of a text file")
        mode = stat.S_IMODE(status.st_mode)
        if os.name == "posix" and mode & 0o077:
            raise ConfigError(
                f"the secret file {path} is open to other users (mode {mode:04o}): run  chmod 600 {path}  "
                "and, if others may have read it, make a new secret"
            )
        content = os.read(fd, _FILE_BYTES_MAX + 1)
    except OSError as exc:
        raise ConfigError(f"the secret file {path} cannot be read ({exc.strerror}): give another file") from exc
    finally:
        os.close(fd)
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigError(f"the secret file {path} is larger than {_FILE_BYTES_MAX} bytes: is it the right file?")
    try:
        return content.decode().strip()
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the secret file {path} is not text (UTF-8): is it the right file?") from exc


def _make(path: Path) -> bool:
    """Put a new secret at *path*, unless another program was faster; whether this one's is there.

    It is written to a file of its own, and then linked: ``link`` fails when the path exists, so the first one wins,
    and nobody can read half a secret.  Where the file system has no links, the path is made exclusively and written
    at once; a reader that comes between sees an empty file and tries again.
    """
    content = f"{make_secret()}\n".encode()
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}")
    try:
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            _write_new(draft, content)
            return _publish(draft, path, content)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as exc:
        raise ConfigError(
            f"the secret file {path} cannot be made ({exc.strerror}): make its directory writable for this user, "
            "or give the secret or another file"
        ) from exc


def _publish(draft: Path, path: Path, content: bytes) -> bool:
    """Let *draft* appear as *path* too, unless there is one: its secret is the secret.  Returns: whether it does."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except (OSError, AttributeError, NotImplementedError):  # no links on this file system or platform
        try:
            _write_new(path, content)
        except FileExistsError:
            return False
    return True


def _write_new(path: Path, content: bytes) -> None:
    """Make the file *path* (mode 0600, an error when it exists), with *content* safely on the disk."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
