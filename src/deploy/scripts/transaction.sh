#!/bin/sh
# One transaction of pkgapp: brings one package to one version, and back to the one before if that fails. Nobody needs to
# watch: what it did is in `log`, how it ended in `result`. It may be run again after a reboot in its middle.
dir=$(dirname "$0")
. "$dir/parameters"
set -u
umask 022
LC_ALL=C PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin HOME=/root
DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l APT_LISTCHANGES_FRONTEND=none UCF_FORCE_CONFFOLD=1 ZYPP_LOCK_TIMEOUT=$lock_wait
export LC_ALL PATH HOME DEBIAN_FRONTEND NEEDRESTART_MODE APT_LISTCHANGES_FRONTEND UCF_FORCE_CONFFOLD ZYPP_LOCK_TIMEOUT
# A shutdown lets the package manager end (and the unit says how long it may take).
trap : TERM HUP INT
exec </dev/null >>"$dir/log" 2>&1
exec 8>>"$dir/running"
# Whoever asks whether this runs holds the lock for a moment; a second one of these waits here for the end of the first.
flock 8
[ -f "$dir/result" ] && exit 0

say() { printf '%s\n' "$*"; }
# Services that a package starts must not inherit what says that this script runs.
run() { say "+ $*"; "$@" 8>&-; }

finish() { # RESULT WHY
  {
    printf 'result=%s\nversion=%s\nwhy=%s\n' "$1" "$(installed)" "$2"
    find /etc -xdev -newer "$dir/parameters" \( -name '*.dpkg-dist' -o -name '*.dpkg-new' -o -name '*.rpmnew' -o -name '*.rpmsave' \) 2>/dev/null |
      sed 's/^/left=/'
  } >"$dir/result.new"
  if [ -d /run/systemd/system ]; then
    rm -f "/etc/systemd/system/pkgapp-transaction-$name.service" \
      "/etc/systemd/system/multi-user.target.wants/pkgapp-transaction-$name.service"
  fi
  sync
  mv "$dir/result.new" "$dir/result"
  if [ -d /run/systemd/system ]; then systemctl daemon-reload 8>&-; fi
  exit 0
}

case $manager in
  apt-get | dpkg)
    installed() { dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$name" 2>/dev/null | sed -n 's/^installed //p'; }
    ;;
  *)
    installed() { rpm -q --qf '%{EPOCHNUM}:%{VERSION}-%{RELEASE}\n' "$name" 2>/dev/null | grep -v ' ' | sed 's/^0://' | tail -n1; }
    ;;
esac
apt() {
  run apt-get -y -q -o Dpkg::Use-Pty=0 -o "DPkg::Lock::Timeout=$lock_wait" -o APT::Sandbox::User=root \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold --no-install-recommends "$@"
}
# dnf by itself would wait for a lock for ever.
dnf_() {
  set -- "$manager" -y --setopt=install_weak_deps=False --setopt='*.skip_if_unavailable=True' "$@"
  case $("$manager" --version 2>/dev/null | head -n1) in
    [34].*) ;;
    *) run "$@"; return ;;
  esac
  waited=0
  while :; do
    run "$@" --setopt=exit_on_lock=True
    status=$?
    # 200: "there was a problem with acquiring of locks" (dnf(8), "Exit codes").
    if [ $status != 200 ] || [ $waited -ge "$lock_wait" ]; then return $status; fi
    sleep 2
    waited=$((waited + 2))
  done
}

install() { # FILE VERSION
  case $manager in
    apt-get)
      if [ "$before" = "$2" ]; then apt --no-remove --reinstall install "$1"
      else apt --no-remove --allow-downgrades install "$1"; fi
      ;;
    dpkg) run dpkg --force-confdef --force-confold --install "$1" ;;
    dnf | yum)
      if [ -z "$before" ]; then dnf_ install "$1"
      elif [ "$before" = "$2" ]; then dnf_ reinstall "$1"
      else
        case $(rpm --eval "%{lua:print(rpm.vercmp('$before', '$2'))}") in
          1) dnf_ downgrade "$1" ;;
          *) dnf_ install "$1" ;;
        esac
      fi
      ;;
    zypper) run zypper --non-interactive install --allow-unsigned-rpm --oldpackage --force --no-recommends "$1" ;;
    *) run rpm -U --oldpackage --replacepkgs "$1" ;;
  esac
}
remove() {
  case $manager in
    apt-get) apt remove "$name" ;;
    dpkg) run dpkg --remove "$name" ;;
    dnf | yum) dnf_ --setopt=clean_requirements_on_remove=False remove "$name" ;;
    zypper) run zypper --non-interactive remove "$name" ;;
    *) run rpm -e "$name" ;;
  esac
}
repair() { # what an interruption leaves
  case $manager in
    apt-get | dpkg)
      rm -f /var/lib/dpkg/updates/*.pkgapp 2>/dev/null
      run dpkg --force-confdef --force-confold --configure -a
      ;;
    *)
      # An rpm that was interrupted may be there twice; the older one goes from the database alone.
      rpm -q --qf '%{EPOCHNUM}:%{VERSION}-%{RELEASE}.%{ARCH} %{NVRA}\n' "$name" | grep -v ' is not ' >"$dir/twice"
      if [ "$(wc -l <"$dir/twice")" -gt 1 ]; then
        head -n -1 "$dir/twice" | while read -r _ full; do run rpm -e --justdb --nodeps --noscripts "$full"; done
      fi
      ;;
  esac
}

# What is installed counts, not what the package manager says.
proven() { # VERSION RECORD
  if [ "$(installed)" != "$1" ]; then why="version $1 is not installed, but $(installed)"; return 1; fi
  if [ -n "$2" ] && [ "$(sha256sum <"$prefix/.pkgapp/release.json" 2>/dev/null | cut -d' ' -f1)" != "$2" ]; then
    why="$prefix/.pkgapp/release.json is not the one of the package"; return 1
  fi
  if [ "/run/pkgapp/$name/failed" -nt "$dir/parameters" ]; then
    why="these units do not run: $(tr '\n' ' ' <"/run/pkgapp/$name/failed")"; return 1
  fi
}
# The release itself is to blame: it was installed and does not run, or one of its scripts has failed. A package manager that
# could not begin (a lock, no space, a dependency that nobody offers) says nothing about the release.
guilty() { # VERSION
  [ "$before" != "$(installed)" ] && [ "$(installed)" = "$1" ] && return 0
  [ "/run/pkgapp/$name/failed" -nt "$dir/parameters" ] && return 0
  tail -c "+$((begun + 1))" "$dir/log" | grep -e 'script subprocess' -e 'subprocess .* script' -e 'scriptlet failed' -e 'Error in .* scriptlet' | grep -qF "$name"
}
# Nothing has happened to the installation: no file of the prefix was touched since it was tried.
untouched() {
  [ "$before" = "$(installed)" ] || return 1
  case $manager in apt-get | dpkg) [ "$state_before" = "$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$name" 2>/dev/null)" ] || return 1 ;; esac
  [ ! -e "$prefix" ] || [ -z "$(find "$prefix" -xdev -newercc "$dir/tried" -print -quit)" ]
}
# bring FILE SHA256 VERSION RECORD: to a version and, without a file, to none.
bring() {
  before=$(installed) begun=$(stat -c %s "$dir/log")
  state_before=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$name" 2>/dev/null)
  : >"$dir/tried"
  if [ -z "$1" ]; then
    [ -z "$(installed)" ] && return 0
    remove
    [ -z "$(installed)" ] && return 0
    why="the package manager did not remove $(installed); its exit status was $?"
    return 1
  fi
  if [ "$(sha256sum <"$1" | cut -d' ' -f1)" != "$2" ]; then why="$1 is damaged"; return 1; fi
  install "$1" "$3"
  status=$?
  proven "$3" "$4" || { [ $status = 0 ] || why="$why; the package manager's exit status was $status"; return 1; }
  # Of a status other than 0 with everything in place, as for another package's trouble, only the log tells.
  [ $status = 0 ] || say "the package manager's exit status was $status, but $name $3 is in place"
}

why=
if [ "$attempt" -gt 1 ] || [ -e "$dir/begun" ]; then repair; fi
: >"$dir/begun"
bring "$file" "$sum" "$version" "$record" && finish done ""
reason=$why
say "$reason"
# A shutdown that has cut the package manager off is no failure: the unit is there yet, and does it again after the boot.
if [ "${status:-0}" -gt 128 ] && [ -d /run/systemd/system ]; then
  case $(systemctl is-system-running 2>/dev/null) in
    running | degraded | starting | initializing | maintenance) ;;
    *) say "the host is shutting down; it is done again after that"; exit 1 ;;
  esac
fi
if guilty "$version"; then result=restored
else
  result=refused
  if untouched; then finish refused "$reason"; fi
fi
if [ "$back" = none ]; then finish failed "$reason"; fi
repair
say "back to ${back_version:-no installation}"
bring "$back_file" "$back_sum" "$back_version" "$back_record" && finish $result "$reason"
finish failed "$reason; and back: $why"
