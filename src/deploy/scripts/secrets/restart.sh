# Restarts what reads the file of secrets, if that has changed. A socket that listens goes on to: who connects waits for the new
# service.
hold_lock
[ -e "$secrets/pending" ] || [ -e "$secrets/pending_files" ] || { say "nothing reads anything new"; exit 0; }
paths=$(printf '%s_FILE|' $credentials)
reads() { # UNIT
  if [ -e "$secrets/pending_files" ] && [ -n "$credentials" ] &&
    ctl show -p Environment "$1" | grep -qE "[= \"](${paths%|})=" && ! has_new pending_files "$1"; then return 0; fi
  [ -e "$secrets/pending" ] && ! has_new pending "$1" || return 1
  ctl show -p EnvironmentFiles "$1" | sed -n 's/^EnvironmentFiles\{0,1\}=//; s/ (ignore_errors=[a-z]*)$//p' | grep -qxF -- "$file"
}
# What somebody has disabled or stopped stays so. What has failed may have lacked the secret.
runs_enabled() { # UNIT
  case $(ctl is-enabled "$1" 2>/dev/null) in enabled | enabled-runtime) ;; *) return 1 ;; esac
  case $(ctl is-active "$1" 2>/dev/null) in active | activating | reloading | failed) ;; *) return 1 ;; esac
}
# has_new MARK UNIT: its process has started after the change, and has read what is new.
has_new() {
  changed_=$(sed -n 2p "$secrets/$1") started_=$(ctl show -p ExecMainStartTimestampMonotonic "$2" | cut -d= -f2)
  [ "${changed_%% *}" = "$(boot_id)" ] && is_number "${changed_##* }" && is_number "$started_" &&
    [ "$started_" -gt "${changed_##* }" ]
}
readers=
if has_systemd; then
  for unit in $(units_of); do
    case $unit in *.service) ;; *) continue ;; esac
    if runs_enabled "$unit" && reads "$unit"; then readers="$readers $unit"; fi
  done
fi
if [ -n "$readers" ]; then
  say "restarting$readers"
  # A service that has failed too often in too short a time would not start (systemd.unit(5), StartLimitBurst=).
  # shellcheck disable=SC2086  # words
  ctl reset-failed $readers 2>/dev/null
  # shellcheck disable=SC2086
  ctl restart $readers || fail "these could not be restarted:$readers"
fi
rm -f "$secrets/pending" "$secrets/pending_files"
