# Where packages are installed: root's systemd, and what the package manager says. `name` is the application's. Before it stand
# the functions of the host's package manager.
mode=package unit_files=/etc/systemd/system wanted_by=multi-user.target
# Nobody but root gets in here.
guarded="${state%/*} $state"
has_systemd() { [ -d /run/systemd/system ]; }
ctl() { systemctl "$@"; }
journal() { journalctl "$@"; }
installed() { version_of "$name"; }
# The package with the application's configuration, if it is one of its own; another package may have such a name.
own_configuration() { if [ -f "/usr/share/pkgapp/$name/configuration.json" ]; then say "$name-config"; fi; }
# The file that says how the services of the installed release are asked; `prefix` is where it lies, unless it is a package of its
# own that says it.
health_list() {
  if [ -f "/usr/lib/pkgapp/$name/health" ]; then say "/usr/lib/pkgapp/$name/health"; else say "$prefix/.pkgapp/health"; fi
}
# Its services, sockets and timers; of a template its instances, as far as systemd knows them.
units_of() {
  has_systemd || return 0
  # shellcheck disable=SC2046  # one name, or none
  files_of "$name" $(own_configuration) |
    sed -n 's#^\(/usr\)\{0,1\}/lib/systemd/system/\([^/]*\.\(service\|socket\|timer\)\)$#\2#p' | sort -u |
    while read -r unit; do
      case $unit in
        *@.*)
          systemctl list-units --all --full --plain --no-legend "${unit%%@.*}@*.${unit##*.}" | cut -d' ' -f1
          for link in /etc/systemd/system/*.wants/"${unit%%@.*}@"*".${unit##*.}"; do [ ! -L "$link" ] || say "${link##*/}"; done
          ;;
        *) say "$unit" ;;
      esac
    done | sort -u
}
