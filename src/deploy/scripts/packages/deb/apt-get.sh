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

# only_replaces FILE: whether it takes the place of installed packages, and apt would remove no others.
only_replaces() {
  goes=$(replaced "$1" | tr '\n' ' ')
  [ -n "$goes" ] || return
  for each in $(apt-get -s -qq --no-install-recommends --allow-downgrades install "$1" 2>/dev/null | sed -n 's/^Remv \([^ ]*\).*/\1/p'); do
    case " $goes" in *" $each "*) ;; *) return 1 ;; esac
  done
}
install_packages() { # WAY FILE...
  way_=$1
  shift
  # What it depends on may be missing yet; that is apt's.
  if is_torn; then carry_out unpack "$@"; fi
  case ${with:+with_}$way_ in
    with_reinstall) way_=reinstall_with ;;
    # Nothing but what the package replaces is removed.
    install | downgrade) if only_replaces "$1"; then way_=replace; fi ;;
  esac
  carry_out "$way_" "$@"
}
