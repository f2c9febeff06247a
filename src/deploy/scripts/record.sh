# Writes down how a host's part of a push ended and clears away.
#   good          the SHA-256 of the package or set that is now installed, `=` if that is the one of before, or nothing if none is
#   marked mark   that of one that is marked, or nothing; the mark, `failed` or `left`
#   keep          how many packages to keep
#   line          the rest of a line of the history, which is JSON
hold_lock
packages=$state/packages
before=$(first_line "$state/current")
if [ "$good" = = ]; then good=$before
elif [ -n "$good" ] && [ -d "$packages/$good" ]; then
  rm -f "$packages/$good/failed" "$packages/$good/left"
  # A rollback brings back the secrets of before their last change until a push has ended well; see secrets.sh.
  [ "$mark" = failed ] || rm -rf "$state/secrets/previous" "$state/secrets/later" "$state/secrets/previous.credentials" "$state/secrets/later.credentials"
  put_file "$packages/$good/good" "$(date +%s.%N)" || exit 1
fi
if [ -n "$marked" ] && [ -d "$packages/$marked" ]; then put_file "$packages/$marked/$mark" "$(now)" || exit 1; fi
for each in transaction.old transaction; do take_return "$state/$each" || exit 1; done
add_to_history "{\"time\":\"$(now)\",$line" || exit 1
put_file "$state/current" "$good" || exit 1
# Nobody can tell what a package is whose description is lost.
for in in "$packages"/*; do
  if [ -d "$in" ] && [ "${in##*/}" != "$good" ] && ! described "$in/info"; then rm -rf "$in"; fi
done
# A damaged package serves no rollback. All bytes are read once after a boot, since only a loss of power changes them unseen.
checked=$(first_line "$state/checked") || checked=
for in in "$packages"/*; do
  file=$in/$(value "$in/info" file) size=$(value "$in/info" size)
  [ -f "$file" ] || continue
  # Earlier versions did not write the size down.
  if [ "$(stat -c %s "$file")" != "${size:-$(stat -c %s "$file")}" ] ||
    { [ "$checked" != "$(boot_id)" ] && [ "$(sha256_of "$file")" != "${in##*/}" ]; }; then
    rm -f "$file" "$in/pieces"
    [ "${in##*/}" = "$good" ] || [ -e "$in/failed" ] || rm -rf "$in"
  fi
done
[ "$checked" = "$(boot_id)" ] || put_file "$state/checked" "$(boot_id)" || exit 1
# The newest stay, the installed one first; of failed ones the mark stays, which takes no space.
kept=0
for sum in "$good" $(cd "$packages" && for each in */; do
  each=${each%/}
  [ -d "$each" ] && [ "$each" != "$good" ] && [ -z "$(value "$each/info" name)" ] && printf '%s %s\n' "$(first_line "$each/good" || say 0)" "$each"
done | sort -rn | cut -d' ' -f2); do
  [ -n "$sum" ] && [ -d "$packages/$sum" ] || continue
  kept=$((kept + 1))
  [ $kept -gt "$keep" ] || continue
  if [ -e "$packages/$sum/failed" ]; then
    # Without its packages, it is no set any more.
    put_file "$packages/$sum/info" "$(grep -v '^members=' "$packages/$sum/info")" || exit 1
    find "$packages/$sum" -type f ! -name failed ! -name info -delete
  else rm -rf "${packages:?}/$sum"; fi
done
# A package that has a name of its own stays as long as one that came with it, or a set that it is part of.
needed=$(for in in "$packages"/*; do
  members=$(value "$in/info" members)
  if [ -n "$members" ] || [ -f "$in/$(value "$in/info" file)" ]; then say "$members"; value "$in/info" runtime; fi
done | tr '\n' ' ')
for in in "$packages"/*; do
  [ -n "$(value "$in/info" name)" ] || continue
  case " $needed " in *" ${in##*/} "*) ;; *) rm -rf "$in" ;; esac
done
# What a loss of power or a full disk has cut off in the middle.
rm -rf "$packages"/*/*.new "$packages"/*/.[!.]*.pkgapp-*
name=${state##*/}
[ $mode = package ] || name=$(parameter_of "$(last_transaction)" name)
rm -f "$unit_files/pkgapp-transaction-$name.service.new"
keep_log "$state/migrate.log" migrate
for each in transaction.old transaction; do keep_log "$state/$each/log" install; done
for kind in install migrate; do
  (cd "$state/logs" 2>/dev/null && ls) | grep -- "-$kind\.log\$" | sort -r | tail -n "+$((keep + 1))" | while read -r old; do
    rm -f "$state/logs/$old"
  done
done
rm -rf "$state/staged" "$state/transaction.old" "$state/transaction.new" "$state/transaction" "$state/migrating" "$state/migrate.log" "$state/replaced"
close_files
