# Runs a command of a release that is unpacked but not installed, as the service runs that will have this code: with its user,
# directories, variables and sandbox, and with this host's configuration. The release is seen at its prefix, by this command
# alone. It goes on if the connection dies. Arguments: the command.
#   name root prefix mark      the application, where its package is unpacked, where the release belongs, the mark to leave
#   service                    the unit of the service, or nothing
#   user group directory mask  the service's; `directory` lies below /var/lib and the like; each may be empty
#   groups                     the further groups that the service names
#   limit                      how many seconds it may take, or nothing
#   unit last                  a unit for systemd, and the drop-in that is the last word on it
#   files                      the service's environment files, one a line
#   exports                    the service's variables, for sh
#   variables variables_sh     those of the host, for systemd and for sh
hold_lock
umask 022
job=pkgapp-migrate-$name log=$state/migrate.log scratch=$state/migrating
if [ -e "$mark" ]; then say "done before"; exit 0; fi

# Users and groups of the package's own do not exist before the first installation.
are_there() {
  for each in ${group:+"$group"} $groups; do getent group "$each" >/dev/null || return 1; done
  [ -z "$user" ] || id "$user" >/dev/null 2>&1
}
if ! are_there; then
  for conf in "$root"/usr/lib/sysusers.d/*.conf; do
    [ -f "$conf" ] && has systemd-sysusers && systemd-sysusers "$conf"
  done
  [ -z "$user" ] || id "$user" >/dev/null 2>&1 || fail "there is no user $user on this host"
fi

# The host's own configuration; before the first installation the package's. The last file is the first of the list.
reversed=
choose() { # FILE
  if [ -f "$1" ]; then reversed=$1$newline$reversed
  elif [ -f "$root$1" ]; then reversed=$root$1$newline$reversed; fi
}
for file in "$root/etc/$name"/*.env; do
  [ ! -f "$file" ] || choose "${file#"$root"}"
done
while IFS= read -r file; do
  [ -z "$file" ] || choose "$file"
done <<FILES
$files
FILES

# What of the package is put where it belongs, with an interpreter that comes along, and the directories made for that.
places='' made=''
for from in "$root$prefix" "$root"/opt/pkgapp/python* "$root/etc/$name"; do
  to=${from#"$root"}
  [ -d "$from" ] || continue
  if [ "$to" = "/etc/$name" ] && [ -n "$(ls -A "$to" 2>/dev/null)" ]; then continue; fi
  places=$places$to$newline
  at=$to
  while [ -n "$at" ] && [ ! -d "$at" ]; do made=$made$at$newline at=${at%/*}; done
  mkdir -p "$to" || exit 1
done
rm -rf "$scratch"
(umask 077 && mkdir -p "$scratch" && rm -f "$log" && : >"$log") || exit 1

# systemd before 250 runs nothing without each of its credentials, also if the package has not made those yet that may be empty.
without_missing() {
  while IFS= read -r line_; do
    case $line_ in LoadCredential=*:/*) [ -e "${line_#*:}" ] || continue ;; esac
    say "$line_"
  done
}
by_systemd() {
  there=/run/systemd/system/$job.service
  busy() { case $(systemctl is-active "$job.service") in activating | deactivating | reloading) ;; *) return 1 ;; esac; }
  forget() {
    systemctl stop "$job.service" 2>/dev/null
    systemctl reset-failed "$job.service" 2>/dev/null
    rm -rf "$there" "$there.d"
  }
  if busy; then say "a migration goes on that another push has started; waiting for its end"; fi
  while busy; do sleep 0.5; done
  forget
  (umask 077 && printf '%s\n' "$variables" >"$scratch/variables" && mkdir -p "$there.d") || return 1
  ordered=
  while IFS= read -r file; do
    [ -z "$file" ] || ordered="EnvironmentFile=$(printf %s "$file" | sed 's/%/%%/g')$newline$ordered"
  done <<FILES
$reversed
FILES
  printf '%s\n%s' "$unit" "$ordered" | without_missing >"$there" || return 1
  # What this host's administrator has added to the service holds here too; an empty file hides one further away.
  if [ -n "$service" ]; then
    for in in /usr/lib /run /etc; do
      for conf in "$in/systemd/system/$name-.service.d"/*.conf "$in/systemd/system/$service.d"/*.conf; do
        [ ! -e "$conf" ] || cat "$conf" >"$there.d/${conf##*/}" || return 1
      done
    done
  fi
  {
    printf '%s\n' "$last"
    printf %s "$places" | sed "s,%,%%,g; s,.*,BindReadOnlyPaths=\"$root&\":\"&\","
    printf 'EnvironmentFile=%s\nStandardOutput=file:%s\nStandardError=inherit\n' "$scratch/variables" "$log"
  } >"$there.d/zzzz-pkgapp.conf" || return 1
  systemctl daemon-reload || return 1
  systemctl start "$job.service" 2>"$scratch/said" &
  waiter=$!
  tail -n +1 -f -s 0.1 --pid=$waiter "$log" &
  wait $waiter
  wait
  # Whatever ended the waiting, the state of the unit is what counts.
  while busy; do sleep 0.5; done
  property() { systemctl show -p "$1" "$job.service" | cut -d= -f2-; }
  if [ "$(systemctl is-active "$job.service")" = active ]; then forget; return 0; fi
  status=$(property ExecMainStatus) result=$(property Result)
  case $result in
    exit-code)
      # From 200 on it may be systemd's own word (systemd.exec(5), "Process Exit Codes").
      [ "$status" -lt 200 ] || journalctl -q -n 5 --no-pager -o cat -u "$job.service" >&2
      ;;
    signal | core-dump) status=$((128 + status)) ;;
    oom-kill) say "it used more memory than it may; \`memory-max\` of \`migrate\` allows more" >&2; status=137 ;;
    timeout) say "it took longer than $limit s, the \`timeout\` of \`migrate\`" >&2; status=124 ;;
    *)
      cat "$scratch/said" >&2
      journalctl -q -n 5 --no-pager -o cat -u "$job.service" >&2
      ;;
  esac
  forget
  [ "$status" -gt 0 ] || status=1
  return "$status"
}

by_itself() {
  unshare -m true 2>/dev/null ||
    fail "a migration sees the new release in its place alone, which takes systemd or mount namespaces, and neither is here"
  (umask 077 && printf '%s\n' "$exports" >"$scratch/exports" && printf '%s\n' "$variables_sh" >"$scratch/variables") || return 1
  # shellcheck disable=SC2016 # it is the other shell that expands it
  set -- sh -c 'cd "$0" || exit
    if [ -n "$STATE_DIRECTORY" ] && [ -e .pkgapp/fill ]; then sh "$0/.pkgapp/fill"; fi
    exec "$@"' "$prefix" "$@"
  if [ -n "$user" ]; then
    group=${group:-$(id -gn "$user")}
    numbers=$(id -G "$user") || return 1
    for each in $groups; do numbers="$numbers $(getent group "$each" | cut -d: -f3)"; done
    set -- setpriv --reuid "$user" --regid "$group" --groups "$(printf %s "$numbers" | tr ' ' ',')" "$@"
    HOME=$(getent passwd "$user" | cut -d: -f6) USER=$user LOGNAME=$user
    export HOME USER LOGNAME
  fi
  if [ -n "$directory" ]; then
    STATE_DIRECTORY=/var/lib/$directory CACHE_DIRECTORY=/var/cache/$directory LOGS_DIRECTORY=/var/log/$directory
    export STATE_DIRECTORY CACHE_DIRECTORY LOGS_DIRECTORY
    for own in "$STATE_DIRECTORY" "$CACHE_DIRECTORY" "$LOGS_DIRECTORY"; do
      [ -d "$own" ] || install -d -m 0750 -o "$user" -g "$group" "$own" || return 1
    done
  fi
  set -- -- "$@"
  while IFS= read -r to; do
    [ -z "$to" ] || set -- "$to" "$@"
  done <<PLACES
$places
PLACES
  set -- unshare -m sh -c 'while [ "$1" != -- ]; do mount --bind "$0$1" "$1" || exit 1; shift; done; shift; exec "$@"' "$root" "$@"
  if [ -n "$limit" ]; then set -- timeout "$limit" "$@"; fi
  set -- -- sh -c '. "$0" && exec "$@"' "$scratch/variables" "$@"
  while IFS= read -r file; do
    [ -z "$file" ] || set -- "$file" "$@"
  done <<FILES
$reversed
FILES
  trap '' HUP
  (
    unset LC_ALL
    umask "$mask"
    PATH=$prefix/bin:$PATH
    # shellcheck disable=SC1091  # written above
    . "$scratch/exports"
    with_environment "$@"
  ) >"$log" 2>&1 &
  program=$!
  tail -n +1 -f -s 0.1 --pid=$program "$log" &
  wait $program
  status=$?
  wait
  return $status
}

if [ -d /run/systemd/system ]; then by_systemd; else by_itself "$@"; fi
status=$?
# Where it was mounted, nothing is left.
rm -rf "$scratch"
while IFS= read -r at; do
  [ -z "$at" ] || rmdir "$at" 2>/dev/null
done <<MADE
$made
MADE
[ $status = 0 ] || exit $status
put_file "$mark" "$(now)"
