# Probation: a release that works stays only if somebody confirms it in time. Otherwise the host goes back by itself, whatever has
# happened to the pusher, the network, or sshd.
#   within    the seconds that it waits for the confirmation
# Time is the host's uptime, which setting the clock does not change. A reboot continues with the rest of it.

# decide DIRECTORY FROM TO [WHY]: ends a phase. If several processes try, such as a deadline and a confirmation, one succeeds.
decide() {
  (flock 7 && [ "$(phase_in "$1")" = "$2" ] && put_file "$1/phase" "$3${4:+$newline$4}") 7>>"$1/decision"
}
# Wakes a transaction that waits, so that it sees the decision at once and not a second later.
wake() { # DIRECTORY
  waiting_=$(first_line "$1/pid") && is_number "$waiting_" && grep -qsz "$1/run" "/proc/$waiting_/cmdline" && kill -USR1 "$waiting_"
}

# The functions below are for transactions alone.
# nap SECONDS: sleeps; a signal ends it early.
nap() {
  sleep "$1" 6>&- 8>&- &
  napping=$!
  wait $napping
  kill $napping 2>/dev/null
}
# count_boot: sets `boots` to the number of reboots since the first call.
count_boot() {
  grep -qsxF "$(boot_id)" "$dir/boots" || put_file "$dir/boots" "$({ cat "$dir/boots" 2>/dev/null; boot_id; })"
  boots=$(($(wc -l <"$dir/boots") - 1))
}
# From the next boot on, the unit of the transaction runs before the application's services, so that a release that takes the host
# down is not started a fourth time. systemd reads the file at that boot.
come_before() {
  own_unit=$unit_files/pkgapp-transaction-$name.service
  services=$(units_of | grep '\.service$' | tr '\n' ' ')
  if [ -f "$own_unit" ] && [ -n "$services" ]; then put_file "$own_unit" "$(sed "/^\[Service\]\$/i Before=$services" "$own_unit")"; fi
}
# begin_probation: fails, and sets `why`, if the disk does not take it.
begin_probation() {
  say "in probation: it stays if it is confirmed within $within s"
  # Boots of the installation do not count.
  rm -f "$dir/boots"
  count_boot && come_before && put_file "$dir/remaining" "$within" && put_file "$dir/phase" probation && return
  why="cannot write to \`$dir\` that the release is in probation"
  return 1
}
# Returns when the probation has been decided.
hold_probation() { # COMMAND...
  # The state is on the disk, so a shutdown need not wait, and the next boot continues.
  trap 'exit 0' TERM HUP INT
  trap : USR1
  printf '%s\n' $$ >"$dir/pid"
  # Whoever waits for the installation can continue.
  exec 6>&-
  remaining=$(first_line "$dir/remaining")
  is_number "$remaining" || remaining=$within
  if [ "$boots" -gt 0 ]; then
    [ "$remaining" -ge 60 ] || remaining=60
    say "still in probation after a reboot: it stays if it is confirmed within $remaining s"
  fi
  noted=$remaining ticked=$(uptime_s) looked=$(uptime_s)
  while [ "$(phase_in "$dir")" = probation ]; do
    if [ "$remaining" -le 0 ]; then
      # The disk may be full: there is space for this.
      rm -f "$dir/reserve"
      decide "$dir" probation expired "nobody has confirmed it within $within s" && break
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
why_decided() { sed -n 2p "$dir/phase"; }
# note_return RESULT: writes down that the host returns to the previous release. The pusher that waits for the end has its own line
# for the history, and others take this one: see `take_return`.
#   version back_version back_sum   what the host leaves, and where it returns to
note_return() {
  [ -n "$decided" ] || return 0
  case $1 in unconfirmed) outcome='not confirmed' ;; restored) outcome='failed, and taken back' ;; *) return 0 ;; esac
  put_file "$dir/returned" "$(
    printf '{"time":"%s","who":"host","action":"return","from":"%s","to":"%s","release":"%s","commit":null,"sha256":"%s","result":"%s"}' \
      "$(now)" "$version" "$back_version" "$(value "$state/packages/$back_sum/info" release)" "$back_sum" "$outcome"
  )" || :
}
