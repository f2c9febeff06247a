# Where releases lie beside each other in a directory of the login's: its own systemd, and what `current` leads to.
mode=tarball
case $state in '~/'*) state=$HOME/${state#??} ;; esac
into=${state%/.pkgapp} packages=$state/packages guarded=$state
unit_files=$HOME/.config/systemd/user wanted_by=default.target
login=$(id -un)
: "${XDG_RUNTIME_DIR:=/run/user/$(id -u)}"
: "${PKGAPP_UNITS:=user}"
export XDG_RUNTIME_DIR PKGAPP_UNITS
unset DBUS_SESSION_BUS_ADDRESS
lingers() { [ -e "/var/lib/systemd/linger/$login" ]; }
# The user's systemd is of use only if it outlives the login.
has_systemd() { [ "$PKGAPP_UNITS" = user ] && lingers && [ -S "$XDG_RUNTIME_DIR/systemd/private" ]; }
ctl() { systemctl --user "$@"; }
journal() { journalctl --user "$@"; }
# The name of the release that `current` leads to, `VERSION-SUM`.
installed() {
  id=$(readlink "$into/current" 2>/dev/null) && [ -d "$into/current/" ] && say "${id##*/}"
}
# The directory of what is kept of a release.
kept_of() {
  for each in "$packages/${1##*-}"*; do
    if [ -n "$1" ] && [ -d "$each" ]; then say "$each"; return; fi
  done
}
# The file that says how the services of the installed release are asked.
health_list() { say "$(kept_of "$(installed)")/host/health"; }
units_of() { [ ! -f "$state/enabled" ] || grep -v '\.target$' "$state/enabled"; }
