# Gives the lock back, if it is still ours.
in_turn drop_lock
