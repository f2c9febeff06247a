# Says how an installed application is: its files by the package manager, and its units.
#   name   the application's
if [ -f "$state/history.jsonl" ]; then fact deployed "$(whole_lines "$state/history.jsonl" | tail -n1)"; fi
# The verifier exits with a status other than 0 if something differs, and that is no failure here.
for each in "$name" $(own_configuration); do changed_files "$each"; done 2>/dev/null |
  while read -r line; do fact drifted "$line"; done
if [ -d /run/systemd/system ]; then
  units_of | while read -r unit; do
    fact unit "$unit $(systemctl is-active "$unit") $(systemctl is-enabled "$unit" 2>/dev/null)"
  done
fi
