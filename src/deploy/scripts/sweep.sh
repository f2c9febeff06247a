# Clears away the lock of a push that died.
#   holder   its token
#   known    `dead` if it is known that its owner is no more; else the lock goes if no sign of life came for too long
sweep_lock() {
  if [ "$(value "$state/lock" token)" = "$holder" ] && { [ "$known" = dead ] || ! lock_alive; }; then
    rm -rf "$state/staged" "$state/transaction.new" "$state/unpacking" "$state/packages"/*/host.new
    rm -f "$state/lock"
  fi
}
in_turn sweep_lock
