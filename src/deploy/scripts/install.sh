# Starts a transaction as a unit of its own, so that it ends as it should whatever becomes of this connection, of the
# pusher, or of the host, and waits until it has ended, or is in probation. Before it stand the functions of outcome.sh.
#   name          the application's
#   goal          what the transaction goes to
#   expected      the version that is expected to be installed now
#   parameters    the transaction's, as assignments of sh
#   transaction   its script
hold_lock
# goes_on: an earlier try, or another push, has started a transaction to the same goal, or one whose package is in probation, and
# whose interpreter need not come any more. This push waits for it and confirms it. Transactions of older versions lack the file
# `busy`; this push waits for their end.
goes_on() {
  [ -e "$dir/busy" ] && runs "$dir" && { [ "$(value "$dir/parameters" goal)" = "'$goal'" ] || in_probation_with "$dir" "$goal"; }
}
if ! goes_on; then
  if runs "$dir"; then say "a transaction goes on that an earlier push has started; waiting for its end"; fi
  await "$dir"
fi

attempt=1
last=$(last_transaction)
if [ -d "$last" ] && [ -z "$(result_in "$last")" ] && ! goes_on; then
  say "the last transaction was interrupted; it is done again"
  attempt=2
fi
# What an earlier try of this push has ended, however it ended, and what an earlier push has ended well, is not done again.
ended() {
  [ -n "$(result)" ] && [ "$(value "$dir/parameters" goal)" = "'$goal'" ] || return 1
  [ "$(result)" = 'done' ] || [ "$(value "$dir/parameters" token)" = "'$token'" ]
}
# Makes sure that it does nothing, should it be started after all: in the middle of a shutdown, say, nothing can be started.
# Where even that cannot be written down, as on a full disk, its script goes.
cancel() { # WHY
  (
    flock -n 8 && [ -z "$(result)" ] || exit 1
    rm -f "$dir/reserve"
    put_file "$dir/result" "result=refused${newline}why=$1" || rm -f "$dir/run"
  ) 8>>"$dir/running" || return 1
  rm -f "$unit_files/$unit.service" "$unit_files/$wanted_by.wants/$unit.service"
  sync
  [ -n "$(result)" ] || { rm -rf "$dir"; say "pkgapp:why=$1"; exit "$exit_refused"; }
}
# All that a transaction needs is on the disk before it has its name, and it has its name before anything begins.
prepare() {
  new=$state/transaction.new
  rm -rf "$new"
  mkdir -p "$new" && printf "%s\ngoal='%s'\ntoken='%s'\nattempt=%s\nwhole=yes\n" "$parameters" "$goal" "$token" "$attempt" >"$new/parameters" &&
    printf '%s' "$transaction" >"$new/run" && : >"$new/log" && : >"$new/running" && : >"$new/busy" && : >"$new/untried" &&
    # Its end is written in the place of this, should the disk be full by then.
    head -c 16384 /dev/zero >"$new/reserve" &&
    to_disk "$new/parameters" "$new/run" "$new/log" "$new/running" "$new/busy" "$new/untried" "$new/reserve" "$new" || return 1
  if [ -d "$dir" ]; then rm -rf "$state/transaction.old" && mv -T "$dir" "$state/transaction.old" || return 1; fi
  mv -T "$new" "$dir" && to_disk "$state" || return 1
  take_return "$state/transaction.old"
  keep_log "$state/transaction.old/log" install
  rm -rf "$state/transaction.old"
}
# Enabled, so that a reboot in the middle is followed by another attempt. A shutdown waits for the package manager. It is
# enabled by its link alone, and behind systemd's back: reloading, which `systemctl enable` does too, is what costs most.
start() {
  wants=$unit_files/$wanted_by.wants
  mkdir -p "$wants" && put_file "$unit_files/$unit.service" "[Unit]
Description=Installation of $name by pkgapp
ConditionFileNotEmpty=!$dir/result
ConditionFileNotEmpty=$dir/run
[Service]
Type=simple
ExecStartPre=/bin/sh $dir/run early
ExecStart=/bin/sh $dir/run
KillMode=process
TimeoutStartSec=infinity
TimeoutStopSec=900
[Install]
WantedBy=$wanted_by" &&
    ctl daemon-reload && ln -sf "$unit_files/$unit.service" "$wants/$unit.service" && to_disk "$wants" "$unit_files" &&
    ctl start --no-block "$unit.service"
}
if goes_on; then
  say "waiting for the same installation, which has been started before"
elif ended; then
  say "the transaction has ended before"
else
  now_there=$(installed)
  if [ "$now_there" != "$expected" ] && [ $attempt = 1 ]; then
    fail "${now_there:-nothing} is installed now, and ${expected:-nothing} was when the push looked; push again"
  fi
  prepare || fail "cannot write to $dir"
  # Units are everybody's to read.
  umask 022
  if has_systemd; then
    start || cancel "it could not be started" || say "it could not be started, and goes on all the same"
  else
    setsid sh "$dir/run" </dev/null >/dev/null 2>&1 &
  fi
fi

in_probation() { [ -z "$(result)" ] && [ "$(phase_in "$dir")" = probation ]; }
silent=0
while [ -z "$(result)" ] && ! in_probation; do
  # Its end is waited for, not looked for.
  if flock -s -w 1 "$dir/busy" true; then
    silent=$((silent + 1))
    [ -n "$(result)" ] || in_probation || sleep 0.1
  else
    silent=0
    show
  fi
  # It has begun, and ended without a word: it was killed, or the disk has no space left for one.
  if [ $silent -gt 50 ] && [ ! -e "$dir/untried" ] && ! { has_systemd && [ "$(ctl is-system-running 2>/dev/null)" = stopping ]; }; then
    show
    fail_with "$exit_untold" "the transaction has ended and could not write down how; make room below $state and push again"
  fi
  if [ $silent -gt 300 ]; then
    cancel "it was not started" || continue
    say "the transaction was not started; \`systemctl status $unit\` on the host tells more"
  fi
done
if in_probation; then
  show
  exit 0
fi
tell_result
