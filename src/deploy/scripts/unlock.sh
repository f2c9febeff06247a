# Gives the lock back, if it is still ours.
drop_lock() { if [ "$(value "$state/lock" token)" = "$token" ]; then rm -f "$state/lock"; fi; }
in_turn drop_lock
