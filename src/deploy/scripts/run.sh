# Runs a command like a service of the application that is installed: with its user, directories, variables, limits and sandbox,
# and with what this host's administrator has added to it. It ends when nobody waits for it any more.
#   name service   the application, and NAME of its `[service.NAME]`
#   first last     lines of a unit that stand before the service's own, and the last word on it, with the command
#   variables      those of the host, for systemd
[ "$(id -u)" = 0 ] || fail "only root can run a command like a service here, and the login is \`$(id -un)\`: add \`--sudo\`"
if ! [ -d /run/systemd/system ] || ! has systemd-run; then fail "a command runs like a service by systemd, which does not run here"; fi

# A service with instances has a template, and the command is like the first of them.
path_of() { systemctl show -p FragmentPath "$1" | cut -d= -f2-; }
instance='' path=$(path_of "$name-$service.service")
if [ -z "$path" ]; then instance=@1 path=$(path_of "$name-$service@1.service"); fi
[ -f "$path" ] || fail "there is no service \`$service\` of $name on this host"

job=pkgapp-run-$name-$$$instance.service
there=/run/systemd/system/$job.d environment=/run/$job.env
finish() {
  systemctl stop "$job" 2>/dev/null
  rm -rf "$there" "$environment"
}
trap finish EXIT
trap 'exit 143' HUP INT TERM

# settings FILE: the lines of a unit's `[Service]` section that say in what surroundings it runs.
settings() {
  awk '/^\[/ { inside = $0 ~ /^\[Service\]/; next }
    !joined { kept = inside && $0 !~ /^[ \t]*(Exec|Restart|Type|Sockets|WorkingDirectory|PIDFile|BusName|NotifyAccess|RemainAfterExit|KillMode|Standard)/ }
    { joined = /\\$/ }
    kept' "$1"
}
mkdir -p "$there" && printf '%s\n' "$variables" >"$environment" || exit 1
{ printf '%s\n' "$first" && settings "$path"; } >"$there/!pkgapp.conf" || exit 1
for in in /usr/lib /run /etc; do
  # An empty file hides one further away.
  for conf in "$in/systemd/system/$name-.service.d"/*.conf "$in/systemd/system/${path##*/}.d"/*.conf; do
    [ ! -e "$conf" ] || cat "$conf" >"$there/${conf##*/}" || exit 1
  done
done
printf '%s\nEnvironmentFile=%s\n' "$last" "$environment" >"$there/zzzz-pkgapp.conf" && systemctl daemon-reload || exit 1

# The program that is named here is replaced by the one in `last`: arguments are in no list of processes of ours.
systemd-run --quiet --pipe --wait --collect --unit="$job" true </dev/null &
wait $!
status=$?
exit $status
