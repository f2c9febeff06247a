# Runs a command of a release that is unpacked but not installed, with this host's configuration, as the service's user.
# It goes on if the connection dies. Arguments: the application's name, the root that it was unpacked in, its
# prefix, the user or nothing, the mark to leave; then the command.
hold_lock
name=$1 root=$2 prefix=$3 user=$4 mark=$5
shift 5
unit=pkgapp-migrate-$name log=$state/migrate.log
if [ -e "$mark" ]; then say "done before"; exit 0; fi
release=$root$prefix
cd "$release" || exit 1
program=$1
shift
if [ -x "$release/bin/$program" ]; then program=$release/bin/$program; fi

# A user of the package's own does not exist before the first installation.
if [ -n "$user" ] && ! id "$user" >/dev/null 2>&1; then
  for conf in "$root"/usr/lib/sysusers.d/*.conf; do
    [ -f "$conf" ] && command -v systemd-sysusers >/dev/null && systemd-sysusers "$conf"
  done
  id "$user" >/dev/null 2>&1 || fail "there is no user $user on this host"
fi
# The host's own configuration; on the first installation the package's.
environment=
for file in "$root/etc/$name"/*.env; do
  [ -f "$file" ] || continue
  own=/etc/$name/${file##*/}
  if [ -f "$own" ]; then environment="$environment $own"; else environment="$environment $file"; fi
done

if [ -d /run/systemd/system ]; then
  busy() { case $(systemctl is-active "$unit") in active | activating | deactivating) ;; *) return 1 ;; esac; }
  if busy; then say "a migration goes on that another push has started; waiting for its end"; fi
  while busy; do sleep 0.5; done
  set -- "$program" "$@"
  # An interpreter that comes along is not installed yet: only the migration sees it where it will be.
  for runtime in "$root"/opt/pkgapp/python*; do
    [ ! -d "$runtime" ] || set -- -p "BindReadOnlyPaths=$runtime:/opt/pkgapp/${runtime##*/}" "$@"
  done
  for file in $environment; do set -- -p "EnvironmentFile=$file" "$@"; done
  if [ -n "$user" ]; then set -- -p "User=$user" "$@"; fi
  : >"$log"
  systemd-run --quiet --wait --collect --unit="$unit" -p WorkingDirectory="$release" -p StateDirectory="$name" \
    -p StandardOutput="file:$log" -p StandardError="file:$log" --setenv=PATH="$release/bin:$PATH" \
    --setenv=PYTHONDONTWRITEBYTECODE=1 "$@" &
  waiter=$!
  tail -n +1 -f --pid=$waiter "$log" &
  wait $waiter
  status=$?
  wait
else
  run() {
    set -a
    for file in $environment; do . "$file"; done
    set +a
    PATH=$release/bin:$PATH PYTHONDONTWRITEBYTECODE=1 "$@"
  }
  set -- "$program" "$@"
  if [ -n "$user" ]; then set -- setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups "$@"; fi
  # An interpreter that comes along, as above.
  if [ -d "$root/opt/pkgapp" ]; then
    set -- unshare -m sh -c 'for in in "$1"/opt/pkgapp/python*; do
      mkdir -p "/opt/pkgapp/${in##*/}" && mount --bind "$in" "/opt/pkgapp/${in##*/}" || exit 1
    done; shift; exec "$@"' sh "$root" "$@"
  fi
  run "$@"
  status=$?
fi
# Where it was mounted, nothing is left.
for runtime in "$root"/opt/pkgapp/python*; do rmdir "/opt/pkgapp/${runtime##*/}" /opt/pkgapp 2>/dev/null; done
[ $status = 0 ] || exit $status
now >"$mark"
