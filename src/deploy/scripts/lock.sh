# Takes the lock. Arguments: who asks, a token whose owner is known to be dead, how long to wait in seconds, the SHA-256
# of the package that will come, what is known of it, and its pieces, or nothing.
owner=$1 dead=$2 patience=$3 sum=$4 info=$5 pieces=$6
take_lock() {
  if lock_alive && [ "$(value "$state/lock" token)" != "$token" ] && [ "$(value "$state/lock" token)" != "$dead" ]; then
    return 75
  fi
  mkdir -p "$state/packages" && write_lock "$owner" "$(now)"
}
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
if runs "$state/transaction"; then
  say "waiting for the installation that an earlier push has started"
  while runs "$state/transaction"; do sleep 0.5; hold_lock; done
fi
# A place for the package, in which everything is found under the SHA-256 of its bytes.
if [ -n "$sum" ]; then
  mkdir -p "$state/packages/$sum" && printf '%s\n' "$info" >"$state/packages/$sum/info.new" &&
    mv "$state/packages/$sum/info.new" "$state/packages/$sum/info" || exit 1
  # By these the next push knows what of its package lies here already.
  if [ -n "$pieces" ]; then
    printf '%s\n' "$pieces" >"$state/packages/$sum/pieces.new" && mv "$state/packages/$sum/pieces.new" "$state/packages/$sum/pieces" || exit 1
  fi
  chmod 700 "$state/packages"
fi
say "locked"
