# One transaction of pkgapp: brings the packages of an application, and back those of before if that fails, does not work, or is not
# confirmed. Nobody needs to watch: its output is in `log`, its progress in `phase`, and its end in `result`. It may be run
# again after a reboot in the middle. Before it stand the functions of the host's package manager, works.sh, probation.sh, and
# process.sh; after it stands activation.sh, which calls its functions.
LC_ALL=C PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin HOME=/root
DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l APT_LISTCHANGES_FRONTEND=none UCF_FORCE_CONFFOLD=1 ZYPP_LOCK_TIMEOUT=$lock_wait
# For the scripts of configuration packages.
PKGAPP_CHECKS=$check
export LC_ALL PATH HOME DEBIAN_FRONTEND NEEDRESTART_MODE APT_LISTCHANGES_FRONTEND UCF_FORCE_CONFFOLD ZYPP_LOCK_TIMEOUT PKGAPP_CHECKS

finish() { # RESULT WHY [SAID]
  if [ -n "${3-}" ]; then say "the scripts of $name $version said:"; say "$3"; fi
  left=$(put_aside "$dir/parameters" | sed 's/^/left=/')
  # The disk may be full: there is space for this. If something else was faster, it is done again by the next push or boot.
  rm -f "$dir/reserve"
  # A boot that has not started the application yet has units to start that have changed.
  if [ -n "${SYSTEMD_OFFLINE-}" ]; then SYSTEMD_OFFLINE=0 run ctl daemon-reload; fi
  { printf 'result=%s\nversion=%s\nwhy=%s\n' "$1" "${there-$(installed)}" "$2" && { [ -z "$left" ] || say "$left"; }; } >"$dir/result.new" || exit 1
  [ "$moment" = early ] || forget_unit
  note_return "$1"
  settle_disk
  mv "$dir/result.new" "$dir/result"
  sync "$dir" 2>/dev/null || sync
  # systemd forgets the unit, which nothing needs by then, without being told to read everything again.
  exit 0
}

# The release, what says so, and all that the package manager has written, as far as it does not see to that itself.
settle_disk() { sync -f "$prefix" "$dir" /etc /usr /var/lib 2>/dev/null || sync; }
# carry_out WAY ARGUMENT...: runs the command for a way that pkgapp has built (`PackageCommands`), and that `--dry-run` prints.
carry_out() {
  eval "words_=\$to_$1"
  shift
  eval "call $words_ \"\$@\""
}
# way BEFORE VERSION: how one becomes the other.
way() {
  if [ -z "$1" ]; then say install
  elif [ "$1" = "$2" ]; then say reinstall
  elif [ "$(compared "$1" "$2")" = 1 ]; then say downgrade
  else say install; fi
}
# replaced FILE: the installed packages whose place it takes, such as the application under an earlier name.
replaced() { replaced_by "$1" | while read -r other; do [ -z "$(version_of "$other")" ] || say "$other"; done; }
# note_replaced FILE: what goes with its installation, and the package that would bring that back, if a push has kept it.
note_replaced() {
  : >"${dir%/*}/replaced"
  for other in $(replaced "$1"); do
    kept=$(dirname "$(dirname "$dir")")/$other
    package=$(find "$kept/packages/$(head -n1 "$kept/current" 2>/dev/null)" -maxdepth 1 -name "${other}[_-]*.$kind" 2>/dev/null | head -n1)
    say "$other $(version_of "$other") is replaced${package:+, and comes back if this fails}"
    if [ -n "$package" ]; then say "$package" >>"${dir%/*}/replaced"; fi
  done
}
bring_replaced_back() {
  [ -s "${dir%/*}/replaced" ] || return 0
  while read -r package; do
    carry_out bring_back "$package" || { why="what it replaced did not come back: $package"; return 1; }
  done <"${dir%/*}/replaced"
}
# aim_there, aim_back: what `bring` goes to. `packages` are the application's, a line each, NAME VERSION SHA256 FILE, the one with the
# release first, or nothing; `package_version` and `package_record` are those of the release; `interpreter_*` what is done about
# the interpreter.
aim_there() {
  packages=$files package_version=$version package_record=$record
  interpreter_way=$runtime_way interpreter_file=$runtime_file interpreter_sum=$runtime_sum
  interpreter_version=$runtime_version interpreter_from=$runtime_from
}
aim_back() {
  packages=$back_files package_version=$back_version package_record=$back_record
  interpreter_way=$back_runtime_way interpreter_file=$back_runtime_file interpreter_sum=$back_runtime_sum
  interpreter_version=$back_runtime_version interpreter_from=$back_runtime_from
}
# has_record: what is installed has the record of the release.
has_record() { [ -z "$package_record" ] || is_whole "$prefix/.pkgapp/release.json" "$package_record"; }
# What is installed counts, not what the package manager says.
proven() {
  there=$(installed)
  if [ "$there" != "$package_version" ]; then why="version $package_version is not installed, but $there"; return 1; fi
  has_record || { why="$prefix/.pkgapp/release.json is not the one of the package"; return 1; }
  while read -r its_name its_version _; do
    if [ "$(version_of "$its_name")" != "$its_version" ]; then
      why="version $its_version of $its_name is not installed, but $(version_of "$its_name")"; return 1
    fi
  done <<PACKAGES
$packages
PACKAGES
  for each in $(installed_parts); do
    if ! is_part "$each"; then why="$each $(version_of "$each") is still installed"; return 1; fi
  done
  if [ -n "$with" ] && [ "$(version_of "$runtime")" != "$interpreter_version" ]; then
    why="version $interpreter_version of $runtime is not installed, but $(version_of "$runtime")"; return 1
  fi
  if [ "/run/pkgapp/$name/failed" -nt "$dir/parameters" ]; then
    why="these units do not run: $(tr '\n' ' ' <"/run/pkgapp/$name/failed")"; return 1
  fi
}
# installed_parts: the names of the application's packages that are there, in whole or in part; `parts` are all that it may have.
installed_parts() {
  for each in $parts; do
    its_status=$(status_of "$each")
    [ -z "$(version_in "$its_status")$(half_in "$its_status")" ] || say "$each"
  done
}
states() { for each in $parts; do say "$each $(status_of "$each")"; done; }
is_part() { case "$newline$packages" in *"$newline$1 "*) ;; *) return 1 ;; esac; } # NAME
# choose_packages [all]: sets `coming` to the files that are installed, a line each, and `ways` to how they compare with what is
# there, each word once. Without `all`, what is in place stays. `gone` are the names of packages that are not part of the release.
choose_packages() {
  coming='' ways='' gone=''
  while read -r its_name its_version its_sum its_file; do
    is_whole "$its_file" "$its_sum" || return 1
    its_before=$(version_of "$its_name")
    if [ -z "${1-}" ] && [ "$its_before" = "$its_version" ] && { [ "$its_name" != "$name" ] || has_record; }; then continue; fi
    its_way=$(way "$its_before" "$its_version")
    coming=$coming$its_file$newline
    case " $ways " in *" $its_way "*) ;; *) ways=${ways:+$ways }$its_way ;; esac
  done <<PACKAGES
$packages
PACKAGES
  for each in $(installed_parts); do is_part "$each" || gone="$gone $each"; done
}
# The release itself is to blame: it was installed and does not run, or one of its scripts has failed. A package manager that
# could not begin (a lock, no space, a dependency that nobody offers) says nothing about the release.
guilty() {
  [ "$states_before" != "$(states)" ] && [ "$(installed)" = "$package_version" ] && return 0
  [ "/run/pkgapp/$name/failed" -nt "$dir/parameters" ] && return 0
  tail -c "+$((begun + 1))" "$dir/log" | script_failures | grep -qF -- "$name"
}
# Nothing has happened to the installation: no file of the prefix was touched since it was tried.
untouched() {
  [ "$states_before" = "$(states)" ] || return 1
  [ -z "$runtime" ] || [ "$with_before" = "$(version_of "$runtime")" ] || return 1
  [ ! -e "$prefix" ] || [ -z "$(find "$prefix" -xdev -newercc "$dir/tried" -print -quit)" ]
}
# is_whole FILE SHA256
is_whole() {
  case $(sha256sum <"$1") in "$2 "*) ;; *) why="$1 is damaged"; return 1 ;; esac
}
# Sets `with` to the interpreter's package that is installed in the same call, or to nothing. `up` is unless what is there is as
# new, `down` if what this push has brought is still there; other applications may have got a newer one since.
choose_runtime() {
  with='' with_before=''
  [ -n "$runtime" ] || return 0
  with_before=$(version_of "$runtime")
  case $interpreter_way in
    up) [ -z "$with_before" ] || [ "$(compared "$with_before" "$interpreter_version")" = -1 ] || return 0 ;;
    down) [ "$with_before" = "$interpreter_from" ] || return 0 ;;
    *) return 0 ;;
  esac
  is_whole "$interpreter_file" "$interpreter_sum" && with=$interpreter_file
}
# Removes the interpreter that this push has brought, if that is its way and no other application needs it: dpkg and rpm know.
drop_runtime() {
  [ "$interpreter_way" = remove ] && [ "$(version_of "$runtime")" = "$interpreter_from" ] || return 0
  carry_out remove_runtime "$runtime" || say "$runtime stays"
}
# Brings the application and its interpreter to what is aimed at.
bring() {
  states_before=$(states) begun=$(stat -c %s "$dir/log")
  unset there
  : >"$dir/tried"
  choose_runtime || return 1
  if [ -z "$packages" ]; then
    if [ -n "$(installed_parts)" ]; then
      remove_packages
      status=$?
      if [ -n "$(installed)" ]; then why="the package manager did not remove $(installed); its exit status was $status"; return 1; fi
    fi
    drop_runtime
    bring_replaced_back
    return
  fi
  choose_packages || return 1
  if [ -z "$coming$gone" ] && { [ -z "$with" ] || ! (with=; proven); }; then choose_packages all || return 1; fi
  its_file=${packages%%"$newline"*} its_file=/${its_file#*/}
  if [ -z "$(installed)" ] && [ ! -e "${dir%/*}/replaced" ]; then note_replaced "$its_file"; fi
  set --
  while IFS= read -r its_file; do
    [ -z "$its_file" ] || set -- "$@" "$its_file"
  done <<FILES
$coming
FILES
  # For the scripts of those that go.
  PKGAPP_SUCCESSOR=${gone:+$name}
  export PKGAPP_SUCCESSOR
  install_packages "$@"
  status=$?
  proven || { [ $status = 0 ] || why="$why; the package manager's exit status was $status"; return 1; }
  # Of a status other than 0 with everything in place, as for another package's trouble, only the log tells.
  if [ $status != 0 ]; then
    say "the package manager's exit status was $status, but $name $package_version is in place"
    if is_half_done; then repair; fi
  fi
  drop_runtime
}

# Brings the release of before back and ends.
go_back() { # RESULT REASON [SAID]
  if [ "$back" = none ]; then finish failed "$2"; fi
  repair
  say "back to ${back_version:-no installation}"
  aim_back
  bring && finish "$1" "$2" "${3-}"
  # What keeps the interpreter from going back, another application for one, does not keep this one.
  if [ -n "$with" ]; then
    repair
    interpreter_way=
    bring && finish "$1" "$2" "${3-}"
  fi
  finish failed "$2; and back: $why" "${3-}"
}
go_there() {
  if [ "$attempt" -gt 1 ] || [ ! -e "$dir/untried" ] || is_half_done; then repair; fi
  # It goes, as that needs no space.
  rm -f "$dir/untried"
  sync "$dir" 2>/dev/null || sync
  aim_there
  bring
}
# Says who is to blame, and goes back.
give_up() {
  reason=$why
  say "$reason"
  # Its scripts may have said why they refuse. The way back prints a lot, so that is repeated behind it.
  said=$(tail -c "+$((begun + 1))" "$dir/log" | grep -e "^$name: " | tail -n 10)
  if [ -n "$is_ill" ] || guilty; then result=restored
  else
    result=refused
    if untouched; then finish refused "$reason"; fi
  fi
  go_back "$result" "$reason" "$said"
}
