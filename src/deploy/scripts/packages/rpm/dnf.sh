# dnf or yum, over rpm: `manager` says which.
offered_version() {
  case $manager in
    dnf) dnf -q -C repoquery --qf '%{evr}\n' "$1" 2>/dev/null ;;
    *) has repoquery && repoquery -C --qf '%{evr}' "$1" 2>/dev/null ;;
  esac | grep . | tail -n1
}
# Where it is said: dnf.conf(5).
manager_insists() {
  for file in /usr/share/dnf5/libdnf.conf.d/*.conf /etc/dnf/libdnf5.conf.d/*.conf /etc/yum.conf /etc/dnf/dnf.conf; do
    [ ! -r "$file" ] || sed "s|^|$file:|" "$file"
  done | awk -v manager="$manager" '
    { at = index($0, ":"); file = substr($0, 1, at - 1); line = substr($0, at + 1); gsub(/[ \t\r]/, "", line) }
    line ~ /^\[/ { main = (line == "[main]") }
    main && line ~ /^localpkg_gpgcheck=/ { value = tolower(substr(line, 19)); said = file }
    END { if (value ~ /^(1|yes|true|on)$/) print manager ", by `localpkg_gpgcheck` in " said }' | grep .
}
offered() {
  if has dnf; then dnf -q --setopt='*.skip_if_unavailable=True' repoquery --whatprovides="$1" 2>/dev/null | grep -q .
  elif has repoquery; then repoquery --whatprovides="$1" 2>/dev/null | grep -q .; fi
}
# Which of them has the option `exit_on_lock`: all but dnf5.
exits_on_lock() { case $(readlink -f "$(command -v "$manager")") in *dnf5) return 1 ;; esac; }

# dnf by itself would wait for a lock for ever; pkgapp tells it to end then, where it has that option.
call() {
  waited=0
  while :; do
    run "$@"
    status=$?
    # 200: "there was a problem with acquiring of locks" (dnf(8), "Exit codes").
    if [ $status != 200 ] || [ $waited -ge "$lock_wait" ]; then return $status; fi
    sleep 2
    waited=$((waited + 2))
  done
}
# becomes_other_arch FILE: dnf does not make a package of another architecture older: from compiled code back to none, say.
becomes_other_arch() {
  its_arch=$(rpm -q --qf '%{ARCH}' "$(rpm -qp --qf '%{NAME}' "$1" 2>/dev/null)") &&
    [ "$(rpm -qp --qf '%{ARCH}' "$1" 2>/dev/null)" != "$its_arch" ]
}
# install_needs FILE...: installs what these packages need besides each other, as rpm has no repositories.
install_needs() {
  rpm -U --test --oldpackage --replacepkgs "$@" 2>&1 | sed -n 's/^[[:space:]]*\(.*\) is needed by [^(].*/\1/p' | sort -u >"$dir/needs"
  [ -s "$dir/needs" ] || return 0
  set --
  while IFS= read -r need; do set -- "$@" "$need"; done <"$dir/needs"
  carry_out install "$@"
}
# install_packages FILE...: installs the files and `with`, and removes `gone`.
install_packages() {
  if [ -n "$with" ]; then
    with_way=$(way "$with_before" "$interpreter_version")
    if [ $# = 0 ] || [ "$with_way" = "$ways" ]; then
      set -- "$with" "$@"
      ways=$with_way
    else
      # Two calls: none of dnf's words means both.
      carry_out "$with_way" "$with" || return
    fi
  fi
  case $ways in
    '' | *' '*)
      install_needs "$@" && install_at_once "$@"
      return
      ;;
    downgrade) for each; do if becomes_other_arch "$each"; then install_needs "$@" && install_at_once "$@"; return; fi; done ;;
  esac
  if only_gone_lack "$@"; then set -- --allowerasing "$@"; fi
  carry_out "$ways" "$@"
}
