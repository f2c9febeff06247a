# Forgets what this call would have gone back to.
hold_lock
rm -f "$secrets/before" "$secrets/writer"
