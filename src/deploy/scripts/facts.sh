# Says what a push must know of a host, as lines of KEY=VALUE; changes nothing. Arguments: the application's name, its
# prefix, and then for each artifact that may go there: its kind, its version as the package manager writes it, and what it
# depends on, one relation a line.
name=$1 prefix=$2
shift 2
if [ $mode = tarball ]; then prefix=$into/current; fi

fact os "$(. /etc/os-release 2>/dev/null && say "${ID-}")"
fact os_like "$(. /etc/os-release 2>/dev/null && say "${ID_LIKE-}")"
fact os_version "$(. /etc/os-release 2>/dev/null && say "${VERSION_ID-}")"
fact arch "$(uname -m)"
fact glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)"
fact pythons "$(for python in /usr/bin/python3.[0-9] /usr/bin/python3.[0-9][0-9]; do [ -x "$python" ] && say "${python##*/python}"; done)"
fact uid "$(id -u)"
fact user "$(id -un)"
fact boot "$(boot_id)"
fact systemd "$([ -d /run/systemd/system ] && say yes || say no)"
fact needrestart "$(has needrestart && say yes || say no)"

manager= installed=
for each in apt-get dpkg dnf yum zypper rpm; do
  if [ $mode = package ] && has "$each"; then manager=$each; break; fi
done
fact manager "$manager"
if [ $mode = tarball ]; then installed=$(installed); fi

# free DIRECTORY: kB that are free where it is or will be.
free() {
  at=$1
  while [ ! -d "$at" ]; do at=${at%/*}; at=${at:-/}; done
  df -Pk "$at" | sed -n '2{s/  */ /g;p;}' | { read -r device _ _ free _; say "$free $device"; }
}
fact free_prefix "$(free "$prefix")"
fact free_state "$(free "$state")"
fact free_var "$(free /var)"

holder() { # of a lock that fcntl or flock has on FILE: by what /proc/locks says
  [ -e "$1" ] || return
  inode=$(stat -c %i "$1")
  pid=$(sed -n "s/^[0-9]*: [A-Z]* *[A-Z]* *WRITE *\([0-9]*\) *[0-9a-f:]*:$inode .*/\1/p" /proc/locks | head -n1)
  [ -z "$pid" ] || say "$(cat "/proc/$pid/comm" 2>/dev/null || say process) ($pid)"
}
case $manager in
  apt-get | dpkg)
    for file in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock; do
      by=$(holder "$file")
      if [ -n "$by" ]; then fact held "$file by $by"; break; fi
    done
    # What is not `installed` is half-way.
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$name" 2>/dev/null | sed -n 's/^installed //p')
    fact half "$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$name" 2>/dev/null |
      sed -n '/^installed \|^not-installed\|^config-files/!p')"
    ;;
  ?*)
    for file in /var/lib/rpm/.rpm.lock /usr/lib/sysimage/rpm/.rpm.lock; do
      by=$(holder "$file")
      if [ -n "$by" ]; then fact held "$file by $by"; break; fi
    done
    installed=$(rpm -q --qf '%{EPOCHNUM}:%{VERSION}-%{RELEASE}\n' "$name" 2>/dev/null | grep -v ' ' | sed 's/^0://' | tail -n1)
    ;;
esac
fact installed "$installed"
if [ -n "$installed" ] && [ -f "$prefix/.pkgapp/release.json" ]; then
  fact record "$(sha256sum <"$prefix/.pkgapp/release.json" | cut -d' ' -f1)"
  fact commit "$(sed -n 's/^ *"commit": *"\([^"]*\)".*/\1/p' "$prefix/.pkgapp/release.json" | head -n1)"
fi

# How each artifact's version compares with the installed one, and what of its needs nothing offers.
index=0
while [ $# -ge 3 ]; do
  kind=$1 version=$2 depends=$3
  shift 3
  case $kind:$manager in
    deb:apt-get | deb:dpkg)
      if [ -n "$installed" ]; then
        if dpkg --compare-versions "$version" gt "$installed"; then fact "order.$index" newer
        elif dpkg --compare-versions "$version" eq "$installed"; then fact "order.$index" same
        else fact "order.$index" older; fi
      fi
      if [ "$manager" = apt-get ] && [ -n "$depends" ]; then
        # All at once is quick; one by one only to name what is missing.
        if ! apt-get -s -qq satisfy "$(printf %s "$depends" | tr '\n' ',')" >/dev/null 2>&1; then
          printf '%s\n' "$depends" | while read -r relation; do
            apt-get -s -qq satisfy "$relation" >/dev/null 2>&1 || fact "unmet.$index" "$relation"
          done
        fi
      fi
      ;;
    rpm:dnf | rpm:yum | rpm:zypper | rpm:rpm)
      if [ -n "$installed" ]; then
        case $(rpm --eval "%{lua:print(rpm.vercmp('$version', '$installed'))}") in
          1) fact "order.$index" newer ;;
          0) fact "order.$index" same ;;
          *) fact "order.$index" older ;;
        esac
      fi
      # Only names are looked for: of versions the package manager will judge.
      missing=$(printf '%s\n' "$depends" | while read -r capability _; do
        case $capability in '' | '('* | rpmlib\(*) continue ;; esac
        rpm -q --quiet --whatprovides "$capability" 2>/dev/null || { [ -e "$capability" ] || say "$capability"; }
      done)
      for capability in $missing; do
        offered=
        if has dnf; then offered=$(dnf -q --setopt='*.skip_if_unavailable=True' repoquery --whatprovides "$capability" 2>/dev/null | head -n1)
        elif has repoquery; then offered=$(repoquery --whatprovides "$capability" 2>/dev/null | head -n1)
        else offered=unknown; fi
        [ -n "$offered" ] || fact "unmet.$index" "$capability"
      done
      ;;
  esac
  index=$((index + 1))
done

# What earlier pushes left here.
if [ -d "$state" ]; then
  [ -r "$state" ] || fact unreadable "$state"
  if [ -f "$state/lock" ]; then
    for key in token owner since; do fact "lock.$key" "$(value "$state/lock" $key)"; done
    fact lock.alive "$(lock_alive && say yes || say no)"
  fi
  fact current "$(cat "$state/current" 2>/dev/null)"
  if [ -d "$state/transaction" ]; then
    fact transaction.version "$(value "$state/transaction/parameters" version | tr -d "'")"
    fact transaction.sum "$(value "$state/transaction/parameters" sum | tr -d "'")"
    fact transaction.state "$(if runs "$state/transaction"; then say running
      elif [ -f "$state/transaction/result" ]; then value "$state/transaction/result" result
      else say interrupted; fi)"
  fi
  for in in "$state"/packages/*/info; do
    [ -f "$in" ] || continue
    in=${in%/info}
    file=$(value "$in/info" file)
    printf 'kept=%s|%s|%s|%s|%s|%s|%s|%s|%s\n' "${in##*/}" "$file" "$(stat -c %s "$in/$file" 2>/dev/null || say 0)" \
      "$(value "$in/info" version)" "$(value "$in/info" release)" "$(value "$in/info" record)" "$(cat "$in/good" 2>/dev/null)" \
      "$(cat "$in/failed" 2>/dev/null)" "$(value "$in/info" commit)"
    [ ! -f "$in/migrated" ] || fact migrated "${in##*/}"
  done
fi
say "facts=end"
