# Says how the release is that `current` leads to: its files by what was unpacked, configuration by what was shipped, and
# its units. Arguments: the application's name.
name=$1
if [ -f "$state/history.jsonl" ]; then fact deployed "$(whole_lines "$state/history.jsonl" | tail -n1)"; fi
id=$(installed)
kept=$(kept_of "$id")
if [ -n "$kept" ] && [ -f "$kept/files" ]; then
  # In the letters of `rpm -V`: 5 for content, L for a link, c for configuration.
  (
    cd "$into/releases/$id" || exit
    grep -v '^link  ' "$kept/files" | sha256sum -c --quiet 2>/dev/null |
      sed -n "s#^\.\(.*\): FAILED open or read\$#missing     $into/current\1#p;s#^\.\(.*\): FAILED\$#..5......   $into/current\1#p"
    sed -n 's/^link  //p' "$kept/files" | while read -r line; do
      path=${line%% -> *}
      [ "$(readlink "$path")" = "${line#* -> }" ] || say "....L....   $into/current${path#.}"
    done
    cd "$kept/host" && find units -type f | while read -r unit; do
      [ "$PKGAPP_UNITS" = user ] || break
      cmp -s "$unit" "$unit_files/${unit#units/}" || say "..5......   $unit_files/${unit#units/}"
    done
    find etc -type f | while read -r path; do
      cmp -s "$path" "$into/shared/$path" || say "..5...... c $into/shared/$path"
    done
  ) | while read -r line; do fact drifted "$line"; done
fi
if has_systemd; then
  units_of | while read -r unit; do
    fact unit "$unit $(ctl is-active "$unit") $(ctl is-enabled "$unit" 2>/dev/null)"
  done
fi
