# Runs a hook. Arguments: the release's prefix, then the command.
hold_lock
prefix=$1
shift
PATH=$prefix/bin:$PATH
if [ -d "$prefix" ]; then cd "$prefix" || exit 1; fi
exec "$@"
