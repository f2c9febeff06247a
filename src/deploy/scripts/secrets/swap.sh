# Brings back the secrets of before the last change, or takes that back. It may be done again after an interruption anywhere.
#   to   `previous` or `later`
hold_lock
trust_place
from=later
[ "$to" != later ] || from=previous
[ -e "$secrets/$to" ] || { say "done before"; exit 0; }
[ -e "$secrets/$from" ] || keep "$from" || fail "cannot write to $secrets"
# The installation restarts no service for which the release is the same.
is_as "$secrets/$to" || wants_restart || fail "cannot write to $secrets"
! differ_from "$secrets/$to.credentials" || wants_restart _files || fail "cannot write to $secrets"
place "$secrets/$to" && drop "$to" && to_disk "$secrets" || fail "cannot write to ${file%/*}"
