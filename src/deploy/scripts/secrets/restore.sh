# Takes back what this call has written.
hold_lock
[ "$(first_line "$secrets/writer")" = "$token" ] && [ -e "$secrets/before" ] || { say "nothing was written"; exit 0; }
trust_place
is_as "$secrets/before" || wants_restart || fail "cannot write to $secrets"
! differ_from "$secrets/before.credentials" || wants_restart _files || fail "cannot write to $secrets"
place "$secrets/before" || fail "cannot write to ${file%/*}"
