#!/bin/sh
# with_display.sh COMMAND...: run it on the display there is, or else on a virtual one.
set -eu
if [ "$(uname -s)" != Linux ] || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    exec "$@"
fi
export HQSAM2_NO_SCREEN=1
if command -v xvfb-run >/dev/null; then
    exec xvfb-run --auto-servernum --server-args '-screen 0 1600x1200x24' "$@"
fi
echo 'No display and no xvfb-run: going on without one.' >&2
exec "$@"
