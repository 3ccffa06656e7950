#!/bin/sh
# create_venv.sh FOLDER: a virtual environment with pip.
# PYTHON=/path/to/python picks the interpreter, otherwise the first one that is 3.11 or newer.
set -eu
folder=$1

python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Python 3.11 or newer is needed, and ${PYTHON:-python3} is not." >&2
    echo "Install one, or name it: make PYTHON=/path/to/python3.11" >&2
    exit 1
fi

if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv --clear "$folder"
else
    # Debian ships venv without ensurepip; the pip beside the interpreter fills in.
    "$python" -m venv --clear --without-pip "$folder"
    "$python" -m pip --python "$folder/bin/python" install --quiet pip || {
        rm -rf "$folder"
        exit 1
    }
fi
