# Writes down how a host's part of a push ended and clears away. Arguments: the SHA-256 of the package that is now
# installed, `=` if that is the one of before, or nothing if none is; that of one that failed, or nothing; how many packages
# to keep; and the rest of a line of the history, which is JSON.
hold_lock
good=$1 bad=$2 keep=$3 line=$4
packages=$state/packages
before=$(first_line "$state/current")
if [ "$good" = = ]; then good=$before
elif [ -n "$good" ] && [ -d "$packages/$good" ]; then
  rm -f "$packages/$good/failed"
  date +%s.%N >"$packages/$good/good.new" && mv "$packages/$good/good.new" "$packages/$good/good" || exit 1
fi
if [ -n "$bad" ] && [ -d "$packages/$bad" ]; then now >"$packages/$bad/failed" || exit 1; fi
printf '{"time":"%s",%s\n' "$(now)" "$line" >>"$state/history.jsonl" || exit 1
printf '%s\n' "$good" >"$state/current.new" && mv "$state/current.new" "$state/current" || exit 1
# The newest stay, the installed one first; of failed ones the mark stays, which takes no space.
kept=0
for sum in "$good" $(cd "$packages" && for each in */; do
  each=${each%/}
  [ -d "$each" ] && [ "$each" != "$good" ] && [ -z "$(value "$each/info" name)" ] && printf '%s %s\n' "$(first_line "$each/good" || say 0)" "$each"
done | sort -rn | cut -d' ' -f2); do
  [ -n "$sum" ] && [ -d "$packages/$sum" ] || continue
  kept=$((kept + 1))
  [ $kept -gt "$keep" ] || continue
  if [ -e "$packages/$sum/failed" ]; then find "$packages/$sum" -type f ! -name failed ! -name info -delete; else rm -rf "${packages:?}/$sum"; fi
done
# An interpreter's package, which has a name of its own, stays as long as a package that came with it.
needed=$(for in in "$packages"/*; do
  [ ! -f "$in/$(value "$in/info" file)" ] || value "$in/info" runtime
done)
for in in "$packages"/*; do
  [ -n "$(value "$in/info" name)" ] || continue
  case " $needed" in *" ${in##*/}"*) ;; *) rm -rf "$in" ;; esac
done
rm -rf "$state/staged" "$state/transaction" "$state/migrate.log"
