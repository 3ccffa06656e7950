#!/bin/sh
# The X and GL libraries that a Qt window needs on Linux: nothing to do where they are all
# there; installed where apt-get may be used without a password; else named, and exit 1.
# HQSAM2_SYSTEM_PACKAGES=skip leaves the check out.
set -eu
[ "$(uname -s)" = Linux ] || exit 0
[ "${HQSAM2_SYSTEM_PACKAGES:-}" != skip ] || exit 0

libraries='
libEGL.so.1 libegl1
libGL.so.1 libgl1
libOpenGL.so.0 libopengl0
libX11-xcb.so.1 libx11-xcb1
libdbus-1.so.3 libdbus-1-3
libfontconfig.so.1 libfontconfig1
libgthread-2.0.so.0 libglib2.0-0
libxcb-cursor.so.0 libxcb-cursor0
libxcb-icccm.so.4 libxcb-icccm4
libxcb-image.so.0 libxcb-image0
libxcb-keysyms.so.1 libxcb-keysyms1
libxcb-randr.so.0 libxcb-randr0
libxcb-render-util.so.0 libxcb-render-util0
libxcb-shape.so.0 libxcb-shape0
libxcb-sync.so.1 libxcb-sync1
libxcb-xfixes.so.0 libxcb-xfixes0
libxcb-xinerama.so.0 libxcb-xinerama0
libxcb-xkb.so.1 libxcb-xkb1
libxkbcommon-x11.so.0 libxkbcommon-x11-0
libxkbcommon.so.0 libxkbcommon0
'

known=$(PATH="$PATH:/usr/sbin:/sbin" ldconfig -p)
missing=$(printf '%s' "$libraries" | while read -r library package; do
    case "$known" in *"$library "*) ;; *) [ -z "$package" ] || echo "$package" ;; esac
done)
if [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    command -v xvfb-run >/dev/null || missing="$missing xvfb"
    command -v xauth >/dev/null || missing="$missing xauth"
fi
[ -n "$(find -L /usr/share/fonts -name '*.[to]tf' -print -quit 2>/dev/null)" ] ||
    missing="$missing fonts-dejavu-core"
# shellcheck disable=SC2086,SC2116  # one line, split at the spaces
missing=$(echo $missing)
[ -n "$missing" ] || exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root='sudo -n'
if command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
    echo "Installing system packages: $missing"
    # shellcheck disable=SC2086
    if $as_root apt-get -qq update && $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install --yes --no-install-recommends $missing; then
        exit 0
    fi
fi
cat >&2 <<END
A napari window needs system packages that are not installed, under their Debian names:
  $missing
On Debian or Ubuntu:
  sudo apt-get install --no-install-recommends $missing
Elsewhere, install what provides the same libraries with the package manager at hand.
To go on without them: export HQSAM2_SYSTEM_PACKAGES=skip
END
exit 1
