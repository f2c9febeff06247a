# Takes back what this call has written.
hold_lock
[ "$(first_line "$secrets/writer")" = "$token" ] && [ -e "$secrets/before" ] || { say "nothing was written"; exit 0; }
trust_place
wants_restart && place "$secrets/before" || fail "cannot write to ${file%/*}"
