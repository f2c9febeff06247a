#!/bin/sh
# Made by pkgapp: on-failure UNIT COMMAND [ARG...] runs a command because a unit has failed, at most once in five minutes for
# each unit. systemd starts it at every end of a service that it will start again, which may have been a good one
# (ExecStopPost=), and for units that it leaves failed (OnFailure=).
PKGAPP_UNIT=$1
export PKGAPP_UNIT
shift
[ "${SERVICE_RESULT-failed}" != success ] || exit 0
if [ -n "${RUNTIME_DIRECTORY-}" ]; then
    mark=${RUNTIME_DIRECTORY%%:*}/failed-$PKGAPP_UNIT
    [ -z "$(find "$mark" -mmin -5 2>/dev/null)" ] || exit 0
    : >"$mark" || :
fi
# systemd starts the service only after this has ended.
exec timeout 60 "$@"
