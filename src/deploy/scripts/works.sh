# The health check of the installed release.
#   name prefix       the application's
#   patience settle   how long to wait, and how long each unit must have run, in seconds
#   asked             the units of services that must answer, or nothing. The installed release says how: an older one may have
#                     other paths, or none
#   url               an address that must answer, or nothing
# The programs that it runs do not inherit the locks of the transaction.
get() {
  if command -v curl >/dev/null; then curl -fsS -o /dev/null --max-time 10 "$url" 6>&- 8>&-
  else "$prefix/bin/python" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=10)' "$url" 2>&1 6>&- 8>&- | tail -n1 | grep . && return 1 || return 0; fi
}
is_ours() { case "$newline$units$newline" in *"$newline$1$newline"*) ;; *) return 1 ;; esac; } # UNIT
# A service that nobody enabled is another unit's to start, and a request could start it.
is_asked() { [ -f "$list" ] && grep -q "^$1 " "$list" && { ! has_systemd || [ "$(ctl is-enabled "$1" 2>/dev/null)" = enabled ]; }; }
# Only services have that property.
restarts_of() { set -- "$(ctl show -p NRestarts "$1" | cut -d= -f2)"; say "${1:-0}"; }
works() {
  for unit in $units; do
    # What nobody enabled is another unit's to start.
    [ "$(ctl is-enabled "$unit" 2>/dev/null)" = enabled ] || continue
    # The timer that asks a service runs with it.
    service=${unit%-health.timer}.service
    if is_ours "$service" && [ "$(ctl is-enabled "$service" 2>/dev/null)" != enabled ]; then continue; fi
    if [ "$(ctl show -p Type "$unit" | cut -d= -f2)" = oneshot ]; then
      ctl is-failed --quiet "$unit" && { why="$unit failed"; return 1; }
      continue
    fi
    state_of=$(ctl is-active "$unit")
    [ "$state_of" = active ] || { why="$unit is $state_of"; return 1; }
    since=$(ctl show -p ActiveEnterTimestampMonotonic "$unit" | cut -d= -f2)
    restarts=$(restarts_of "$unit")
    # What has failed already must stand for longer: it may die at the same point again.
    if [ "$restarts" -gt 0 ]; then enough=$((settle * 5)) history=", and was started again $restarts times"
    else enough=$settle history=; fi
    [ $(($(uptime_s) - since / 1000000)) -ge "$enough" ] || { why="$unit has not run for $enough s yet$history"; return 1; }
  done
  for unit in $asked; do
    is_asked "$unit" || continue
    monitor=${list%/*}/monitor
    [ -f "$monitor" ] || monitor=$prefix/.pkgapp/monitor
    why=$("$prefix/bin/python" -I -S "$monitor" ask "$list" "$unit" 2>&1 6>&- 8>&-) ||
      { why="$unit does not answer ${why:-at all}"; return 1; }
  done
  if [ -n "$url" ]; then why=$(get 2>&1) || { why="$url: $why"; return 1; }; fi
  if [ $# -gt 0 ]; then
    why=$(cd "$prefix" 2>/dev/null; PATH=$prefix/bin:$PATH; timeout "$patience" "$@" 2>&1 6>&- 8>&-) ||
      { why="\`$*\` exited with status $?: $why"; return 1; }
  fi
}
# wait_until_works COMMAND...: fails, and sets `why`, if the release does not work within `patience`. The command must succeed, if
# there is one.
wait_until_works() {
  units='' list=$(health_list)
  if has_systemd; then units=$(units_of); fi
  asked_since=$(uptime_s)
  until works "$@"; do
    if [ $(($(uptime_s) - asked_since)) -ge "$patience" ]; then
      for unit in $units; do
        if ctl is-active --quiet "$unit" && [ "$(restarts_of "$unit")" = 0 ]; then continue; fi
        journal -q -n 10 --no-pager -u "$unit" -o short-iso 2>/dev/null
      done >&2
      why="not healthy after $patience s: $why"
      return 1
    fi
    sleep 0.5
  done
}
