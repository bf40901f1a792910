"""pycos.config: the numbers that programs read.  What a program sets here has no effect: parkcos has options for it."""

from __future__ import annotations

PickleProtocolVersion: int | None = None
MsgTimeout = 10
MaxConnectionErrors = 10
IPV4_MULTICAST_GROUP = "239.255.97.5"
IPV6_MULTICAST_GROUP = "ff05::674f:48ba:b409:3171:9705"
NetPort = 9705
MinPulseInterval = MsgTimeout
MaxPulseInterval = 10 * MinPulseInterval
DispycosSchedulerPort = NetPort
DispycosNodePort = DispycosSchedulerPort + 1
