"""pycos.netpycos: the names of `pycos`, and a network that the first task, channel or client starts."""

from __future__ import annotations

from parkcos.compat import pycos, runtime
from parkcos.compat.pycos import *  # noqa: F403
from parkcos.compat.pycos import RPS, RTI, PeerStatus
from parkcos.compat.pycos import MaxConnectionErrors as MaxConnectionErrors
from parkcos.compat.pycos import MonitorException as MonitorException
from parkcos.compat.pycos import MsgTimeout as MsgTimeout
from parkcos.compat.pycos import PickleProtocolVersion as PickleProtocolVersion
from parkcos.compat.pycos import Struct as Struct
from parkcos.compat.pycos import SysTask as SysTask
from parkcos.compat.pycos import __version__ as __version__
from parkcos.compat.pycos import config as config
from parkcos.compat.pycos import unserialize as unserialize

__all__ = ["RPS", "RTI", "PeerStatus"]
__all__ += pycos.__all__

__getattr__ = pycos.__getattr__

runtime.use_network()
