# What a transaction does from its beginning to its end, with the functions that stand before it: `go_there`, `give_up`, `go_back`,
# `finish`, and `settle_disk`.
#   check           `yes`: the release must work; see works.sh
#   check_command   a command that must succeed, as words of sh, or nothing
# Argument: `early`, where a boot has not started the application yet.

# Nobody may be there to note that a release has failed.
mark_failed() {
  if [ "$sum" != "$back_sum" ] && [ -d "${dir%/*}/packages/$sum" ]; then put_file "${dir%/*}/packages/$sum/failed" "$(now)"; fi
}
why='' is_ill='' boots=0
eval "set -- ${1:-late} $check_command"
moment=$1
shift
case $(phase_in "$dir") in
  '')
    [ "$moment" = late ] || exit 0
    go_there || give_up
    if [ "$check" = yes ] && ! wait_until_works "$@"; then
      is_ill=yes
      give_up
    fi
    [ "$confirm" != off ] || finish 'done' ""
    # What the release is made of is on the disk before it is said to be there.
    settle_disk
    begin_probation || give_up
    ;;
  probation)
    count_boot
    if [ "$boots" -ge 3 ] &&
      decide "$dir" probation reverting "the host has booted $boots times while it was in probation" && [ "$moment" = early ]; then
      # The boot goes on when this has ended, and starts then what is there then.
      export SYSTEMD_OFFLINE=1
    elif [ "$moment" = early ]; then exit 0; fi
    ;;
  *) [ "$moment" = late ] || exit 0 ;;
esac
if [ "$(phase_in "$dir")" = probation ]; then hold_probation "$@"; fi
if [ "$(phase_in "$dir")" = confirmed ]; then finish 'done' ""; fi
reason=$(why_reverting)
say "$reason"
mark_failed
go_back restored "$reason"
