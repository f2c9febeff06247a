# tell_listeners: who listens where the release will listen, other than its own units. Without root, a host does not tell who
# it is.
#   listens   addresses, ADDRESS:PORT, or nothing
tell_listeners() {
  [ -n "${listens-}" ] && has ss || return 0
  ss -Hltnp 2>/dev/null | while read -r _ _ _ local_ _ users_; do
    for each in $listens; do
      if meets "$local_" "$each"; then
        who_=$(listener "$local_" "$users_")
        [ -z "$who_" ] || fact listens "$each $who_"
      fi
    done
  done
}
# meets LOCAL ADDRESS: whether both are the same, or one of them is every address of the host.
meets() {
  [ "${1##*:}" = "${2##*:}" ] || return 1
  case ${1%:*} in '*' | 0.0.0.0 | '[::]') return 0 ;; esac
  case ${2%:*} in 0.0.0.0 | '[::]' | "${1%:*}") return 0 ;; esac
  return 1
}
# listener LOCAL USERS: for people; nothing for a unit of the application. USERS are `users:(("nginx",pid=812,fd=6))` (ss(8)).
listener() {
  program_=${2#*\"} program_=${program_%%\"*}
  pid_=${2#*pid=} pid_=${pid_%%[!0-9]*}
  if [ -z "$pid_" ]; then say "another program"; return; fi
  if [ "$program_" = systemd ]; then
    unit_=$(ctl list-sockets --no-legend --plain 2>/dev/null | awk -v at="$1" '$1 == at { print $2; exit }')
    case $unit_ in
      "$name"-*) ;;
      *) say "\`${unit_:-systemd}\`" ;;
    esac
  elif ! grep -q "/$name-[^/]*\.service" "/proc/$pid_/cgroup" 2>/dev/null; then
    say "\`$program_\` (pid $pid_)"
  fi
}
