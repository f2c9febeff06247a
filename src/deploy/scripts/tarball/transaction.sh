# One transaction of pkgapp where nobody is root: brings `current` and all that belongs to it to one release, and back to the one
# before if that fails, does not work, or is not confirmed. It may be run again after a reboot in the middle: until `current` is
# renamed all leads to the one release, from then on to the other. See transaction.sh for the files around it.
settle_disk() { sync -f "$into" "$unit_files" 2>/dev/null || sync; }

finish() { # RESULT WHY
  left=$(if [ -f "$dir/left" ]; then sort -u "$dir/left" | while read -r left; do [ ! -e "${left#left=}" ] || say "$left"; done; fi) || exit 1
  # The disk may be full: there is space for this. If something else was faster, it is done again by the next push or boot.
  rm -f "$dir/reserve"
  { printf 'result=%s\nversion=%s\nwhy=%s\n' "$1" "$(installed)" "$2" && { [ -z "$left" ] || say "$left"; }; } >"$dir/result.new" || exit 1
  [ "$moment" = early ] || forget_unit
  note_return "$1"
  settle_disk
  mv "$dir/result.new" "$dir/result"
  to_disk "$dir"
  if has_systemd; then SYSTEMD_OFFLINE=0 ctl daemon-reload 6>&- 8>&-; fi
  exit 0
}

put() { # FROM TO: whole or not at all, with FROM's mode
  if mkdir -p "${2%/*}" && cp -p "$1" "$2.pkgapp-tmp" && to_disk "$2.pkgapp-tmp" && mv -fT "$2.pkgapp-tmp" "$2"; then return 0; fi
  rm -f "$2.pkgapp-tmp"
  return 1
}

# Configuration is the user's once it was changed: as dpkg does with conffiles, what was shipped last decides.
place_configuration() { # KEPT
  (cd "$1/host" && find etc -type f) >"$dir/configuration" || return 1
  while read -r path; do
    shipped=$state/shipped/$path target=$into/shared/$path new=$1/host/$path
    if cmp -s "$new" "$target" || { [ ! -e "$target" ] && [ ! -e "$shipped" ]; } || { [ -e "$shipped" ] && cmp -s "$shipped" "$target"; }; then
      cmp -s "$new" "$target" || put "$new" "$target" || return 1
      rm -f "$target.pkgapp-new"
    elif [ -e "$1/good" ]; then
      # It ran with the user's own already.
      rm -f "$target.pkgapp-new"
    elif ! cmp -s "$shipped" "$new"; then
      put "$new" "$target.pkgapp-new" || return 1
      say "left=$target.pkgapp-new" >>"$dir/left"
    fi
    cmp -s "$shipped" "$new" || put "$new" "$shipped" || return 1
  done <"$dir/configuration"
  while read -r path; do
    if [ ! -e "$into/shared/$path" ]; then
      mkdir -p "$into/shared/${path%/*}" && (umask 077 && : >"$into/shared/$path") || return 1
    fi
  done <"$1/host/secrets"
  while read -r path; do
    if [ ! -d "$into/shared/$path" ]; then mkdir -p "$into/shared/$path" && chmod 750 "$into/shared/$path" || return 1; fi
  done <"$1/host/directories"
}

# Units that nothing enables any more end; what is enabled for the first time is noted for `start_all`.
place_units() { # KEPT or nothing
  : >"$dir/fresh"
  : >"$dir/changed"
  touch "$state/enabled" "$state/units"
  if [ "$PKGAPP_UNITS" != user ]; then return 0; fi
  mkdir -p "$unit_files" || return 1
  while read -r unit; do
    if [ -z "$1" ] || ! grep -qxF "$unit" "$1/host/enabled"; then run ctl --quiet disable --now "$unit"; fi
  done <"$state/enabled"
  while read -r unit; do
    if [ -n "$unit" ] && { [ -z "$1" ] || [ ! -e "$1/host/units/$unit" ]; }; then rm -f "$unit_files/$unit"; fi
  done <"$state/units"
  if [ -z "$1" ]; then
    : >"$state/units"
    : >"$state/enabled"
  else
    # First noted, then placed: what is there is always known.
    put_file "$state/units" "$({ cat "$state/units"; ls "$1/host/units"; } | sort -u)" || return 1
    for unit in "$1/host/units"/*; do
      [ -f "$unit" ] || continue
      cmp -s "$unit" "$unit_files/${unit##*/}" && continue
      say "${unit##*/}" >>"$dir/changed"
      put "$unit" "$unit_files/${unit##*/}" || return 1
    done
    grep -vxFf "$state/enabled" "$1/host/enabled" >"$dir/fresh"
    put_file "$state/units" "$(ls "$1/host/units")" || return 1
  fi
  if has_systemd; then run ctl daemon-reload; fi
}

# Lines of ours stand at the end of the user's crontab, between two marks.
place_crontab() { # KEPT or nothing
  command -v crontab >/dev/null || return 0
  begin="# >>> $name, by pkgapp, in $into" end="# <<< $name, by pkgapp, in $into"
  if ! crontab -l >"$dir/crontab" 2>"$dir/crontab.said" && ! grep -qi 'no crontab' "$dir/crontab.said"; then
    [ -n "$1" ] && [ -s "$1/host/crontab" ] || return 0
    cat "$dir/crontab.said"
    return 1
  fi
  {
    awk -v begin="$begin" -v end="$end" '$0 == begin { ours = 1 } !ours { print } $0 == end { ours = 0 }' "$dir/crontab"
    if [ -n "$1" ] && [ -s "$1/host/crontab" ]; then
      say "$begin"
      cat "$1/host/crontab"
      # A variable holds for all lines below it.
      if grep -q '^MAILTO=' "$1/host/crontab"; then say "MAILTO=$login"; fi
      say "$end"
    fi
  } >"$dir/crontab.new"
  cmp -s "$dir/crontab" "$dir/crontab.new" && return 0
  run crontab "$dir/crontab.new"
}

point() { # ID: the switch itself is one rename; what belongs to the release is on the disk before
  { [ ! -d "$unit_files" ] || to_disk "$unit_files"; } && { sync -f "$into" 2>/dev/null || sync; } &&
    run ln -sfn "releases/$1" "$into/.current.pkgapp-new" && run mv -fT "$into/.current.pkgapp-new" "$into/current" && to_disk "$into"
}

start_all() { # KEPT
  if [ "$PKGAPP_UNITS" != user ] || [ ! -s "$1/host/enabled" ]; then return 0; fi
  if ! has_systemd; then
    say "$login does not linger, so nothing that it starts stays: ask root for \`loginctl enable-linger $login\`"
    return 1
  fi
  while read -r unit; do run ctl --quiet enable "$unit" || return 1; done <"$dir/fresh"
  # Noted only now: whatever was interrupted before is enabled by the next try.
  put "$1/host/enabled" "$state/enabled" || return 1
  # The boot starts them when this has ended.
  [ "$moment" != early ] || return 0
  sockets='' services='' timers='' targets='' new_sockets=''
  while read -r unit; do
    # What the user has disabled stays so.
    [ "$(ctl is-enabled "$unit" 2>/dev/null)" = enabled ] || continue
    case $unit in
      *.socket)
        sockets="$sockets $unit"
        if grep -qxF "$unit" "$dir/changed"; then new_sockets="$new_sockets $unit"; fi
        ;;
      *.service)
        if ctl is-active --quiet "$unit" && ctl cat "$unit" | grep -qx 'X-Pkgapp-OnUpgrade=keep'; then continue; fi
        services="$services $unit"
        ;;
      *.timer) timers="$timers $unit" ;;
      *) targets="$targets $unit" ;;
    esac
  done <"$1/host/enabled"
  # shellcheck disable=SC2086  # names of units hold no spaces
  {
    ctl reset-failed $services $sockets 2>/dev/null 6>&- 8>&-
    # A socket that is listening goes on to: who connects waits for the new service. It is changed only without one.
    if [ -n "$new_sockets" ]; then run ctl stop $services && run ctl restart $new_sockets || return 1; fi
    if [ -n "$sockets" ]; then run ctl start $sockets || return 1; fi
    if [ -n "$services" ]; then run ctl restart $services || return 1; fi
    if [ -n "$timers" ]; then run ctl restart $timers || return 1; fi
    if [ -n "$targets" ]; then run ctl start $targets || return 1; fi
  }
  for unit in $services; do
    if ctl is-failed --quiet "$unit"; then journal -n 10 --no-pager -o short-iso -u "$unit"; return 1; fi
  done
}

# bring ID SHA256 RECORD: to a release and, without one, to none.
bring() {
  if [ -z "$1" ]; then
    place_units "" && place_crontab "" && rm -f "$into/current" && return 0
    why="the release could not be taken out of service"
    return 1
  fi
  kept=$packages/$2
  if [ "$(sha256sum <"$into/releases/$1/.pkgapp/release.json" 2>/dev/null | cut -d' ' -f1)" != "$3" ] || [ ! -d "$kept/host" ]; then
    why="$into/releases/$1 is not whole"
    return 1
  fi
  place_configuration "$kept" || { why="the configuration could not be put in place"; return 1; }
  place_units "$kept" || { why="the units could not be put in place"; return 1; }
  point "$1" || { why="$into/current could not be switched"; return 1; }
  place_crontab "$kept" || { why="the crontab could not be changed"; return 1; }
  start_all "$kept" || { why="its units do not run"; return 1; }
  [ "$(installed)" = "$1" ] || { why="$into/current leads to $(installed)"; return 1; }
}

go_there() {
  rm -f "$dir/untried"
  bring "$version" "$sum" "$record"
}
go_back() { # RESULT REASON
  if [ "$back" = none ]; then finish failed "$2"; fi
  say "back to ${back_version:-no release}"
  bring "$back_version" "$back_sum" "$back_record" && finish "$1" "$2"
  finish failed "$2; and back: $why"
}
give_up() {
  reason=$why
  say "$reason"
  go_back restored "$reason"
}
