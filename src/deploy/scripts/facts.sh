# Says what a push must know of a host, as lines of KEY=VALUE; changes nothing. Arguments: the application's name, its
# prefix, and then for each artifact that may go there: its kind, its package's name (the application's, or that of an
# interpreter that comes along), its version as the package manager writes it, and what it depends on, one relation a line.
name=$1 prefix=$2
shift 2
if [ $mode = tarball ]; then prefix=$into/current; fi

(
  # shellcheck disable=SC1091  # the host's
  if [ -r /etc/os-release ]; then . /etc/os-release; fi
  fact os "${ID-}"
  fact os_version "${VERSION_ID-}"
)
fact arch "$(uname -m)"
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null)
fact glibc "${glibc#* }"
fact pythons "$(for python in /usr/bin/python3.[0-9] /usr/bin/python3.[0-9][0-9]; do [ -x "$python" ] && say "${python##*/python}"; done)"
fact uid "$(id -u)"
fact user "$(id -un)"
fact boot "$(boot_id)"
fact systemd "$([ -d /run/systemd/system ] && say yes || say no)"
fact needrestart "$(has needrestart && say yes || say no)"

manager='' installed=''
for each in apt-get dpkg dnf yum zypper rpm; do
  if [ $mode = package ] && has "$each"; then manager=$each; break; fi
done
fact manager "$manager"
if [ $mode = tarball ]; then installed=$(installed); fi

# there PATH: the directory that it is or will be in.
there() {
  at=$1
  while [ ! -d "$at" ]; do
    case $at in /*/*) at=${at%/*} ;; *) at=/ ;; esac
  done
  say "$at"
}
# Where a push of a package writes. Some administrators let apt remount what is read-only at other times.
if [ $mode = package ]; then
  remounts() { [ "$manager" = apt-get ] && apt-config dump DPkg::Pre-Invoke 2>/dev/null | grep -q remount; }
  case $manager in apt-get | dpkg) database=/var/lib/dpkg ;; *) database=/var/lib/rpm ;; esac
  told=
  for each in "$prefix" /etc /usr/share /usr/lib/systemd/system "$unit_files" "$database" "$state"; do
    at=$(there "$each")
    if [ -w "$at" ] || { [ "$each" != "$state" ] && remounts; }; then continue; fi
    case $told in *" $at "*) continue ;; esac
    told="$told $at "
    fact unwritable "$at"
  done
fi
# kB that are free where the release and where packages are or will be.
prefix_at=$(there "$prefix") state_at=$(there "$state")
df -Pk "$prefix_at" "$state_at" | {
  read -r _
  for each in "free_prefix $prefix_at" "free_state $state_at"; do
    read -r device _ _ free _
    # A file system without a device, as in memory, is told from others by its number.
    case $device in /*) ;; *) device=$device:$(stat -c %d "${each#* }") ;; esac
    fact "${each%% *}" "$free $device"
  done
}

holder() { # of a lock that fcntl or flock has on FILE: one of /proc/locks whose process has it open
  # Not by the number of the inode, which may be another one there: on overlayfs, say.
  while read -r _ _ _ kind_ pid_ _; do
    [ "$kind_" = WRITE ] || continue
    for open_ in /proc/"$pid_"/fd/*; do
      [ "$open_" -ef "$1" ] || continue
      say "$(cat "/proc/$pid_/comm" 2>/dev/null || say process) ($pid_)"
      return
    done
  done </proc/locks
}
case $manager in
  apt-get | dpkg)
    for file in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock; do
      by=$(holder "$file")
      if [ -n "$by" ]; then fact held "$file by $by"; break; fi
    done
    # What is not `installed` is half-way.
    half=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$name" 2>/dev/null)
    case $half in
      'installed '*) installed=${half#installed } half= ;;
      not-installed* | config-files*) half= ;;
    esac
    fact half "$half"
    ;;
  ?*)
    for file in /var/lib/rpm/.rpm.lock /usr/lib/sysimage/rpm/.rpm.lock; do
      by=$(holder "$file")
      if [ -n "$by" ]; then fact held "$file by $by"; break; fi
    done
    installed=$(installed)
    ;;
esac
fact installed "$installed"
if [ $mode = package ] && [ -n "$installed${half-}" ]; then
  # A package of this name in which no release lies is somebody else's. Of one that was cut off at its first installation,
  # dpkg knows no file.
  files=$(dpkg-query -L "$name" 2>/dev/null || rpm -ql "$name" 2>/dev/null)
  case $files$newline in
    "$newline" | *"/.pkgapp/release.json$newline"*) ;;
    *) fact foreign yes ;;
  esac
elif [ $mode = package ]; then
  # What repositories have of this name, as far as the host knows without asking them.
  case $manager in
    apt-get) offers=$(apt-cache policy "$name" 2>/dev/null | sed -n 's/^  Candidate: *//p' | head -n1) ;;
    dnf) offers=$(dnf -q -C repoquery --qf '%{evr}\n' "$name" 2>/dev/null | grep . | tail -n1) ;;
    yum) offers=$(has repoquery && repoquery -C --qf '%{evr}' "$name" 2>/dev/null | grep . | tail -n1) ;;
    zypper) offers=$(zypper -q --non-interactive --no-refresh search -s -t package --match-exact "$name" 2>/dev/null |
      awk -F'|' 'NR > 2 { gsub(/ /, "", $4); v = $4 } END { print v }') ;;
    *) offers= ;;
  esac
  if [ "$offers" != '(none)' ]; then fact offers "$offers"; fi
fi
if [ -n "$installed" ] && [ -f "$prefix/.pkgapp/release.json" ]; then
  fact record "$(sha256_of "$prefix/.pkgapp/release.json")"
  fact commit "$(sed -n 's/^ *"commit": *"\([^"]*\)".*/\1/p' "$prefix/.pkgapp/release.json" | head -n1)"
fi

# Who refuses packages without a signature, and where that is said: dnf.conf(5), rpm's manual on signatures, dpkg(1).
insists() {
  case $manager in
    apt-get | dpkg)
      [ -x /usr/bin/debsig-verify ] || return
      cat /etc/dpkg/dpkg.cfg /etc/dpkg/dpkg.cfg.d/* 2>/dev/null | grep -q '^no-debsig' || say "dpkg, with debsig-verify"
      return
      ;;
    dnf | yum)
      for file in /usr/share/dnf5/libdnf.conf.d/*.conf /etc/dnf/libdnf5.conf.d/*.conf /etc/yum.conf /etc/dnf/dnf.conf; do
        [ ! -r "$file" ] || sed "s|^|$file:|" "$file"
      done | awk -v manager="$manager" '
        { at = index($0, ":"); file = substr($0, 1, at - 1); line = substr($0, at + 1); gsub(/[ \t\r]/, "", line) }
        line ~ /^\[/ { main = (line == "[main]") }
        main && line ~ /^localpkg_gpgcheck=/ { value = tolower(substr(line, 19)); said = file }
        END { if (value ~ /^(1|yes|true|on)$/) print manager ", by `localpkg_gpgcheck` in " said }' | grep . && return
      ;;
    '') return ;;
  esac
  case $(rpm --eval '%{_pkgverify_level}' 2>/dev/null) in signature | all) say "rpm, by its macro \`%_pkgverify_level\`" ;; esac
}
if [ $mode = package ]; then fact insists "$(insists)"; fi

# What rpm's database says: provided CAPABILITY [OPERATOR VERSION].
provided() {
  if [ -z "$2" ]; then rpm -q --quiet --whatprovides -- "$1" 2>/dev/null || [ -e "$1" ]; return; fi
  rpm -q --qf '[%{PROVIDENAME}\t%{PROVIDEVERSION}\n]' --whatprovides -- "$1" 2>/dev/null | while IFS="$(printf '\t')" read -r its version; do
    [ "$its" = "$1" ] || continue
    # A release counts only if both have one, and who says no version has all of them (rpm's manual, "Dependencies").
    case $3 in *-*) ;; *) version=${version%-*} ;; esac
    case $2$([ -z "$version" ] || rpm_compared "$version" "$3") in
      '>=' | '<=' | '=' | '>' | '<' | '>=1' | '>=0' | '<=-1' | '<=0' | '=0' | '>1' | '<-1') say yes; break ;;
    esac
  done | grep -q yes
}
# offered RELATION: by a repository, as far as there is someone to ask.
offered() {
  case $manager in
    dnf | yum)
      if has dnf; then dnf -q --setopt='*.skip_if_unavailable=True' repoquery --whatprovides="$1" 2>/dev/null | grep -q .
      elif has repoquery; then repoquery --whatprovides="$1" 2>/dev/null | grep -q .; fi
      ;;
    # 104: "no capability was found" (zypper(8), "Exit codes").
    zypper) zypper -q --non-interactive --no-refresh search --provides --match-exact -- "$1" >/dev/null 2>&1; [ $? != 104 ] ;;
    *) return 1 ;;
  esac
}
# on_dpkg RELATIONS: prints those, one a line, that installed packages do not meet with any of their alternatives `a (>= 1) | b`.
on_dpkg() {
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

# version_of PACKAGE: what is installed of it.
version_of() (name=$1 && installed)
# order A B: how the version A compares with B, by the package manager.
order() {
  case $manager in
    apt-get | dpkg)
      if dpkg --compare-versions "$1" gt "$2"; then say newer
      elif dpkg --compare-versions "$1" eq "$2"; then say same
      else say older; fi
      ;;
    *)
      case $(rpm_compared "$1" "$2") in
        1) say newer ;;
        0) say same ;;
        *) say older ;;
      esac
      ;;
  esac
}

# How each artifact's version compares with the installed one, and what of its needs nothing offers.
index=0
while [ $# -ge 4 ]; do
  kind=$1 package=$2 version=$3 depends=$4 its=$installed
  shift 4
  case $kind:$manager in
    deb:apt-get | deb:dpkg | rpm:dnf | rpm:yum | rpm:zypper | rpm:rpm)
      if [ "$package" != "$name" ]; then
        its=$(version_of "$package")
        [ -z "$its" ] || fact "runtime.$package" "$its"
      fi
      [ -z "$its" ] || fact "order.$index" "$(order "$version" "$its")"
      ;;
  esac
  case $kind:$manager in
    deb:apt-get | deb:dpkg)
      # apt is asked only about what is not there: all at once, and one by one only to name what is missing.
      [ -z "$depends" ] || depends=$(on_dpkg "$depends")
      if [ "$manager" = dpkg ] || { [ -n "$depends" ] && ! apt-get -s -qq satisfy "$(printf %s "$depends" | tr '\n' ',')" >/dev/null 2>&1; }; then
        printf '%s\n' "$depends" | while read -r relation; do
          [ -n "$relation" ] || continue
          if [ "$manager" = apt-get ] && apt-get -s -qq satisfy "$relation" >/dev/null 2>&1; then continue; fi
          fact "unmet.$index" "$relation"
        done
      fi
      ;;
    rpm:dnf | rpm:yum | rpm:zypper | rpm:rpm)
      printf '%s\n' "$depends" | while read -r capability operator wanted; do
        case $capability in '' | '('* | rpmlib\(*) continue ;; esac
        provided "$capability" "$operator" "$wanted" </dev/null && continue
        relation=$capability${operator:+ $operator $wanted}
        offered "$relation" </dev/null || fact "unmet.$index" "$relation"
      done
      ;;
  esac
  index=$((index + 1))
done

# What earlier pushes left here. What cannot be read, as after a loss of power, is told and counts as absent.
# is_sound IN SUM: the package that is kept there has the bytes that it should have, or nobody relies on them now. Who installs
# something asks about that and about what would be gone back to; who installs nothing of its own asks about all. After a boot
# all are looked at until a push has noted that they are whole: only a loss of power changes them unseen.
is_sound() {
  if [ -n "${PKGAPP_SUMS-}" ] && [ "$checked" = "$(boot_id)" ]; then
    case " $PKGAPP_SUMS ${PKGAPP_RUNTIMES-} " in
      *" ${1##*/} "*) [ "${1##*/}" != "$current" ] || [ -d "$(last_transaction)" ] || return 0 ;;
      *"=${1##*/} "*) ;;
      *) [ "${1##*/}" = "$current" ] || return 0 ;;
    esac
  fi
  [ "$(sha256_of "$2")" = "${1##*/}" ]
}
kept() { # IN: a line, and what else is known of a package
  in=$1
  file=$(value "$in/info" file) of=$(value "$in/info" name) on=$(value "$in/info" runtime)
  case $file in '' | */*) fact damaged "$in/info"; return ;; esac
  described "$in/info" || { fact damaged "$in/info"; return; }
  size=$(stat -c %s "$in/$file" 2>/dev/null || say 0)
  should=$(value "$in/info" size)
  if [ "$size" != 0 ] && { [ "${should:-$size}" != "$size" ] || ! is_sound "$in" "$in/$file"; }; then size=0 lost=$in/$file
  elif [ "$size" = 0 ] && [ -e "$in/$file" ]; then lost=$in/$file
  else lost=; fi
  [ -z "$lost" ] || fact damaged "$lost"
  failed=
  if [ -e "$in/failed" ]; then failed=$(first_line "$in/failed" || say 'at an unknown time'); fi
  # A name of its own has the package of an interpreter.
  fact "kept${of:+_runtime}" "${of:+$of|}${in##*/}|$file|$size|$(value "$in/info" version)|$(value "$in/info" release)|$(
    value "$in/info" record)|$(first_line "$in/good")|$failed|$(value "$in/info" commit)|$(value "$in/info" unsigned)"
  [ ! -f "$in/migrated" ] || fact migrated "${in##*/}"
  [ ! -f "$in/left" ] || fact left "${in##*/}"
  if [ -n "$on" ] && [ $mode = package ]; then
    # shellcheck disable=SC2086  # three words
    set -- $on
    its=$(version_of "$1")
    fact "runs_on.${in##*/}" "$on $([ -z "$its" ] || order "$2" "$its")"
    [ -z "$its" ] || fact "runtime.$1" "$its"
  fi
}
closed=$(closed_to_us) && fact unreadable "$closed"
why_=
if [ $mode = tarball ] || [ "$(id -u)" = 0 ]; then
  judge_state
  [ -n "$why_" ] || [ ! -d "$state" ] || judge_files
fi
[ -z "$why_" ] || fact distrusted "$why_"
if [ -z "$closed$why_" ] && [ -d "$state" ]; then
  if [ -f "$state/lock" ]; then
    for key in token owner since; do fact "lock.$key" "$(value "$state/lock" $key)"; done
    fact lock.alive "$(lock_alive && say yes || say no)"
    [ -n "$(value "$state/lock" token)" ] || fact damaged "$state/lock"
  fi
  current=$(first_line "$state/current") checked=$(first_line "$state/checked")
  fact current "$current"
  if [ -e "$state/current" ] && [ ! -s "$state/current" ]; then fact damaged "$state/current"; fi
  if [ -s "$state/history.jsonl" ] && [ -n "$(tail -n1 "$state/history.jsonl" | grep -av '^{.*}$')" ]; then
    fact damaged "$state/history.jsonl"
  fi
  transaction=$(last_transaction)
  if [ -d "$transaction" ]; then
    fact transaction.version "$(value "$transaction/parameters" version | tr -d "'")"
    fact transaction.sum "$(value "$transaction/parameters" sum | tr -d "'")"
    result=$(result_in "$transaction")
    fact transaction.state "$(if runs "$transaction"; then say running; else say "${result:-interrupted}"; fi)"
    [ -n "$(value "$transaction/parameters" goal)" ] || fact damaged "$transaction/parameters"
    if [ -e "$transaction/result" ] && [ -z "$result" ]; then fact damaged "$transaction/result"; fi
  fi
  for in in "$state"/packages/*; do
    [ ! -e "$in/info" ] || kept "$in"
  done
fi
# has_none SUM...: whether none of these packages is here.
has_none() {
  for sum; do
    for file in "$state/packages/$sum"/*.deb "$state/packages/$sum"/*.rpm "$state/packages/$sum"/*.tar*; do
      if [ -f "$file" ]; then return 1; fi
    done
  done
}
# pieces NAME: of the package that is installed, or else came last, its pieces; of an interpreter's by its name.
pieces() {
  for in in "$state/packages/$(cat "$state/current" 2>/dev/null)" $(ls -td "$state"/packages/*/pieces 2>/dev/null | sed 's,/pieces$,,'); do
    if [ -s "$in/pieces" ] && [ "$(value "$in/info" name)" = "$1" ] && [ -s "$in/$(value "$in/info" file)" ]; then
      printf 'pieces=%s %s\n' "${in##*/}" "$(tr '\n' ' ' <"$in/pieces")"
      break
    fi
  done
}
# Nobody needs them if what may come is here.
# shellcheck disable=SC2086  # words
if [ -n "${PKGAPP_SUMS-}" ] && has_none $PKGAPP_SUMS; then pieces ''; fi
for runtime in ${PKGAPP_RUNTIMES-}; do
  if has_none "${runtime#*=}"; then pieces "${runtime%%=*}"; fi
done
say "facts=end"
