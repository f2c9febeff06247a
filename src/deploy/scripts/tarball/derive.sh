# For releases whose build has not made files for a login (`.pkgapp/login`, see fill.sh): those of earlier versions of pkgapp, which
# hosts keep for rollbacks and which may be pushed still, and those that have nothing outside of the prefix. The files are derived
# from what a package would put there.
#
# derive_login FROM TO: what a package would put outside of its prefix (FROM/etc, FROM/usr/lib/systemd/system, …), for a login
# that is not root:
#   TO/units/      units for the user's systemd: no User=, no sandbox that only root can build, paths below `into`
#   TO/enabled     which of them are enabled, in the order in which they are started
#   TO/etc/        configuration, for into/shared/etc
#   TO/secrets     files of secrets that services read and nobody ships
#   TO/directories where services may write
#   TO/crontab     lines for the user's crontab
#   TO/rules       a script for sed that leads paths of a package to where they lie here, for a migration
# /etc/NAME and /var/{lib,cache,log}/NAME lie below into/shared, /run/NAME below $XDG_RUNTIME_DIR, the prefix is into/current.

# What needs root, or a file system of its own (systemd.exec(5)); user managers refuse or ignore it. What stays is what the
# kernel lets everyone give up: system calls, address families, further rights.
for_root='User|Group|SupplementaryGroups|DynamicUser|PAMName|SocketUser|SocketGroup|(State|Cache|Logs|Configuration)DirectoryMode'
for_root="$for_root|ConfigurationDirectory|RootDirectory|RootImage|Protect[A-Za-z]*|Private[A-Za-z]*|RemoveIPC|ProcSubset"
for_root="$for_root|(ReadWrite|ReadOnly|Inaccessible|Exec|NoExec)Paths|Bind(ReadOnly)?Paths|TemporaryFileSystem|MountAPIVFS"
for_root="$for_root|CapabilityBoundingSet|AmbientCapabilities|SecureBits|OOMScoreAdjust|IOScheduling[A-Za-z]*|CPUScheduling[A-Za-z]*"

# What a release brings is text in sed's scripts, and neither a pattern nor, after its delimiter, a command.
literally() { printf %s "$1" | sed 's/[][\.*^$#]/\\&/g'; }
replacement() { printf %s "$1" | sed 's/[\\&#]/\\&/g'; }

# path_rules RUNTIME: a script for sed that leads the package's paths to where they lie here. Only whole names are taken, and
# each rule twice, as two matches share the character between them. What was put in is no path before the last rule.
path_rules() {
  here=$(printf '\001')
  rule() {
    once="s#\\(^\\|[^A-Za-z0-9_./~}]\\)$(literally "$1")\\(\$\\|[^A-Za-z0-9_.-]\\)#\\1$(replacement "$2")\\2#g"
    printf '%s\n%s\n' "$once" "$once"
  }
  rule "$prefix" "${here}current"
  for own in $own_directories; do
    for base in /etc /var/lib /var/cache /var/log; do rule "$base/$own" "${here}shared$base/$own"; done
    rule "/run/$own" "$1/$own"
  done
  rule "/etc/logrotate.d/$name" "${here}shared/etc/logrotate.d/$name"
  printf 's#%s#%s/#g\n' "$here" "$into"
}

derive_unit() {
  sed -E -e "s#^\\# Made by pkgapp.*#\\# Made by pkgapp. Change it with \`systemctl --user edit\`: an upgrade replaces this file.\\n\\# pkgapp: $into#" \
    -e "/^($for_root)=/d" -e '/^(After|Wants)=network(-online)?\.target$/d' -e 's/^WantedBy=multi-user\.target$/WantedBy=default.target/' \
    -e 's#^StateDirectory=(.*)#Environment=STATE_DIRECTORY=/var/lib/\1#' -e 's#^CacheDirectory=(.*)#Environment=CACHE_DIRECTORY=/var/cache/\1#' \
    -e 's#^LogsDirectory=(.*)#Environment=LOGS_DIRECTORY=/var/log/\1#' | sed -f "$2/rules.units"
}

derive_login() {
  from=$1 to=$2
  mkdir -p "$to/units" "$to/etc" || return 1
  : >"$to/rules" && : >"$to/enabled" && : >"$to/crontab" && : >"$to/secrets" && : >"$to/directories" || return 1
  [ -d "$from" ] || return 0
  systemd=$from/usr/lib/systemd/system cron=$from/etc/cron.d/$name
  # The prefix that it was really built for is in the PATH of everything that runs.
  built=$(cat "$systemd"/*.service "$cron" 2>/dev/null | sed -n 's#^\(Environment=\)\{0,1\}PATH=\(/[^:]*\)/bin:.*#\2#p' | head -n1)
  prefix=${built:-$prefix}
  own_directories=$({
    say "$name"
    cat "$systemd"/*.service 2>/dev/null | sed -n 's/^\(State\|Cache\|Logs\)Directory=//p'
    cat "$from/usr/lib/tmpfiles.d"/*.conf 2>/dev/null | sed -n 's#^d */var/[a-z]*/\([^ ]*\) .*#\1#p'
  } | tr ' ' '\n' | grep -v / | sort -ru)
  path_rules %t >"$to/rules.units"
  path_rules "$XDG_RUNTIME_DIR" >"$to/rules"

  for unit in "$systemd"/*; do
    [ -f "$unit" ] || continue
    derive_unit "$unit" "$to" <"$unit" >"$to/units/${unit##*/}" || return 1
  done
  sed -n 's/^enable //p' "$from/usr/lib/systemd/system-preset"/*.preset >"$to/enabled" 2>/dev/null

  (cd "$from/etc" 2>/dev/null && find . -type f ! -path './cron.d/*' ! -path './logrotate.d/*') | while read -r path; do
    mkdir -p "$to/etc/${path%/*}" && cp -p "$from/etc/$path" "$to/etc/$path" || return 1
    # Other than text is left as it is.
    if grep -Iq . "$from/etc/$path"; then sed -f "$to/rules" "$from/etc/$path" >"$to/etc/$path" || return 1; fi
  done || return 1
  derive_logs || return 1

  # Neither can whose job it is be chosen nor is a PATH of ours good for the lines that follow in the user's own crontab.
  if [ -f "$cron" ]; then
    path=$(sed -n 's/^PATH=//p' "$cron" | head -n1)
    sed -E -e '/^#/d' -e '/^(SHELL|PATH)=/d' -e "s#^((@[a-z]+|[^@[:space:]]+([[:space:]]+[^[:space:]]+){4})[[:space:]]+)[^[:space:]]+[[:space:]]+#\\1PATH=$(replacement "$path"); export PATH; #" \
      "$cron" | sed -f "$to/rules" >"$to/crontab" || return 1
  fi

  cat "$to/units"/*.service "$to/crontab" 2>/dev/null | grep -o "$(literally "$into")/shared/etc/$name/[A-Za-z0-9_./-]*" |
    sort -u | while read -r path; do
      path=${path#"$into/shared/"}
      [ -e "$to/$path" ] || say "$path"
    done >"$to/secrets"
  if [ -s "$to/enabled" ] || [ -s "$to/crontab" ]; then
    for own in $own_directories; do printf 'var/%s\n' "lib/$own" "cache/$own" "log/$own"; done >"$to/directories"
  fi
  rm -f "$to/rules.units"
}

# Logs are rotated by a timer of the user's own, with its own memory of when it did.
derive_logs() {
  logs=$from/etc/logrotate.d/$name
  [ -f "$logs" ] || return 0
  mkdir -p "$to/etc/logrotate.d" || return 1
  sed -E -e '/^ *su /d' -e 's/^( *create [0-7]+) .*/\1/' -e 's/systemctl /systemctl --user /g' "$logs" |
    sed -f "$to/rules" >"$to/etc/logrotate.d/$name" || return 1
  # The application's own timer of that name comes first.
  [ ! -e "$to/units/$name-logrotate.timer" ] || return 0
  often=daily
  if grep -q '^ *hourly' "$logs"; then often=hourly; fi
  cat >"$to/units/$name-logrotate.service" <<UNIT
# Made by pkgapp. Change it with \`systemctl --user edit\`: an upgrade replaces this file.
# pkgapp: $into

[Unit]
Description=$name: rotation of its logs

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'PATH=\$\$PATH:/usr/sbin:/sbin exec logrotate --state "$state/logrotate.status" "$into/shared/etc/logrotate.d/$name"'
UNIT
  cat >"$to/units/$name-logrotate.timer" <<UNIT
# Made by pkgapp. Change it with \`systemctl --user edit\`: an upgrade replaces this file.
# pkgapp: $into

[Unit]
Description=$name: when its logs are rotated
PartOf=$name.target

[Timer]
OnCalendar=$often
Persistent=yes

[Install]
WantedBy=$name.target
UNIT
  say "$name-logrotate.timer" >>"$to/enabled"
  if [ ! -e "$to/units/$name.target" ]; then
    # Nothing else runs: there is no target to belong to.
    sed -i -e '/^PartOf=/d' -e 's/^WantedBy=.*/WantedBy=timers.target/' "$to/units/$name-logrotate.timer"
  fi
}
