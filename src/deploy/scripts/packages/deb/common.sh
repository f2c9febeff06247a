# What dpkg knows and does, whoever calls it. Every manager's functions have these names; those of the manager's own file come
# after these and replace them.
kind=deb

# status_of PACKAGE: how far it is installed, and its version.
status_of() { dpkg-query -W -f '${db:Status-Status} ${Version}' "$1" 2>/dev/null; }
# version_in STATUS: the version, if all of it is installed.
version_in() { case $1 in 'installed '*) say "${1#installed }" ;; esac; }
# half_in STATUS: what is neither installed nor absent. What is not `installed` is half-way.
half_in() { case $1 in '' | 'installed '* | not-installed* | config-files*) ;; *) say "$1" ;; esac; }
# version_of PACKAGE: what is installed of it.
version_of() { version_in "$(status_of "$1")"; }
# compared A B: prints 1, 0 or -1, as the package manager orders these versions.
compared() { if dpkg --compare-versions "$1" gt "$2"; then say 1; elif dpkg --compare-versions "$1" eq "$2"; then say 0; else say -1; fi; }
# files_of PACKAGE...: the paths of what is installed.
files_of() { dpkg-query -L "$@" 2>/dev/null; }
# changed_files PACKAGE: what differs from the package, a line each.
changed_files() {
  # A conffile that an earlier version had is not missing.
  dpkg -V "$1" | grep -vxF "$(dpkg-query -W -f '${Conffiles}\n' "$1" | sed -n 's/^ \(.*\) [0-9a-f]* obsolete$/missing   c \1/p')"
}
# unpack_package FILE: into this directory.
unpack_package() { dpkg-deb -x "$1" .; }

# For the facts of a host.
database=/var/lib/dpkg
lock_files() { say /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock; }
# Whether what is read-only is remounted for an installation.
remounts() { return 1; }
# offered_version PACKAGE: what repositories have of this name, as far as the host knows without asking them.
offered_version() { :; }
# Whether the manager has to be told to end where another process holds its lock.
exits_on_lock() { return 1; }
# insists: who refuses packages without a signature, and where that is said: dpkg(1).
insists() {
  [ -x /usr/bin/debsig-verify ] || return
  cat /etc/dpkg/dpkg.cfg /etc/dpkg/dpkg.cfg.d/* 2>/dev/null | grep -q '^no-debsig' || say "dpkg, with debsig-verify"
}
# unmet RELATIONS: prints those, one a line, that nothing meets. What is installed does here.
unmet() { [ -z "$1" ] || not_installed "$1"; }
# not_installed RELATIONS: prints those, one a line, that installed packages do not meet with any of their alternatives
# `a (>= 1) | b`.
not_installed() {
  # The packages' names are what stands before a version; all are asked about at once.
  names=$(printf '%s\n' "$1" | tr '|' '\n' | while read -r package _; do say "${package%%:*}"; done)
  # shellcheck disable=SC2086  # words
  known=$newline$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Version},\n' -- $names 2>/dev/null)
  provided=
  printf '%s\n' "$1" | while IFS= read -r relation; do
    [ -n "$relation" ] || continue
    alternatives=$relation met=
    while [ -z "$met" ] && [ -n "$alternatives" ]; do
      # shellcheck disable=SC2086  # words: PACKAGE (OPERATOR VERSION)
      set -- ${alternatives%%|*}
      case $alternatives in *'|'*) alternatives=${alternatives#*|} ;; *) alternatives= ;; esac
      package=${1%%:*} operator=${2-} wanted=${3-}
      operator=${operator#(} wanted=${wanted%)} have=
      case $known in
        *"${newline}installed $package "*) have=${known#*"${newline}installed $package "} have=${have%%,*} ;;
      esac
      if [ -n "$operator" ]; then
        if [ -n "$have" ] && dpkg --compare-versions "$have" "$operator" "$wanted"; then met=1; fi
      elif [ -n "$have" ]; then met=1
      else
        [ -n "$provided" ] || provided=$(dpkg-query -W -f '${db:Status-Status} ${Provides},\n' | grep '^installed .')
        case $provided in *" $package,"*) met=1 ;; esac
      fi
    done
    [ -n "$met" ] || say "$relation"
  done
}

# For transactions. `carry_out WAY ARGUMENT...` runs the command that pkgapp has built for a way, by `call`.
call() { run "$@"; }
# replaced_by FILE: the names of the packages whose place it takes.
replaced_by() { dpkg-deb -f "$1" Replaces | tr ',' '\n' | grep -v '('; }
# Whether dpkg was cut off while it unpacked a package of the application, or the interpreter's: apt does nothing then but ask for an
# archive of the version of before.
# shellcheck disable=SC2086  # names
is_torn() { dpkg-query -W -f '${db:Status-Eflag}\n' $parts ${runtime:+"$runtime"} 2>/dev/null | grep -qx reinstreq; }
# install_packages FILE...: installs the files and `with`, and removes `gone`.
install_packages() {
  # dpkg does not overwrite what they own.
  # shellcheck disable=SC2086  # names
  [ -z "$gone" ] || carry_out remove $gone || return
  carry_out install ${with:+"$with"} "$@"
}
# shellcheck disable=SC2046  # names
remove_packages() {
  if is_torn; then run dpkg --force-remove-reinstreq --remove $(installed_parts)
  else carry_out remove $(installed_parts); fi
}
repair() { # what an interruption leaves
  rm -f /var/lib/dpkg/updates/*.pkgapp 2>/dev/null
  run dpkg --force-confdef --force-confold --configure -a
}
# Whatever has left it: the way back of an earlier transaction on a full disk, say, after which nobody tries again.
is_half_done() {
  for each in /var/lib/dpkg/updates/*; do [ ! -e "$each" ] || return 0; done
  for each in $parts; do [ -z "$(half_in "$(status_of "$each")")" ] || return 0; done
  return 1
}
# Prints those lines of its input that blame a package's script.
script_failures() { grep -e 'script subprocess' -e 'subprocess .* script'; }
# put_aside FILE: what of a configuration was not put in place, later than FILE.
put_aside() { find /etc -xdev -newer "$1" \( -name '*.dpkg-dist' -o -name '*.dpkg-new' \) 2>/dev/null; }
