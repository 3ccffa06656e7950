#!/bin/sh
# overlay_venv.sh FOLDER BASE REQUIREMENTS: a virtual environment that sees all of BASE,
# another one, and puts the pinned packages of a file before it. Nothing is installed twice.
set -eu
folder=$1 base=$2 requirements=$3

purelib='import sysconfig; print(sysconfig.get_path("purelib"))'
below=$("$base/bin/python" -c "$purelib")
PYTHON=$("$base/bin/python" -c 'import sys; print(sys._base_executable)') \
    "$(dirname "$0")/create_venv.sh" "$folder"
echo "import site; site.addsitedir('$below')" \
    >"$("$folder/bin/python" -c "$purelib")/base_environment.pth"
"$folder/bin/python" -m pip install --no-deps --requirement "$requirements"
