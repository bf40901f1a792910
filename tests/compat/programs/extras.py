"""Singleton, struct, pickling, logger."""

import os, random, sys, time
import pycos


class One(metaclass=pycos.Singleton):
    pass


print(One() is One.instance(), One() is One())
first = One()
One.discard()
print(first is One())
s = pycos.Struct(a=1)
print(s.a, s.b)
print(pycos.deserialize(pycos.serialize({"x": 1})))
log = pycos.Logger("mine")
log.info("seen %s", 1)
log.debug("not seen")
log.setLevel(log.DEBUG)
log.show_ms(True)
log.warn("now")
log.flush()

# > True True
# > False
# > 1 None
# > {'x': 1}
# > mine - seen 1
# > mine - now
