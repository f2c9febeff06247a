# Says how an installed application is: its files by the package manager, and its units. Arguments: its name, its prefix.
name=$1 prefix=$2
if [ -f "$state/history.jsonl" ]; then fact deployed "$(whole_lines "$state/history.jsonl" | tail -n1)"; fi
# Both verifiers exit with a status other than 0 if something differs, and that is no failure here.
# A conffile that an earlier version had is not missing.
{ if command -v dpkg >/dev/null 2>&1; then
  dpkg -V "$name" | grep -vxF "$(dpkg-query -W -f '${Conffiles}\n' "$name" | sed -n 's/^ \(.*\) [0-9a-f]* obsolete$/missing   c \1/p')"
else rpm -V "$name" | grep -v ' is not installed$'; fi; } 2>/dev/null |
  while read -r line; do fact drifted "$line"; done
if [ -d /run/systemd/system ]; then
  units_of | while read -r unit; do
    fact unit "$unit $(systemctl is-active "$unit") $(systemctl is-enabled "$unit" 2>/dev/null)"
  done
fi
