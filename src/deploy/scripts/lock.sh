# Takes the lock. Arguments, for each package that will come: its SHA-256, what is known of it, and its pieces.
#   owner      who asks
#   dead       a token whose owner is known to be dead, or nothing
#   patience   how long to wait, in seconds
#   seen       the token of the lock that was there when the host was looked at, or nothing
#   joins      the SHA-256 of a package that is not waited for while it is in probation, or nothing
take_lock() {
  if lock_alive && [ "$(value "$state/lock" token)" != "$token" ] && [ "$(value "$state/lock" token)" != "$dead" ]; then
    return 75
  fi
  mkdir -p "$state/packages" && write_lock "$owner" "$(now)"
}
# Whoever held it then is done by now: what was known of the host may no longer be so.
current=$(value "$state/lock" token || :)
if [ -n "$seen" ] && [ "$current" != "$seen" ] && [ "$current" != "$token" ]; then
  say "waiting for the push that held the lock is over"
fi
if private_state; then
  judge_files
  [ -z "$why_" ] || refuse_state
fi
started=$(uptime_s) told=
until in_turn take_lock; do
  # It is not held, and can't be had: a full disk, say.
  [ $? = 75 ] || fail "the lock cannot be written in $state"
  if [ -z "$told" ]; then told=1; say "waiting for the push by $(value "$state/lock" owner) since $(value "$state/lock" since)"; fi
  if [ $(($(uptime_s) - started)) -ge "$patience" ]; then
    fail "$(value "$state/lock" owner) is pushing since $(value "$state/lock" since)"
  fi
  sleep 1
done
# What an earlier push has begun ends by itself; what was known of the host is then no longer so.
if runs "$state/transaction" && ! in_probation_with "$state/transaction" "$joins"; then
  if [ "$(phase_in "$state/transaction")" = probation ]; then
    say "waiting for the end of the probation of what an earlier push has installed"
  else say "waiting for the installation that an earlier push has started"; fi
  await "$state/transaction" "$joins"
fi
# A place for each package, in which everything is found under the SHA-256 of its bytes.
describe() { # SHA256 INFO PIECES
  in=$state/packages/$1
  # By the pieces the next push knows what of its package lies here already.
  mkdir -p "$in" && put_file "$in/info" "$2" && { [ -z "$3" ] || put_file "$in/pieces" "$3"; } && to_disk "$state/packages" "$state"
}
while [ $# -ge 3 ]; do
  if ! describe "$1" "$2" "$3"; then
    in_turn drop_lock
    fail "cannot write to $state/packages"
  fi
  shift 3
done
say "locked"
