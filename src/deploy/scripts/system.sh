# Where packages are installed: root's systemd, and what the package manager says. `name` is the application's. Before it stand
# the functions of the host's package manager.
mode=package unit_files=/etc/systemd/system wanted_by=multi-user.target
# Nobody but root gets in here.
guarded="${state%/*} $state"
has_systemd() { [ -d /run/systemd/system ]; }
ctl() { systemctl "$@"; }
journal() { journalctl "$@"; }
installed() { version_of "$name"; }
# The file that says how the services of the installed release are asked; `prefix` is where it lies.
health_list() { say "$prefix/.pkgapp/health"; }
# Its services, sockets and timers; of a template its instances, as far as systemd knows them.
units_of() {
  has_systemd || return 0
  files_of "$name" |
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
