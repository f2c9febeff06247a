# Runs a command of a release that `current` does not lead to yet, with this host's configuration. It goes on if the
# connection dies. Arguments: the application's name, the release's name, the SHA-256 of its tarball, the mark to leave;
# then the command.
hold_lock
name=$1 release=$into/releases/$2 kept=$packages/$3 mark=$4
shift 4
if [ -e "$mark" ]; then say "done before"; exit 0; fi
running=$state/migrating
mkdir -p "$running" || exit 1
if runs "$running"; then say "a migration goes on that another push has started; waiting for its end"; fi
exec 8>>"$running/running"
flock 8
cd "$release" || exit 1
program=$1
shift
if [ -x "$release/bin/$program" ]; then program=$release/bin/$program; fi
# It may write where the services may.
while read -r path; do
  if [ ! -d "$into/shared/$path" ]; then mkdir -p "$into/shared/$path" && chmod 750 "$into/shared/$path" || exit 1; fi
done <"$kept/host/directories"

# The host's own configuration; before the first switch the release's.
set -- -- "$program" "$@"
while read -r path; do
  case $path in *.env) if [ -f "$into/shared/$path" ]; then set -- "$into/shared/$path" "$@"; fi ;; esac
done <"$kept/host/secrets"
for file in "$kept/host/etc/$name"/*.env; do
  [ -f "$file" ] || continue
  own=$into/shared/etc/$name/${file##*/}
  if [ -f "$own" ]; then set -- "$own" "$@"; else set -- "$file" "$@"; fi
done
STATE_DIRECTORY=$into/shared/var/lib/$name CACHE_DIRECTORY=$into/shared/var/cache/$name LOGS_DIRECTORY=$into/shared/var/log/$name
PATH=$release/bin:$PATH PYTHONDONTWRITEBYTECODE=1
export STATE_DIRECTORY CACHE_DIRECTORY LOGS_DIRECTORY PATH PYTHONDONTWRITEBYTECODE
# What it prints goes by way of a file: a connection that dies must not end it.
log=$state/migrate.log
: >"$log"
trap '' HUP
with_environment "$@" >"$log" 2>&1 &
program=$!
tail -n +1 -f --pid=$program "$log" 8>&- &
wait $program
status=$?
wait
[ $status = 0 ] || exit $status
now >"$mark"
