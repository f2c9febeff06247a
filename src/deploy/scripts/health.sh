# Waits until the release works. Before it stand the functions of works.sh, whose parameters it has. Arguments: a command that
# must succeed, or nothing.
hold_lock
umask 022
wait_until_works "$@" || fail "$why"
