# Says what a push must know of a host, as lines of KEY=VALUE; changes nothing. Arguments, for each artifact that may
# go there: its kind, its package's name (the application's, or that of an interpreter that comes along), its version as the
# package manager writes it, and what it depends on, one relation a line.
#   name prefix   the application's
#   sums          the SHA-256 of the artifacts of the application
#   runtimes      NAME=SHA256 of the other packages that come along: interpreters, and the packages of a set
#   needs         settings that a release needs a value for, and the files that may have it, one a line
#   environment_files
#   credentials   those of a release's settings that are files; see credentials.sh, which stands before this
#   listens       where the release will listen; see listeners.sh, which stands before this
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

# there PATH: the directory that it is or will be in.
there() {
  at=$1
  while [ ! -d "$at" ]; do
    case $at in /*/*) at=${at%/*} ;; *) at=/ ;; esac
  done
  say "$at"
}
if [ $mode = package ]; then tell_manager; fi
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

if [ $mode = package ]; then tell_package; else installed=$(installed); fi
fact installed "$installed"
if [ -n "$installed" ] && [ -f "$prefix/.pkgapp/release.json" ]; then
  fact record "$(sha256_of "$prefix/.pkgapp/release.json")"
  fact commit "$(sed -n 's/^ *"commit": *"\([^"]*\)".*/\1/p' "$prefix/.pkgapp/release.json" | head -n1)"
fi

if [ $mode = package ]; then tell_artifacts "$@"; fi

# has_value SETTING: whether one of the files says it. The files may hold secrets: no value is told.
has_value() {
  if is_credential "$1"; then [ -z "$lack_" ] && [ -s "$store_$1" ]; return; fi
  while IFS= read -r file; do
    other=$file
    if [ $mode = tarball ]; then other=$into/shared$file; fi
    if grep -qs "^[[:space:]]*$1[[:space:]]*=[[:space:]]*[^[:space:]]" "$file" "$other"; then return 0; fi
  done <<FILES
${environment_files-}
FILES
  return 1
}
if [ -n "${credentials-}" ]; then
  find_store
  [ -z "$lack_" ] || fact no_credentials "$lack_"
fi
for setting in ${needs-}; do
  has_value "$setting" || fact lacks "$setting"
done

# What earlier pushes left here. What cannot be read, as after a loss of power, is told and counts as absent.
# is_sound IN SUM: the package that is kept there has the bytes that it should have, or nobody relies on them now. Who installs
# something asks about that and about what would be gone back to; who installs nothing of its own asks about all. After a boot
# all are looked at until a push has noted that they are whole: only a loss of power changes them unseen.
is_sound() {
  if [ -n "$sums" ] && [ "$checked" = "$(boot_id)" ]; then
    case " $sums $runtimes " in
      *" ${1##*/} "*) ! is_in_use "${1##*/}" || [ -d "$(last_transaction)" ] || return 0 ;;
      *"=${1##*/} "*) ;;
      *) is_in_use "${1##*/}" || return 0 ;;
    esac
  fi
  [ "$(sha256_of "$2")" = "${1##*/}" ]
}
# in_use: what the last push has installed: a package, or a set and its packages.
in_use() { say "$current $(value "$state/packages/$current/info" members)"; }
is_in_use() { case " $(in_use) " in *" $1 "*) ;; *) return 1 ;; esac; } # SUM
kept() { # IN: a line, and what else is known of a package or a set
  in=$1 members=$(value "$1/info" members)
  file=$(value "$in/info" file) of=$(value "$in/info" name) on=$(value "$in/info" runtime)
  case $file in '' | */*) fact damaged "$in/info"; return ;; esac
  described "$in/info" || { fact damaged "$in/info"; return; }
  size=$(stat -c %s "$in/$file" 2>/dev/null || say 0)
  should=$(value "$in/info" size)
  # Its packages tell whether a set is whole.
  if [ -n "$members" ]; then size=$should lost=
  elif [ "$size" != 0 ] && { [ "${should:-$size}" != "$size" ] || ! is_sound "$in" "$in/$file"; }; then size=0 lost=$in/$file
  elif [ "$size" = 0 ] && [ -e "$in/$file" ]; then lost=$in/$file
  else lost=; fi
  [ -z "$lost" ] || fact damaged "$lost"
  failed=
  if [ -e "$in/failed" ]; then failed=$(first_line "$in/failed" || say 'at an unknown time'); fi
  # A name of its own has a package that others need.
  fact "kept${of:+_member}" "${of:+$of|}${in##*/}|$file|$size|$(value "$in/info" version)|$(value "$in/info" release)|$(
    value "$in/info" record)|$(first_line "$in/good")|$failed|$(value "$in/info" commit)|$(value "$in/info" unsigned)"
  [ -z "$members" ] || fact "members.${in##*/}" "$members"
  [ ! -f "$in/migrated" ] || fact migrated "${in##*/}"
  [ ! -f "$in/left" ] || fact left "${in##*/}"
  if [ -z "$of" ] && [ $mode = package ]; then tell_kept "$in" "$on"; fi
}
tell_listeners

current=
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
  if [ -s "$state/history.jsonl" ]; then fact applied "$(whole_lines "$state/history.jsonl" | grep -F '"system":{' | tail -n1)"; fi
  [ ! -e "$state/secrets/previous" ] || fact previous_secrets yes
  transaction=$(last_transaction)
  if [ -d "$transaction" ]; then
    fact transaction.version "$(parameter_of "$transaction" version)"
    fact transaction.sum "$(parameter_of "$transaction" sum)"
    result=$(result_in "$transaction")
    fact transaction.state "$(if [ -z "$result" ] && [ "$(phase_in "$transaction")" = probation ]; then say probation
    elif runs "$transaction"; then say running
    else say "${result:-interrupted}"; fi)"
    fact transaction.leaves "$(parameter_of "$transaction" leaves)"
    fact transaction.confirm "$(parameter_of "$transaction" confirm)"
    fact transaction.remaining "$(first_line "$transaction/remaining")"
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
# pieces NAME: of the package that is installed, or else came last, its pieces; of one that others need by its name.
pieces() {
  for each in $(in_use) $(ls -td "$state"/packages/*/pieces 2>/dev/null | sed 's,/pieces$,,'); do
    in=$state/packages/${each##*/}
    if [ -s "$in/pieces" ] && [ "$(value "$in/info" name)" = "$1" ] && [ -s "$in/$(value "$in/info" file)" ]; then
      printf 'pieces=%s %s\n' "${in##*/}" "$(tr '\n' ' ' <"$in/pieces")"
      break
    fi
  done
}
# Nobody needs them if what may come is here.
# shellcheck disable=SC2086  # words
if [ -n "$sums" ] && has_none $sums; then pieces ''; fi
for runtime in $runtimes; do
  if has_none "${runtime#*=}"; then pieces "${runtime%%=*}"; fi
done
say "facts=end"
