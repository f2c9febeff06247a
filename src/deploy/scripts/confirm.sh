# Confirms the release that is in probation, and waits for the end of its transaction. Before it stand the functions of outcome.sh
# and probation.sh.
#   name   the application's
#   sum    the SHA-256 of the package that is confirmed
hold_lock
# Another push may have replaced it, and its end be written down.
[ "$(parameter_of "$dir" sum)" = "$sum" ] || fail "the release is no longer in probation"
shown=$(stat -c %s "$dir/log")
if ! decide "$dir" probation confirmed && [ "$(phase_in "$dir")" = probation ]; then
  rm -f "$dir/reserve"
  decide "$dir" probation confirmed || [ "$(phase_in "$dir")" != probation ] || fail "cannot write to $dir"
fi
wake "$dir" || :
while [ -z "$(result)" ]; do
  # Killed, it has left what is to be done to the next one.
  if flock -n -s "$dir/running" true; then
    umask 022
    setsid sh "$dir/run" </dev/null >/dev/null 2>&1 &
    sleep 0.2
  fi
  flock -s -w 1 "$dir/running" true || show
done
tell_result
