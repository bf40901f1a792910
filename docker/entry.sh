#!/bin/sh
# The container's command: options are for the node; what is no option is a program of the image, with its own options.
# The shell gives way to it, so that it gets the signals of `docker stop`.
case "${1-}" in
    "" | -*) exec parkcosnode.py "$@" ;;
    *) exec "$@" ;;
esac
