#!/bin/sh
# Made by pkgapp: starts libexec/@NAME@ with the Python of the release that this file lies in, wherever that is.
# No other program is run unless this is a symbolic link, so an empty environment will do.
s=$0
case $s in
/*) ;;
*/*) s=./$s ;;
*) if [ -f "./$s" ]; then s=./$s; else s=$(command -v -- "$s"); fi ;;
esac
if [ -L "$s" ]; then s=$(command -p readlink -f "$s") || exit 126; fi
d=$(cd -P -- "${s%/*}" && pwd -P) || exit 126
if [ ! -x "$d/python" ]; then
    echo "$0: $d/python is missing or leads nowhere: Python @PYTHON@ is needed" >&2
    exit 127
fi
set -- "${d%/*}/libexec/@NAME@" "$@"
# Of a unit or a cron job of this very release, variables are the operator's own words.
if [ "${PKGAPP_CONFIGURED-}" ] && [ "$PKGAPP_CONFIGURED" -ef "${d%/*}" ]; then
    unset PYTHONHOME PYTHONPLATLIBDIR PYTHONSTARTUP PYTHONEXECUTABLE PYTHONINSPECT
    exec "$d/python" -s @SAFE@"$@"
fi
# -I keeps the caller's PYTHON* variables from changing what is imported; those that only tune become options.
w=${PYTHONWARNINGS-}
while [ "$w" ]; do
    if [ "${w##*,}" ]; then set -- -W "${w##*,}" "$@"; fi
    case $w in
    *,*) w=${w%,*} ;;
    *) w= ;;
    esac
done
case ${PYTHONUTF8-} in
1) set -- -X utf8 "$@" ;;
0) set -- -X utf8=0 "$@" ;;
esac
if [ "${PYTHONDEVMODE-}" ]; then set -- -X dev "$@"; fi
if [ "${PYTHONFAULTHANDLER-}" ]; then set -- -X faulthandler "$@"; fi
if [ "${PYTHONDONTWRITEBYTECODE-}" ]; then set -- -B "$@"; fi
if [ "${PYTHONUNBUFFERED-}" ]; then set -- -u "$@"; fi
exec "$d/python" -I "$@"
