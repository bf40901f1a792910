"""Found as `pycos` in a process that a program has started; gives way to this layer's."""

from parkcos.compat import alias

alias.take_place("pycos")
