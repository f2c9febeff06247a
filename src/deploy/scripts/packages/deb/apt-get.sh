# apt-get, over dpkg.
# Some administrators let apt remount what is read-only at other times.
remounts() { apt-config dump DPkg::Pre-Invoke 2>/dev/null | grep -q remount; }
offered_version() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: *//p' | head -n1 | grep -vxF '(none)'; }
# apt is asked only about what is not there: all at once, and one by one only to name what is missing.
unmet() {
  [ -n "$1" ] || return 0
  set -- "$(not_installed "$1")"
  if [ -z "$1" ] || apt-get -s -qq satisfy "$(printf %s "$1" | tr '\n' ',')" >/dev/null 2>&1; then return; fi
  printf '%s\n' "$1" | while read -r relation; do
    [ -z "$relation" ] || apt-get -s -qq satisfy "$relation" >/dev/null 2>&1 || say "$relation"
  done
}

# only_replaces FILE...: whether they take the place of installed packages, or some are `gone`, and apt would remove no others.
only_replaces() {
  goes=$gone
  for each; do
    case $each in *-) ;; *) for other in $(replaced "$each"); do goes="$goes $other"; done ;; esac
  done
  [ -n "$goes" ] || return
  for each in $(apt-get -s -qq --no-install-recommends --allow-downgrades install "$@" 2>/dev/null | sed -n 's/^Remv \([^ ]*\).*/\1/p'); do
    case "$goes " in *" $each "*) ;; *) return 1 ;; esac
  done
}
# install_packages FILE...: installs the files and `with`, and removes `gone`.
install_packages() {
  if [ -n "$with" ]; then set -- "$with" "$@"; fi
  # What it depends on may be missing yet; that is apt's.
  if is_torn; then carry_out unpack "$@"; fi
  case $ways in
    reinstall) if [ $# = 1 ]; then way_=reinstall; else way_=reinstall_with; fi ;;
    *reinstall*) way_=reinstall_with ;;
    *) way_=install ;;
  esac
  for each in $gone; do set -- "$@" "$each-"; done
  # Nothing but what the package replaces is removed.
  case $way_:$gone in
    install:*) if only_replaces "$@"; then way_=replace; fi ;;
    *:?*) if only_replaces "$@"; then way_=replace; set -- --reinstall "$@"; fi ;;
  esac
  carry_out "$way_" "$@"
}
