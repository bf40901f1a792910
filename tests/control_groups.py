"""Control groups (version 2) for tests: where some can be made, and a virtual machine where none can on this one.

    python -m tests.control_groups      run the tests that need them in QEMU, with a kernel of Debian's (Debian, root)

The machine sees the files of this one, and keeps in memory what it changes.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from parkcos.cluster.control_groups import own_groups, read_text

NEEDED = ("memory", "pids")
PACKAGES = ("qemu-system-x86", "qemu-system-common", "busybox-static", "cpio")
MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
           "fuse", "virtiofs", "overlay")  # fmt: skip
"""In this order."""
TOP = Path(__file__).parent.parent
MINUTES = 20


def topmost() -> Path | None:
    """The topmost group that is seen here; None if there is none."""
    return next((top for kind, _, top in own_groups("") if kind == "cgroup2"), None)


def unavailable() -> str:
    """Why tests can make no groups here; "" if they can."""
    top = topmost()
    if top is None or not os.access(top / "cgroup.procs", os.W_OK):
        return "there are no control groups of version 2 here that this user may change"
    with contextlib.suppress(OSError):
        (top / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in NEEDED))
    lacking = set(NEEDED).difference(read_text(top / "cgroup.subtree_control").split())
    return f"the topmost control group does not hand down {' and '.join(sorted(lacking))}" if lacking else ""


# A machine of its own

INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in {modules}; do insmod /modules/$module.ko; done
mount -t virtiofs -o ro host /host
mount -t tmpfs changes /changes
mkdir /changes/upper /changes/work
mount -t overlay -o lowerdir=/host,upperdir=/changes/upper,workdir=/changes/work overlay /new
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
mount -t devtmpfs dev /new/dev
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts devpts /new/dev/pts
for folder in dev/shm run tmp; do mount -t tmpfs tmpfs /new/$folder; done
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
ip link set lo up
cp /command /new/tmp/command
chroot /new /bin/bash /tmp/command
poweroff -f
"""
COMMAND = """export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root
cd {top}
sed -i 's/^LIMIT_S = .*/LIMIT_S = 200.0/' tests/live/lib.py  # it is ten times as slow
if {command}; then echo THE TESTS HAVE PASSED; fi
"""


def _run(*command: str | Path, **options: object) -> None:
    subprocess.run([str(word) for word in command], check=True, **options)  # type: ignore[call-overload]


def _kernel(folder: Path) -> tuple[Path, Path]:
    """Debian's kernel for virtual machines: its image, and the folder of its modules."""
    names = subprocess.run(
        ["apt-cache", "depends", "linux-image-cloud-amd64"], check=True, capture_output=True, text=True
    ).stdout
    package = next(line.split()[1] for line in names.splitlines() if "Depends: linux-image-" in line)
    _run("apt-get", "download", package, cwd=folder)
    _run("dpkg-deb", "-x", next(folder.glob("*.deb")), folder)
    return next(folder.glob("boot/vmlinuz-*")), folder / "lib" / "modules"


def _initrd(folder: Path, modules: Path, command: str) -> Path:
    root = folder / "initrd"
    for name in ("bin", "modules", "proc", "dev", "host", "changes", "new"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    for name in MODULES:
        shutil.copy(next(modules.rglob(f"{name}.ko")), root / "modules")
    (root / "command").write_text(COMMAND.format(top=TOP, command=command))
    (root / "init").write_text(INIT.format(modules=" ".join(MODULES)))
    (root / "init").chmod(0o755)
    files = "\n".join(str(path.relative_to(root)) for path in root.rglob("*")).encode()
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], input=files, check=True, capture_output=True, cwd=root
    )
    (folder / "initrd.gz").write_bytes(gzip.compress(packed.stdout))
    return folder / "initrd.gz"


def main(arguments: Iterable[str]) -> int:
    """Run pytest with these arguments in the machine.  Returns: 0 if the tests have passed."""
    _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES)
    command = " ".join([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--timeout", "400", *arguments])
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        kernel, modules = _kernel(folder)
        initrd, socket = _initrd(folder, modules, command), folder / "files"
        files = [
            "/usr/lib/qemu/virtiofsd",
            f"--socket-path={socket}",
            "-o",
            "source=/",
            "-o",
            "cache=auto",
            "-o",
            "sandbox=chroot",
        ]
        with subprocess.Popen(files, stderr=subprocess.DEVNULL) as shares:
            try:
                while not socket.exists():
                    if shares.poll() is not None:
                        raise RuntimeError("virtiofsd does not start")
                    time.sleep(0.1)
                machine = subprocess.run(
                    ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "4096",
                     "-object", "memory-backend-memfd,id=memory,size=4096M,share=on", "-numa", "node,memdev=memory",
                     "-chardev", f"socket,id=files,path={socket}",
                     "-device", "vhost-user-fs-pci,chardev=files,tag=host",
                     "-nographic", "-no-reboot", "-kernel", str(kernel), "-initrd", str(initrd),
                     "-append", "console=ttyS0 panic=-1 quiet loglevel=3"],
                    stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60 * MINUTES, check=False, text=True,
                )  # fmt: skip
            finally:
                shares.kill()
    print(machine.stdout)
    return 0 if "THE TESTS HAVE PASSED" in machine.stdout else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["tests/security/test_groups.py"]))
