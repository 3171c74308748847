#!/bin/sh
# Prints a Python that can make an environment: $PYTHON if it is set, else the newest of the known names.
# Each candidate is run, not only looked for: pyenv leaves names in the PATH that do not start.
least="3.11"
works='import sys; sys.exit(not (sys.version_info >= (3, 11) and sys.implementation.name == "cpython"))'
version='import platform; print(platform.python_implementation(), platform.python_version())'
old="" bare=""

if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- python3.14 python3.13 python3.12 python3.11 python3 python
fi
for name in "$@"; do
    found=$("$name" -c "$version" 2>/dev/null) || continue
    if ! "$name" -c "$works" 2>/dev/null; then
        old="${old:+$old, }$name is $found"
    elif ! "$name" -c "import ensurepip, venv" 2>/dev/null; then
        bare="${bare:+$bare, }$name"
    else
        echo "$name"
        exit 0
    fi
done

{
    if [ -n "$bare" ]; then
        echo "error: an environment needs Python's venv and ensurepip modules, which $bare lacks."
        echo "  Debian, Ubuntu: apt-get install python3-venv      others: install Python from python.org or conda"
    else
        if [ -n "$old" ]; then
            echo "error: this project needs CPython $least or later, but $old."
        elif [ -n "${PYTHON:-}" ]; then
            echo "error: PYTHON=$PYTHON does not start; this project needs CPython $least or later."
        else
            echo "error: this project needs CPython $least or later, and no Python is in the PATH."
        fi
        echo "  Debian 12, Ubuntu 24.04 or later: apt-get install python3 python3-venv      Fedora: dnf install python3.12"
        echo "  macOS: brew install python@3.13      anywhere: uv python install 3.13, conda, or python.org"
    fi
    echo "  Then run the same command again; PYTHON=/path/to/python3 names one outside the PATH."
} >&2
exit 2
