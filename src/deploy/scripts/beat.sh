# A sign of life.
hold_lock
