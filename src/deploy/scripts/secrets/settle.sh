# Forgets what this call would have gone back to.
hold_lock
drop before
rm -f "$secrets/writer"
