# The process of a transaction: what it survives, what it prints, and who waits for it. It ends here if the transaction has ended.
umask 022
# A shutdown lets the package manager end (and the unit says how long it may take).
trap : TERM HUP INT
exec </dev/null >>"$dir/log" 2>&1
exec 6>>"$dir/busy" 8>>"$dir/running"
# `running` is locked until the process ends, and `busy` until the release is in probation. Those who ask hold the locks for a
# moment. A second process of the same transaction waits here for the end of the first.
flock 8 && flock 6
# Services that a package starts must not inherit the locks.
run() { say "+ $*"; "$@" 6>&- 8>&-; }
forget_unit() {
  rm -f "$unit_files/pkgapp-transaction-$name.service" "$unit_files/$wanted_by.wants/pkgapp-transaction-$name.service"
}
if [ -s "$dir/result" ]; then
  # A boot that has ended the transaction before the application's start left the unit, which systemd was about to start.
  forget_unit
  exit 0
fi
