# Runs a hook. Arguments: the command.
#   prefix   the release's
hold_lock
umask 022
PATH=$prefix/bin:$PATH
if [ -d "$prefix" ]; then cd "$prefix" || exit 1; fi
exec "$@"
