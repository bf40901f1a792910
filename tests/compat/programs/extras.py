"""Singleton, struct, pickling, logger."""

import io
import pycos


class One(metaclass=pycos.Singleton):
    pass


print(pycos.Singleton.instance(One), One() is One(), pycos.Singleton.instance(One) is One())
first = One()
pycos.Singleton.discard(One)
print(first is One())
s = pycos.Struct(a=1)
print(s.a, s.b)
print(pycos.deserialize(pycos.serialize({"x": 1})))
stream = io.StringIO()
log = pycos.Logger("mine", stream)
log.info("seen %s", 1)
log.debug("not seen")
log.setLevel(log.DEBUG)
log.warn("now")
log.setLevel(log.ERROR)
log.info("not seen")
with log:
    log.log("written %s%%", 100)
    log.log(log.INFO, "not seen")
elsewhere = io.StringIO()
log.stream, stream = elsewhere, log.stream
log.error("elsewhere")
print(elsewhere.getvalue()[len("2000-01-01 00:00:00 ") : -1])
for line in stream.getvalue().splitlines():
    print(line[len("2000-01-01 00:00:00 ") :])

# > None True True
# > False
# > 1 None
# > {'x': 1}
# > mine - elsewhere
# > mine - seen 1
# > mine - now
# > mine - written 100%
