# Starts a transaction as a unit of its own, so that it ends as it should whatever becomes of this connection, of the
# pusher, or of the host, and waits for its end. Arguments: the application's name, what the transaction goes to, the version
# that is expected to be installed now, the transaction's parameters as assignments of sh, its script.
hold_lock
name=$1 goal=$2 expected=$3 parameters=$4 script=$5
dir=$state/transaction unit=pkgapp-transaction-$name

result() { value "$dir/result" result; }
if runs "$dir"; then say "a transaction goes on that an earlier push has started; waiting for its end"; fi
while runs "$dir"; do sleep 0.2; done

attempt=1
if [ -f "$dir/parameters" ] && [ ! -f "$dir/result" ]; then
  say "the last transaction was interrupted; it is done again"
  attempt=2
fi
# What an earlier try of this push has ended, however it ended, and what an earlier push has ended well, is not done again.
ended() {
  [ -f "$dir/result" ] && [ "$(value "$dir/parameters" goal)" = "'$goal'" ] || return 1
  [ "$(result)" = done ] || [ "$(value "$dir/parameters" token)" = "'$token'" ]
}
# Makes sure that it does nothing, should it be started after all: in the middle of a shutdown, say, nothing can be started.
cancel() { # WHY
  (flock -n 8 && [ ! -f "$dir/result" ] && printf 'result=refused\nwhy=%s\n' "$1" >"$dir/result") 8>>"$dir/running" || return 1
  rm -f "$unit_files/$unit.service" "$unit_files/$wanted_by.wants/$unit.service"
  sync
}
if ended; then
  say "the transaction has ended before"
else
  now_there=$(installed)
  if [ "$now_there" != "$expected" ] && [ $attempt = 1 ]; then
    fail "${now_there:-nothing} is installed now, and ${expected:-nothing} was when the push looked; push again"
  fi
  rm -rf "$state/transaction.new"
  mkdir -p "$state/transaction.new" || exit 1
  printf "%s\ngoal='%s'\ntoken='%s'\nattempt=%s\n" "$parameters" "$goal" "$token" "$attempt" >"$state/transaction.new/parameters" || exit 1
  printf '%s' "$script" >"$state/transaction.new/run" || exit 1
  : >"$state/transaction.new/log"
  : >"$state/transaction.new/running"
  rm -rf "$dir"
  mv "$state/transaction.new" "$dir" || exit 1
  if has_systemd; then
    # Enabled, so that a reboot in the middle is followed by another attempt. A shutdown waits for the package manager. It is
    # enabled by its link alone, and behind systemd's back: reloading, which `systemctl enable` does too, is what costs most.
    { mkdir -p "$unit_files" && cat >"$unit_files/$unit.service.new"; } <<UNIT &&
[Unit]
Description=Installation of $name by pkgapp
ConditionPathExists=!$dir/result
[Service]
Type=oneshot
ExecStart=/bin/sh $dir/run
KillMode=process
TimeoutStartSec=infinity
TimeoutStopSec=900
[Install]
WantedBy=$wanted_by
UNIT
      mv "$unit_files/$unit.service.new" "$unit_files/$unit.service" && ctl daemon-reload &&
      mkdir -p "$unit_files/$wanted_by.wants" &&
      ln -sf "$unit_files/$unit.service" "$unit_files/$wanted_by.wants/$unit.service" && ctl start --no-block "$unit.service" ||
      cancel "it could not be started" || say "it could not be started, and goes on all the same"
  else
    setsid sh "$dir/run" </dev/null >/dev/null 2>&1 &
  fi
fi

# What the log has got since the last time. It is foreign text, and standard output is for what is told of the result alone.
shown=0
show() {
  size=$(stat -c %s "$dir/log")
  [ "$size" -gt "$shown" ] || return 0
  tail -c "+$((shown + 1))" "$dir/log" | head -c $((size - shown)) >&2
  shown=$size
}
silent=0
until [ -f "$dir/result" ]; do
  # Its end is waited for, not looked for.
  if flock -s -w 1 "$dir/running" true; then
    silent=$((silent + 1))
    [ -f "$dir/result" ] || sleep 0.1
  else
    silent=0
    show
  fi
  if [ $silent -gt 300 ]; then
    cancel "it was not started" || continue
    say "the transaction was not started; \`systemctl status $unit\` on the host tells more"
  fi
done
show
sed 's/^/pkgapp:/' "$dir/result"
case $(result) in
  done) exit 0 ;;
  restored) exit 70 ;;
  refused) exit 72 ;;
  *) exit 71 ;;
esac
