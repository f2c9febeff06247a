#!/bin/sh
# Plays apt-get, dpkg, dnf, yum, zypper, rpm, and systemctl, by the name that it is called by: records what changes
# something, and does it to a small database. A package is a file of NAME=VALUE; `needs` is the name of another. POSIX sh.
#   packages/NAME  what is installed, a line each: VERSION ARCH STATUS
#   faults         what goes wrong, a line each: KIND VERSION
#   locked         how often the database is locked for dnf
#   log            what was run
db=/var/lib/fake program=${0##*/}
say() { printf '%s\n' "$*"; }
record() { { printf '<%s>' "$program" "$@"; echo; } >>"$db/log"; }
field() { sed -n "s/^$2=//p" "$1"; } # FILE KEY
line_of() { tail -n1 "$db/packages/$1" 2>/dev/null; }
# have NAME: the version, if all of it is installed.
have() { case $(line_of "$1") in *' installed') line_of "$1" | cut -d' ' -f1 ;; esac; }
is_older() { [ "$1" != "$2" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]; }
put() { say "$2 $3 $4" >"$db/packages/$1"; } # NAME VERSION ARCH STATUS

lay() { # FILE
  if [ "$(field "$1" name)" = shop-config ]; then
    mkdir -p /usr/share/pkgapp/shop && echo '{}' >/usr/share/pkgapp/shop/configuration.json
  fi
  [ "$(field "$1" name)" = shop ] || return 0
  mkdir -p /opt/shop/.pkgapp && printf %s "$(field "$1" record)" >/opt/shop/.pkgapp/release.json
}
place() { # FILE
  name=$(field "$1" name) version=$(field "$1" version) arch=$(field "$1" arch)
  fault=$(sed -n "s/ $version\$//p" "$db/faults" 2>/dev/null)
  case $fault:$program in
    refuses:*) say "there is no space"; return 100 ;;
    nothing:*) return 0 ;;
    damages:*) put "$name" "$version" "$arch" installed; say damaged >/opt/shop/.pkgapp/release.json; return ;;
    units:*)
      put "$name" "$version" "$arch" installed
      lay "$1"
      mkdir -p /run/pkgapp/shop && say shop-web.service >/run/pkgapp/shop/failed
      return 0
      ;;
    # Before anything is unpacked, as rpm does it, or after that.
    scriptlet:rpm | scriptlet:dnf | scriptlet:yum | scriptlet:zypper)
      say "error: %prein($name-$version.$arch) scriptlet failed, exit status 1"
      return 1
      ;;
    scriptlet:*)
      put "$name" "$version" "$arch" half-configured
      lay "$1"
      say "dpkg: error processing package $name: installed $name package post-installation script subprocess returned error exit status 1"
      return 1
      ;;
    torn:rpm | torn:dnf | torn:yum | torn:zypper) say "$version $arch installed" >>"$db/packages/$name"; lay "$1"; return 137 ;;
    torn:*) put "$name" "$version" "$arch" half-installed; return 137 ;;
  esac
  rm -f "$db/packages/$(field "$1" replaces)" 2>/dev/null
  put "$name" "$version" "$arch" installed
  lay "$1"
  rm -f "/run/pkgapp/$name/failed"
}
gone() { # NAME
  [ -e "$db/packages/$1" ] || return 1
  if [ "$1" = shop ]; then rm -rf /opt/shop /run/pkgapp/shop; fi
  if [ "$1" = shop-config ]; then rm -rf /usr/share/pkgapp/shop; fi
  rm -f "$db/packages/$1"
}
# expand FORMAT NAME VERSION ARCH STATUS
expand() {
  eflag=ok
  [ "$5" != half-installed ] || eflag=reinstreq
  printf %b "$(say "$1" | sed "s/\${db:Status-Status}/$5/; s/\${db:Status-Eflag}/$eflag/; s/\${Package}/$2/; s/\${Version}/$3/
    s/%{EPOCHNUM}/0/; s/%{VERSION}-%{RELEASE}/$3/; s/%{ARCH}/$4/; s/%{NAME}/$2/; s/%{NVRA}/$2-$3.$4/; s/\${[A-Za-z]*}//")"
}
each_line() { # FORMAT NAME
  while read -r version arch status; do expand "$1" "$2" "$version" "$arch" "$status"; done <"$db/packages/$2"
}

dpkg_query() {
  case $1 in
    -W)
      format=$3
      shift 3
      [ "${1-}" != -- ] || shift
      found=1
      for name; do
        if [ -e "$db/packages/$name" ]; then each_line "$format" "$name"; found=0; fi
      done
      return $found
      ;;
    -L)
      shift
      for each; do [ ! -e "$db/packages/$each" ] || say "/opt/$each/.pkgapp/release.json"; done
      ;;
  esac
}
dpkg_() {
  if [ "$1" = --compare-versions ]; then
    case $3 in
      gt) is_older "$4" "$2" ;;
      eq) [ "$2" = "$4" ] ;;
      *) return 2 ;;
    esac
    return
  fi
  record "$@"
  forced=
  while :; do
    case $1 in
      --force-remove-reinstreq) forced=1 ;;
      --force-*) ;;
      *) break ;;
    esac
    shift
  done
  verb=$1
  shift
  case $verb in
    --install) for file; do place "$file" || return; done ;;
    --remove)
      for each; do
        case $(line_of "$each") in *half-installed) [ -n "$forced" ] || return 1 ;; esac
        gone "$each" || return
      done
      ;;
    --configure)
      for file in "$db"/packages/*; do
        read -r version arch status <"$file" || continue
        [ "$status" = half-configured ] || continue
        if grep -qx "scriptlet $version" "$db/faults"; then return 1; fi
        put "${file##*/}" "$version" "$arch" installed
      done
      ;;
  esac
}
apt_get() {
  case " $* " in *' -s '*) ;; *) record "$@" ;; esac
  simulates='' verb='' operands='' downgrades='' reinstalls='' keeps=''
  while [ $# -gt 0 ]; do
    case $1 in
      -s) simulates=1 ;;
      -o) shift ;;
      --allow-downgrades) downgrades=1 ;;
      --reinstall) reinstalls=1 ;;
      --no-remove) keeps=1 ;;
      -*) ;;
      install | remove | satisfy) verb=$1 ;;
      *) operands="$operands $1" ;;
    esac
    shift
  done
  if grep -qs ' half-installed$' "$db"/packages/*; then say "E: a package needs to be reinstalled, and there is no archive for it"; return 100; fi
  for each in $operands; do
    case $each in
      *-)
        if [ -n "$simulates" ]; then say "Remv ${each%-} [1]"; continue; fi
        if [ -n "$keeps" ]; then say "E: packages need to be removed"; return 100; fi
        gone "${each%-}" || return
        continue
        ;;
    esac
    case $verb in
      remove) gone "$each" || return; continue ;;
      satisfy) return 1 ;;
    esac
    there=$(have "$(field "$each" name)") comes=$(field "$each" version) replaced=$(field "$each" replaces)
    if [ -n "$replaced" ] && [ -e "$db/packages/$replaced" ]; then
      if [ -n "$simulates" ]; then say "Remv $replaced [1]"; fi
      if [ -n "$keeps" ]; then say "E: packages need to be removed"; return 100; fi
    fi
    [ -z "$simulates" ] || continue
    if [ -n "$there" ] && is_older "$comes" "$there" && [ -z "$downgrades" ]; then say "E: packages were downgraded"; return 100; fi
    if [ "$there" = "$comes" ] && [ -z "$reinstalls" ]; then continue; fi
    place "$each" || return 100
  done
}
rpm_() {
  case $1 in
    --eval)
      [ -n "${A-}" ] || { say digest; return; }
      if [ "$A" = "$B" ]; then say 0; elif is_older "$A" "$B"; then say -1; else say 1; fi
      return
      ;;
    -qp)
      if [ "$2" = --obsoletes ]; then field "$3" replaces
      else expand "$3" "$(field "$4" name)" "$(field "$4" version)" "$(field "$4" arch)" installed; fi
      return
      ;;
    -ql)
      shift
      for each; do [ ! -e "$db/packages/$each" ] || say "/opt/$each/.pkgapp/release.json"; done
      return
      ;;
    -qf) return 1 ;;
    -q)
      format='%{NVRA}\n'
      if [ "$2" = --qf ]; then format=$3; shift 2; fi
      [ -e "$db/packages/$2" ] || { say "package $2 is not installed"; return 1; }
      each_line "$format" "$2"
      return
      ;;
  esac
  if [ "$2" = --test ]; then
    for each; do
      need=$(field "$each" needs 2>/dev/null)
      if [ -n "$need" ] && [ -z "$(have "$need")" ]; then printf '\t%s is needed by %s\n' "$need" "${each##*/}"; fi
    done
    return
  fi
  record "$@"
  case $1 in
    -e)
      if [ "$2" = --justdb ] && [ "$3" = --noscripts ]; then shift 4; set -- -e "$@"; fi
      if [ "$2" != --justdb ]; then
        shift
        for each; do gone "$each" || return; done
        return
      fi
      for each; do name=$each; done
      for file in "$db"/packages/*; do
        while read -r version arch status; do
          [ "${file##*/}-$version.$arch" = "$name" ] || say "$version $arch $status"
        done <"$file" >"$db/rest"
        mv "$db/rest" "$file"
      done
      ;;
    -U)
      shift
      older='' again=''
      for each; do
        case $each in
          --oldpackage) older=1 ;;
          --replacepkgs) again=1 ;;
          *)
            there=$(have "$(field "$each" name)") comes=$(field "$each" version)
            if [ -n "$there" ] && is_older "$comes" "$there" && [ -z "$older" ]; then return 1; fi
            if [ "$there" = "$comes" ] && [ -z "$again" ]; then return 1; fi
            place "$each" || return
            ;;
        esac
      done
      ;;
  esac
}
dnf_() {
  case " $* " in *' repoquery '*) return ;; esac
  record "$@"
  if [ -s "$db/locked" ]; then rm "$db/locked"; return 200; fi
  verb=
  case " $* " in
    *' --allowerasing '*)
      # The only package in the tests that needs another one.
      gone shop-config
      ;;
  esac
  for each; do
    case $each in
      -*) continue ;;
      install | reinstall | downgrade | remove) verb=$each; continue ;;
    esac
    if [ "$verb" = remove ]; then
      gone "$each" || return
      continue
    fi
    if [ ! -f "$each" ]; then put "$each" 1 noarch installed; continue; fi
    name=$(field "$each" name) comes=$(field "$each" version)
    there=$(have "$name")
    if [ -z "$there" ]; then is=new
    elif [ "$there" = "$comes" ]; then is=same
    elif is_older "$comes" "$there"; then is=older
    else is=newer; fi
    case $verb:$is in
      install:new | install:newer | reinstall:same) place "$each" || return ;;
      downgrade:older)
        case $(line_of "$name") in *" $(field "$each" arch) "*) ;; *) say "cannot downgrade it"; return 1 ;; esac
        place "$each" || return
        ;;
      install:*) say "Nothing to do." ;;
      *) say "Error: no package for $verb"; return 1 ;;
    esac
  done
}
zypper_() {
  case " $* " in *' search '*) return 104 ;; esac
  record "$@"
  verb='' forced='' older=''
  for each; do
    case $each in
      --force) forced=1 ;;
      --oldpackage) older=1 ;;
      -*) ;;
      install | remove) verb=$each ;;
      *)
        case $each in !*) gone "${each#!}" || return; continue ;; esac
        if [ "$verb" = remove ]; then
          gone "$each" || return
          continue
        fi
        there=$(have "$(field "$each" name)") comes=$(field "$each" version)
        if [ -n "$there" ] && is_older "$comes" "$there" && [ -z "$older" ]; then return 4; fi
        if [ "$there" = "$comes" ] && [ -z "$forced" ]; then continue; fi
        place "$each" || return
        ;;
    esac
  done
}
systemctl_() {
  say "$*" >>"$db/units"
  case $1 in
    start) sh -c "$(sed -n 's/^ExecStart=//p' "/etc/systemd/system/$3")" </dev/null >/dev/null 2>&1 & ;;
    is-system-running) say running ;;
    is-active) say inactive; return 3 ;;
  esac
}

case $program in
  dpkg) dpkg_ "$@" ;;
  dpkg-query) dpkg_query "$@" ;;
  dpkg-deb) if [ "$1" = -f ]; then field "$2" replaces; fi ;;
  apt-get) apt_get "$@" ;;
  rpm) rpm_ "$@" ;;
  dnf | yum) dnf_ "$@" ;;
  zypper) zypper_ "$@" ;;
  systemctl) systemctl_ "$@" ;;
  # apt-cache and apt-config have nothing to say, and sync need not wait for a disk.
esac
