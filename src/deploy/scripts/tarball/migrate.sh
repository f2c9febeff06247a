# Runs a command of a release that `current` does not lead to yet, with the directories and variables of the service that will
# have this code, and with this host's configuration. It goes on if the connection dies. Arguments: the command.
#   name id sum mark       the application, the release's name, the SHA-256 of its tarball, the mark to leave
#   service                the service's unit, or nothing
#   directory mask         the service's; `directory` lies below /var/lib and the like
#   limit                  how many seconds it may take, or nothing
#   files exports          the service's environment files, one a line, and its variables for sh, with the paths of a package;
#                          they are for releases whose build has not made them for a login
#   variables_sh           variables of the host, for sh
hold_lock
umask 022
release=$into/releases/$id kept=$packages/$sum
if [ -e "$mark" ]; then say "done before"; exit 0; fi
running=$state/migrating
(umask 077 && mkdir -p "$running") || exit 1
if runs "$running"; then say "a migration goes on that another push has started; waiting for its end"; fi
exec 8>>"$running/running"
flock 8
cd "$release" || exit 1
program=$1
shift
if [ -x "$release/bin/$program" ]; then program=$release/bin/$program; fi
# It may write where the services may.
while read -r path; do
  if [ ! -d "$into/shared/$path" ]; then mkdir -p "$into/shared/$path" && chmod 750 "$into/shared/$path" || exit 1; fi
done <"$kept/host/directories"

# The paths of a package are those of here, and its prefix is this release, not the one in use.
current=$release environment=$release/.pkgapp/login/environment/$service
derived() { printf '%s\n' "$1" | sed -f "$kept/host/rules" | sed "s#$(printf %s "$into/current" | sed 's/\./\\./g')#$release#g"; }
if [ -f "$environment" ]; then
  exports=$(fill <"$environment") && files=$(fill <"$environment.files") || exit 1
elif [ -f "$kept/host/rules" ]; then
  exports=$(derived "$exports") && files=$(derived "$files") || exit 1
fi
(umask 077 && printf '%s\n' "$exports" >"$running/exports" && printf '%s\n' "$variables_sh" >"$running/variables") || exit 1
if [ -n "$limit" ]; then set -- timeout "$limit" "$program" "$@"; else set -- "$program" "$@"; fi
set -- -- sh -c '. "$0" && exec "$@"' "$running/variables" "$@"

# The host's own configuration; before the first switch the release's. The last file is the first of the list.
reversed=
choose() { # PATH below `shared`
  if [ -f "$into/shared/$1" ]; then reversed=$into/shared/$1$newline$reversed
  elif [ -f "$kept/host/$1" ]; then reversed=$kept/host/$1$newline$reversed; fi
}
while read -r path; do
  case $path in *.env) choose "$path" ;; esac
done <"$kept/host/secrets"
for file in "$kept/host/etc/$name"/*.env; do
  [ ! -f "$file" ] || choose "etc/$name/${file##*/}"
done
while IFS= read -r file; do
  case $file in
    '') ;;
    "$into/shared/"*) choose "${file#"$into/shared/"}" ;;
    *) [ ! -f "$file" ] || reversed=$file$newline$reversed ;;
  esac
done <<FILES
$files
FILES
while IFS= read -r file; do
  [ -z "$file" ] || set -- "$file" "$@"
done <<FILES
$reversed
FILES

# What it prints goes by way of a file: a connection that dies must not end it.
log=$state/migrate.log
(umask 077 && rm -f "$log" && : >"$log") || exit 1
trap '' HUP
(
  export_directories "${directory:-$name}"
  export PYTHONDONTWRITEBYTECODE=1
  if [ -d "$XDG_RUNTIME_DIR" ]; then mkdir -p "$RUNTIME_DIRECTORY"; else unset RUNTIME_DIRECTORY; fi
  unset LC_ALL
  umask "$mask"
  PATH=$release/bin:$PATH
  # shellcheck disable=SC1091  # written above
  . "$running/exports"
  with_environment "$@"
) >"$log" 2>&1 &
program=$!
tail -n +1 -f -s 0.1 --pid=$program "$log" 8>&- &
wait $program
status=$?
wait
rm -f "$running/exports" "$running/variables"
[ $status = 0 ] || exit $status
put_file "$mark" "$(now)"
