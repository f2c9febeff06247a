# Runs a hook. Arguments: the release's prefix, then the command.
hold_lock
umask 022
prefix=$1
shift
PATH=$prefix/bin:$PATH
if [ -d "$prefix" ]; then cd "$prefix" || exit 1; fi
exec "$@"
