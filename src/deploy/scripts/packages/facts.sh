# What only hosts with packages are asked; each function tells some facts. `name` and `prefix` are the application's.
# tell_manager: what installs packages, and what it lacks for that.
tell_manager() {
  fact manager "$manager"
  [ -n "$manager" ] || return 0
  fact exits_on_lock "$(exits_on_lock && say yes || say no)"
  tell_unwritable
  # shellcheck disable=SC2046  # plain paths
  for file in $(lock_files); do
    by=$(holder "$file")
    if [ -n "$by" ]; then fact held "$file by $by"; break; fi
  done
  fact insists "$(insists)"
}
# Where a push of a package writes.
tell_unwritable() {
  told=
  for each in "$prefix" /etc /usr/share /usr/lib/systemd/system "$unit_files" "$database" "$state"; do
    at=$(there "$each")
    if [ -w "$at" ] || { [ "$each" != "$state" ] && remounts; }; then continue; fi
    case $told in *" $at "*) continue ;; esac
    told="$told $at "
    fact unwritable "$at"
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
# tell_package: what is known of the package's name, and of its configuration's, if it is a package of its own.
#   configured   settings that the configuration must have values for
tell_package() {
  installed='' half='' configuration=''
  [ -n "$manager" ] || return 0
  known=$(status_of "$name")
  installed=$(version_in "$known") half=$(half_in "$known")
  configuration=$(own_configuration)
  if [ -n "$configuration" ]; then
    its=$(status_of "$configuration")
    [ -n "$half" ] || half=$(half_in "$its")
    its=$(version_in "$its")
    [ -z "$its" ] || fact "configuration.$configuration" "$its"
    fact environment "$(first_line "/etc/$name/environment")"
    for setting in ${configured-}; do
      grep -q "^ *\"$setting\": {\$" "/usr/share/pkgapp/$name/configuration.json" || fact unconfigured "$setting"
    done
  fi
  fact half "$half"
  if [ -n "$installed$half" ]; then
    # A package of this name in which no release lies is somebody else's. Of one that was cut off at its first installation,
    # dpkg knows no file.
    files=$(files_of "$name")
    case $files$newline in
      "$newline" | *"/.pkgapp/release.json$newline"*) ;;
      *) fact foreign yes ;;
    esac
  else
    # What repositories have of this name, as far as the host knows without asking them.
    fact offers "$(offered_version "$name")"
  fi
}
# order A B: how the version A compares with B, by the package manager.
order() {
  case $(compared "$1" "$2") in
    1) say newer ;;
    0) say same ;;
    *) say older ;;
  esac
}
# tell_artifacts [KIND PACKAGE VERSION DEPENDS]...: how each artifact's version compares with the installed one, and what of its
# needs nothing offers.
tell_artifacts() {
  index=0
  while [ $# -ge 4 ]; do
    if [ "$1" = "$kind" ]; then tell_artifact $index "$2" "$3" "$4"; fi
    shift 4
    index=$((index + 1))
  done
}
tell_artifact() { # INDEX PACKAGE VERSION DEPENDS
  its=$installed
  if [ "$2" != "$name" ]; then
    its=$(version_of "$2")
    case $2:$configuration in
      "$name-config:$name-config") ;;
      "$name-config:")
        # What has this name is somebody else's, or might come from a repository.
        if [ -n "$its" ]; then fact "foreign_configuration" "$its"; else fact offers_configuration "$(offered_version "$2")"; fi
        its=
        ;;
      *) [ -z "$its" ] || fact "runtime.$2" "$its" ;;
    esac
  fi
  [ -z "$its" ] || fact "order.$1" "$(order "$3" "$its")"
  unmet "$4" | while IFS= read -r relation; do fact "unmet.$1" "$relation"; done
}
# tell_kept IN RUNTIME: how a package that is kept there compares with the installed one, and so what it runs on.
tell_kept() {
  [ -z "$installed" ] || fact "kept_order.${1##*/}" "$(order "$(value "$1/info" version)" "$installed")"
  [ -n "$2" ] || return 0
  sum=${1##*/}
  # shellcheck disable=SC2086  # three words
  set -- $2
  its=$(version_of "$1")
  fact "runs_on.$sum" "$* $([ -z "$its" ] || order "$2" "$its")"
  [ -z "$its" ] || fact "runtime.$1" "$its"
}
