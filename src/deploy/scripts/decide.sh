# Ends the probation of a release, and waits until its transaction has ended. Before it stand the functions of outcome.sh and
# probation.sh.
#   name       the application's
#   sum        the SHA-256 of the package in probation
#   decision   `confirmed`, or `expired`: the host goes back
#   reason     of going back, or nothing
hold_lock
# Another push may have recorded its end, and installed another package.
[ "$(parameter_of "$dir" sum)" = "$sum" ] || fail "the release is no longer in probation"
shown=$(stat -c %s "$dir/log")
if ! decide "$dir" probation "$decision" "$reason" && [ "$(phase_in "$dir")" = probation ]; then
  rm -f "$dir/reserve"
  decide "$dir" probation "$decision" "$reason" || [ "$(phase_in "$dir")" != probation ] || fail "cannot write to $dir"
fi
wake "$dir" || :
while [ -z "$(result)" ]; do
  # If the transaction was killed, this continues it.
  if flock -n -s "$dir/running" true; then
    umask 022
    setsid sh "$dir/run" </dev/null >/dev/null 2>&1 &
    sleep 0.2
  fi
  flock -s -w 1 "$dir/running" true || show
done
if [ "$decision" = expired ]; then
  [ "$(result)" != 'done' ] || fail "the release was confirmed in the meantime; roll back again"
  # The previous release is in place, whoever decided first.
  exit_restored=0 exit_unconfirmed=0
fi
tell_result
