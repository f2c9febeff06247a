# Puts secrets into their file. The standard input has them as lines NAME=TEXT, as the file will have them.
#   restart   `yes` if what reads the file is to be restarted
hold_lock
trust_place
begin_new || fail "cannot write to ${file%/*}"
old=$file
[ -f "$old" ] || old=/dev/null
variables edit - "$old" >"$new"
status_=$?
why_=''
case $status_ in
  0) ;;
  3) why_="a quote in \`$file\` is not closed: close it there" ;;
  4) why_="a line of \`$file\` has several variables: separate them there" ;;
  *) why_="\`$file\` could not be edited" ;;
esac
[ -n "$why_" ] || [ "$(stat -c %s "$new")" -le $most_bytes ] || why_="\`$file\` would be larger than 1 MiB"
if [ -n "$why_" ]; then
  rm -f "$new"
  fail "$why_"
fi
if cmp -s "$new" "$file"; then
  rm -f "$new"
  say "nothing differs"
  exit 0
fi
# `previous` is what a rollback brings back, and `before` what this call does if it fails. Another try of it keeps both.
kept=yes
[ -e "$secrets/previous" ] || keep previous || kept=
if [ -n "$kept" ] && [ "$(first_line "$secrets/writer")" != "$token" ]; then
  rm -f "$secrets/later"
  keep before && put_file "$secrets/writer" "$token" || kept=
fi
if [ -z "$kept" ] || { [ "$restart" = yes ] && ! wants_restart; } || ! end_new; then
  rm -f "$new"
  fail "cannot write to $secrets and to ${file%/*}"
fi
say "written"
