# zypper, over rpm.
offered_version() {
  zypper -q --non-interactive --no-refresh search -s -t package --match-exact "$1" 2>/dev/null |
    awk -F'|' 'NR > 2 { gsub(/ /, "", $4); v = $4 } END { print v }'
}
# 104: "no capability was found" (zypper(8), "Exit codes").
offered() { zypper -q --non-interactive --no-refresh search --provides --match-exact -- "$1" >/dev/null 2>&1; [ $? != 104 ]; }
install_packages() { # FILE...
  for each in $gone; do set -- "$@" "!$each"; done
  carry_out install ${with:+"$with"} "$@"
}
