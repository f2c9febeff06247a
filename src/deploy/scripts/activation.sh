# The course of a transaction, in terms of the functions before it: `go_there`, `give_up`, `go_back`, `finish`, and `settle_disk`.
#   check           `yes` if the release must pass the health check of works.sh
#   check_command   a command that must succeed, as words of sh, or nothing
#   confirm         `off` if nobody has to confirm the release
#   sum back_sum    the SHA-256 of its package, and of the previous one
# Argument: `early` in a boot that has not started the application yet.

# mark_failed: marks the package as failed, as the pusher does unless it has died.
mark_failed() {
  if [ "$sum" != "$back_sum" ] && [ -d "${dir%/*}/packages/$sum" ]; then put_file "${dir%/*}/packages/$sum/failed" "$(now)"; fi
}
# continue_after_boot: ends the process if the host is shutting down. That stops services and keeps others from starting, which is
# not the release's fault, and the unit does it again after the boot. At the third boot it is: a release may shut the host down.
continue_after_boot() {
  has_systemd || return 0
  case $(ctl is-system-running 2>/dev/null) in running | degraded | starting | initializing | maintenance) return 0 ;; esac
  count_boot
  [ "$boots" -lt 3 ] || return 0
  say "the host is shutting down; the installation continues after the boot"
  exit 1
}
why='' is_ill='' stops='' decided='' boots=0
eval "set -- ${1:-late} $check_command"
moment=$1
shift
case $(phase_in "$dir") in
  '')
    [ "$moment" = late ] || exit 0
    trap 'stops=yes' TERM HUP INT
    go_there || { continue_after_boot; give_up; }
    [ -z "$stops" ] || continue_after_boot
    # A shutdown does not wait for the health check.
    trap 'continue_after_boot' TERM HUP INT
    if [ "$check" = yes ] && ! wait_until_works "$@"; then is_ill=yes; fi
    trap : TERM HUP INT
    if [ -n "$is_ill" ]; then
      continue_after_boot
      mark_failed
      give_up
    fi
    [ "$confirm" != off ] || finish 'done' ""
    # The release is on the disk before anything says so.
    settle_disk
    begin_probation || give_up
    ;;
  probation)
    count_boot
    if [ "$boots" -ge 3 ] &&
      decide "$dir" probation reverting "the host has booted $boots times while it was in probation" && [ "$moment" = early ]; then
      # systemctl ignores what the scripts of packages ask it to start. The boot starts it after this.
      export SYSTEMD_OFFLINE=1
    elif [ "$moment" = early ]; then exit 0; fi
    ;;
  *) [ "$moment" = late ] || exit 0 ;;
esac
if [ "$(phase_in "$dir")" = probation ]; then hold_probation "$@"; fi
reason=$(why_decided) decided=yes
say "$reason"
case $(phase_in "$dir") in
  confirmed) finish 'done' "" ;;
  # Nothing is wrong with the release.
  expired) go_back unconfirmed "$reason" ;;
esac
mark_failed
go_back restored "$reason"
