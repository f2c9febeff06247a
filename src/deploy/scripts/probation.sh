# Probation: a release that works stays only if somebody confirms it in time; else the host goes back by itself, whatever has
# become of the pusher, of the network, or of sshd.
#   confirm   `auto`: the pusher confirms, over a new connection; `manual`: a person; `off`: nobody has to
#   within    the seconds in which that must be
# Time is the host's uptime, which nobody sets; a reboot goes on with what was left of it.

# decide DIRECTORY FROM TO [WHY]: ends a phase. Of all that try, such as a deadline and a confirmation, one alone succeeds.
decide() {
  (flock 7 && [ "$(phase_in "$1")" = "$2" ] && put_file "$1/phase" "$3${4:+$newline$4}") 7>>"$1/decision"
}
# Says that it was decided to a transaction that counts down, which would see it a second later.
wake() { # DIRECTORY
  waiting_=$(first_line "$1/pid") && is_number "$waiting_" && grep -qsz "$1/run" "/proc/$waiting_/cmdline" && kill -USR1 "$waiting_"
}

# The rest is the transaction's.
# nap SECONDS: a signal ends it early.
nap() {
  sleep "$1" 6>&- 8>&- &
  napping=$!
  wait $napping
  kill $napping 2>/dev/null
}
# Called again after a reboot: three in one probation are enough.
count_boot() {
  grep -qsxF "$(boot_id)" "$dir/boots" || put_file "$dir/boots" "$({ cat "$dir/boots" 2>/dev/null; boot_id; })"
  boots=$(($(wc -l <"$dir/boots") - 1))
}
# At the next boot the transaction's unit comes before the application's services, so that a release that takes the host down is
# not started a fourth time. systemd reads it then.
come_before() {
  own_unit=$unit_files/pkgapp-transaction-$name.service
  services=$(units_of | grep '\.service$' | tr '\n' ' ')
  if [ -f "$own_unit" ] && [ -n "$services" ]; then put_file "$own_unit" "$(sed "/^\[Service\]\$/i Before=$services" "$own_unit")"; fi
}
# begin_probation: fails if that cannot be written down.
begin_probation() {
  count_boot && come_before && put_file "$dir/remaining" "$within" && put_file "$dir/phase" probation && return
  why="it cannot be written down in \`$dir\` that the release is in probation"
  return 1
}
# Returns when it is confirmed, or the host has to go back.
hold_probation() { # COMMAND...
  # All that matters is on the disk. A shutdown waits for nothing here, and the next boot goes on.
  trap 'exit 0' TERM HUP INT
  trap : USR1
  printf '%s\n' $$ >"$dir/pid"
  # Who has waited for the installation goes on.
  exec 6>&-
  remaining=$(first_line "$dir/remaining")
  is_number "$remaining" || remaining=$within
  if [ "$boots" -gt 0 ] && [ "$remaining" -lt 60 ]; then remaining=60; fi
  say "in probation: it stays if it is confirmed within $remaining s"
  noted=$remaining ticked=$(uptime_s) looked=$(uptime_s)
  while [ "$(phase_in "$dir")" = probation ]; do
    if [ "$remaining" -le 0 ]; then
      # The disk may be full: there is space for this.
      rm -f "$dir/reserve"
      decide "$dir" probation reverting "nobody has confirmed it within $within s" && break
    fi
    nap 1
    now_s=$(uptime_s)
    remaining=$((remaining - now_s + ticked)) ticked=$now_s
    if [ $((noted - remaining)) -ge 5 ]; then
      noted=$remaining
      put_file "$dir/remaining" "$((remaining > 0 ? remaining : 0))" || :
    fi
    if [ $((now_s - looked)) -ge 10 ] && [ "$(phase_in "$dir")" = probation ]; then
      wait_until_works "$@" || decide "$dir" probation reverting "in probation, $why" || :
      looked=$(uptime_s)
    fi
  done
  trap : TERM HUP INT
}
why_reverting() { sed -n 2p "$dir/phase"; }
