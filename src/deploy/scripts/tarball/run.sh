# Runs a command like a service of the release that `current` leads to: with its directories and variables. Arguments: the
# command.
#   name service   the application, and NAME of its `[service.NAME]`
#   host_variables those of the host, for sh
current=$into/current
made=$current/.pkgapp/login
[ -d "$current/" ] || fail "nothing is installed in \`$into\`"
for unit in "$name-$service.service" "$name-$service@.service" ''; do
  [ -z "$unit" ] || [ ! -f "$made/environment/$unit" ] || break
done
[ -n "$unit" ] || fail "there is no service \`$service\` in \`$current\`"
exports=$(fill <"$made/environment/$unit") && files=$(fill <"$made/environment/$unit.files") &&
  text=$(fill <"$made/units/$unit") || fail "cannot read the units in \`$made\`"

# with_environment takes files before `--`, the last of which wins.
# shellcheck disable=SC2016  # the other shell expands it
set -- -- sh -c 'eval "$pkgapp_variables" && unset pkgapp_variables && exec "$@"' sh "$@"
reversed=
while IFS= read -r file; do
  [ ! -f "$file" ] || reversed=$file$newline$reversed
done <<FILES
$files
FILES
while IFS= read -r file; do
  [ -z "$file" ] || set -- "$file" "$@"
done <<FILES
$reversed
FILES

# setting NAME: the first word of the last line of the unit that sets it.
setting() { printf '%s\n' "$text" | sed -n "s/^$1=\([^ :]*\).*/\1/p" | tail -n 1; }
directory=$(setting RuntimeDirectory) mask=$(setting UMask)
export_directories "${directory:-$name}"
[ -d "$RUNTIME_DIRECTORY" ] || unset RUNTIME_DIRECTORY
case $unit in *@.service) INSTANCE=1 && export INSTANCE ;; esac
cd "$current" || exit 1
unset LC_ALL
umask "${mask:-0022}"
PATH=$current/bin:$PATH pkgapp_variables=$host_variables
export pkgapp_variables
eval "$exports"
with_environment "$@"
