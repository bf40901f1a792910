"""Callables and classes of every kind, in a module of the program's own that no server has."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import enum
import functools
import operator
import types
import typing
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Generator, Iterator
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypedDict, TypeVar

T = TypeVar("T", bound="Base")

__version__ = "1.2"

calls: list[int] = []


# functions


@functools.cache
def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@functools.lru_cache(maxsize=2, typed=True)
def few(n: int) -> int:
    return n * 2


@functools.singledispatch
def describe(value: Any) -> str:
    return f"some {type(value).__name__}"


@describe.register
def _(value: int) -> str:
    return f"the number {value}"


@describe.register(list)
def _of_list(value: list[Any]) -> str:
    return ", ".join(map(describe, value))


def twice(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs) * 2

    return wrapper


@twice
@twice
def plus(a: int, /, b: int = 1, *more: int, c: int = 2, **others: int) -> int:
    return a + b + c + sum(more) + sum(others.values())


@contextlib.contextmanager
def kept(value: int) -> Iterator[int]:
    calls.append(value)
    yield value
    calls.remove(value)


def even(n: int) -> bool:
    return n == 0 or odd(n - 1)


def odd(n: int) -> bool:
    return n != 0 and even(n - 1)


def ping(n: int) -> Any:
    return ping.partner if n else "ping"  # type: ignore[attr-defined]


def pong(n: int) -> Any:
    return pong.partner if n else "pong"  # type: ignore[attr-defined]


ping.partner, pong.partner = pong, ping  # type: ignore[attr-defined]


def counter() -> tuple[Callable[[], int], Callable[[], int]]:
    count = 0

    def up() -> int:
        nonlocal count
        count += 1
        return count

    def now() -> int:
        return count

    return up, now


def in_a_class_body() -> Any:
    class Local:
        version = __version__
        few = few(3)

    return Local.version, Local.few


def of_a_function() -> Any:
    return TypeVar("Local")  # type: ignore[misc]


imported = operator.attrgetter("n")
maximum = max
partial = functools.partial(plus, 1, c=5)


# classes


class Registered:
    kinds: ClassVar[dict[str, type[Registered]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Registered.kinds[cls.__name__] = cls


class First(Registered):
    pass


class Second(First):
    def other(self) -> type:
        return Registered.kinds["First"]


class Left:
    right: type[Right]

    def name(self) -> str:
        return "left"


class Right:
    left = Left

    def names(self) -> str:
        return self.left().name() + self.left.right.__name__


Left.right = Right


def with_area(cls: Any) -> Any:
    cls.area = lambda self: self.x * self.y
    return cls


@with_area
@functools.total_ordering
@dataclasses.dataclass(frozen=True, slots=True)
class Rectangle:
    x: int
    y: int = 3
    tags: list[str] = dataclasses.field(default_factory=list, compare=False)

    def __lt__(self, other: Rectangle) -> bool:
        return (self.x, self.y) < (other.x, other.y)


@dataclasses.dataclass(slots=True)
class Pair(Generic[T]):
    one: Any
    two: Any


@dataclasses.dataclass
class Slotted:
    __slots__ = ("_Slotted__private", "__dict__", "x")
    x: int

    def __post_init__(self) -> None:
        self.__private = self.x

    def private(self) -> int:
        return self.__private

    @functools.cached_property
    def doubled(self) -> int:
        return self.x * 2


class Base:
    def __init__(self, n: int) -> None:
        self.n = n

    def total(self) -> int:
        return self.n

    @functools.singledispatchmethod
    def told(self, value: Any) -> str:
        return f"{self.n} something"

    @told.register
    def _(self, value: int) -> str:
        return f"{self.n} number"

    @functools.cached_property
    def square(self) -> int:
        return self.n**2

    @functools.lru_cache  # noqa: B019 -- that is what is to be carried
    def cached(self, m: int) -> int:
        return self.n + m

    add = functools.partialmethod(plus, 1)

    @twice
    def decorated(self) -> int:
        return self.n

    @classmethod
    def made(cls: type[T], n: int) -> T:
        return cls(n)

    @staticmethod
    def static(n: int) -> int:
        return n + 1

    @property
    def value(self) -> int:
        return self.n

    @value.setter
    def value(self, n: int) -> None:
        self.n = n

    def __getitem__(self, key: int) -> int:
        return self.n + key

    class Inner:
        def outer(self) -> type:
            return Base


class Derived(Base):
    @twice
    def total(self) -> int:
        return super().total() + 1


class Meta(type):
    def __call__(cls, *args: Any) -> Any:
        made = super().__call__(*args)
        made.meta = cls.label
        return made

    @property
    def label(cls) -> str:
        return f"made by {cls.__name__}"


class OfMeta(metaclass=Meta):
    pass


class Shape(abc.ABC):
    @property
    @abc.abstractmethod
    def area(self) -> int: ...


class Square(Shape):
    area = 4


@Shape.register
class Virtual:
    pass


@typing.runtime_checkable
class HasTotal(Protocol):
    def total(self) -> int: ...


class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"

    @property
    def upper(self) -> str:
        return self.value.upper()


class Flags(enum.IntFlag):
    A = enum.auto()
    B = enum.auto()


class Spot(NamedTuple):
    x: int
    y: int = 7

    def far(self) -> int:
        return self.x + self.y


Old = namedtuple("Old", "a b", defaults=(5,))


class Movie(TypedDict, total=False):
    title: str
    year: int


class Descriptor:
    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, obj: Any, owner: type | None = None) -> str:
        return self.name


class Described:
    field = Descriptor()


class Singleton:
    only: ClassVar[Singleton]


Singleton.only = Singleton()


class Weird(OrderedDict[str, int]):
    def __missing__(self, key: str) -> int:
        return len(key)


class Failed(Exception):
    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code


def checks() -> dict[str, Callable[[], Any]]:
    """What must give the same there as here."""
    up, now = counter()
    return {
        "cache": lambda: (fibonacci(30), fibonacci.cache_info().maxsize),
        "lru_cache": lambda: (few(4), few.cache_parameters()),
        "singledispatch": lambda: [describe(x) for x in (3, "x", [1, 2.0])],
        "decorated": lambda: (plus(1, 2, 3, c=4, d=5), plus.__name__, plus.__wrapped__.__kwdefaults__),  # type: ignore[attr-defined]
        "contextmanager": lambda: _kept(),
        "recursive": lambda: (even(10), odd(10)),
        "partners": lambda: (ping(1)(0), pong(1)(0), ping.partner is pong),
        "shared variable": lambda: (up(), up(), now()),
        "no variables": lambda: (even.__closure__, plus.__wrapped__.__wrapped__.__closure__),
        "class body": in_a_class_body,
        "attrgetter": lambda: imported(Base(4)),
        "builtin": lambda: maximum(3, 5),
        "partial": lambda: partial(2),
        "dunder global": lambda: __version__,
        "init_subclass": lambda: (
            sorted(Registered.kinds),
            Second().other() is First,
            Registered.kinds["Second"] is Second,
        ),
        "refer to each other": lambda: (Right().names(), Left.right is Right),
        "class decorator": lambda: (Rectangle(2).area(), Rectangle(1) < Rectangle(2), Rectangle(2) >= Rectangle(1)),
        "frozen slots": lambda: (Rectangle(1, tags=["a"]), hasattr(Rectangle(1), "__dict__")),
        "generic slots": lambda: (Pair[Any](1, 2), hasattr(Pair(1, 2), "__dict__")),
        "private slots": lambda: (Slotted(3).private(), Slotted(4).doubled, "x" in vars(Slotted(3))),
        "singledispatchmethod": lambda: (Base(1).told(2), Base(1).told("x")),
        "cached_property": lambda: Base(5).square,
        "cached method": lambda: Base(5).cached(3),
        "partialmethod": lambda: Base.__dict__["add"].func(1),
        "decorated method": lambda: Base(3).decorated(),
        "class, static": lambda: (type(Derived.made(3)).__name__, Derived.static(1)),
        "property": lambda: _set_value(Base(1)),
        "getitem": lambda: Base(3)[4],
        "inner class": lambda: (Base.Inner().outer() is Base, Base.Inner.__qualname__),
        "super": lambda: Derived(4).total(),
        "metaclass": lambda: (OfMeta().meta, OfMeta.label),  # type: ignore[attr-defined]
        "abstract": lambda: (Square().area, isinstance(Virtual(), Shape), _raises(TypeError, Shape)),
        "protocol": lambda: (isinstance(Base(1), HasTotal), isinstance(3, HasTotal)),
        "enum": lambda: (Colour("g") is Colour.GREEN, Colour.RED.upper, list(Colour), Flags.A | Flags.B),
        "NamedTuple": lambda: (Spot(1).far(), Spot(1)._replace(y=2), Old(1), Old._fields),
        "TypedDict": lambda: (Movie(title="x"), sorted(Movie.__annotations__), Movie.__total__),
        "descriptor": lambda: Described().field,
        "singleton": lambda: type(Singleton.only) is Singleton and Singleton.only is Singleton.only.only,
        "subclass of a builtin": lambda: (Weird(a=1)["abc"], Weird(a=1)["a"]),
        "generic alias": lambda: (
            typing.get_args(Pair[int]),
            typing.get_origin(Pair[int]) is Pair,
            T.__bound__ is not None,
        ),
        "simple namespace": lambda: types.SimpleNamespace(a=Base(2)).a.n,
        "exception": lambda: _raises(Failed, lambda: _fail(Failed(3, why="so"))),
    }


def _kept() -> tuple[list[int], list[int]]:
    with kept(3):
        inside = list(calls)
    return inside, list(calls)


def _set_value(thing: Base) -> int:
    thing.value = 9
    return thing.value


def _fail(error: BaseException) -> None:
    raise error


def _raises(kind: type[BaseException], fn: Callable[[], Any]) -> str:
    try:
        fn()
    except kind as error:
        return type(error).__name__
    return "nothing"


def values() -> dict[str, Any]:
    """What must come home as what it was."""
    return {
        "frozen slots": Rectangle(1, tags=["a"]),
        "slots": Pair(1, Pair(2, None)),
        "enum": [Colour.RED, Flags.B],
        "NamedTuple": Spot(1),
        "namedtuple": Old(1),
        "class": Derived,
        "instance": Colour.GREEN,
        "TypedDict": Movie(title="x", year=1),
        "inner": Base.Inner,
        "subclass of a builtin": Weird(a=1),
        "function": even,
        "cached": fibonacci,
        "dispatching": describe,
        "bound method": Rectangle(2).__lt__,
        "type variable": T,
        "type variable of a function": of_a_function(),
    }


def runs(check: Callable[[], Any]) -> Generator[Any, Any, Any]:
    yield
    return check()


def gives_back(value: Any) -> Generator[Any, Any, Any]:
    yield
    return value
