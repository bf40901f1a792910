from __future__ import annotations

from collections.abc import Iterator

import pytest

from parkcos.kernel import Kernel, set_default_kernel_factory
from tests.kernel.virtual import VirtualKernel


@pytest.fixture
def kernel() -> Iterator[VirtualKernel]:
    """A fresh kernel in virtual time: ``kernel.main(generator_function)`` runs it in this thread."""
    kernel = VirtualKernel()
    yield kernel
    kernel.terminate()


@pytest.fixture
def threaded() -> Iterator[Kernel]:
    """A fresh kernel that runs in a thread of its own, and is the default kernel meanwhile."""
    kernel = Kernel("test")
    before = set_default_kernel_factory(lambda: kernel)
    kernel.start()
    yield kernel
    kernel.terminate()
    set_default_kernel_factory(before)
