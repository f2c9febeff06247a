# Puts secrets into their files. The standard input has them as lines NAME=TEXT, as the file of variables will have them, and
# those that are files as lines file.NAME=TEXT, with backslashes as in C.
#   restart   `yes` if what reads the file is to be restarted
hold_lock
trust_place
lines='' files=''
# What a lost connection has cut off has no end of a line.
while IFS= read -r line_; do
  case $line_ in
    file.*) files=$files${line_#file.}$newline ;;
    *) lines=$lines$line_$newline ;;
  esac
done
[ -z "$files" ] || [ -z "$lack_" ] || fail "cannot deliver secrets as files: $lack_"

# prepare: `new` has what the file will have.
prepare() {
  begin_new || fail "cannot write to ${file%/*}"
  old=$file
  [ -f "$old" ] || old=/dev/null
  printf %s "$lines" | variables edit - "$old" >"$new"
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
    lines=
  fi
}
[ -z "$lines" ] || prepare
if [ -z "$lines$files" ]; then
  say "nothing differs"
  exit 0
fi
# `previous` is what a rollback brings back, and `before` what this call does if it fails. Another try of it keeps both.
kept=yes
[ -e "$secrets/previous" ] || keep previous || kept=
if [ -n "$kept" ] && [ "$(first_line "$secrets/writer")" != "$token" ]; then
  drop later
  keep before && put_file "$secrets/writer" "$token" || kept=
fi
# note WHAT [_files]: that what reads these has to be restarted, if it has.
note() { [ -z "$1" ] || [ "$restart" != yes ] || wants_restart "${2-}"; }
if [ -z "$kept" ] || ! note "$lines" || ! note "$files" _files || { [ -n "$lines" ] && ! end_new; }; then
  [ -z "$lines" ] || rm -f "$new"
  fail "cannot write to $secrets and to ${file%/*}"
fi
# No here-document: some shells have a file for it.
printf %s "$files" | while IFS= read -r line_; do
  printf %b "${line_#*=}" | put_credential "${line_%%=*}" || exit 1
done || fail "cannot write to ${store_%/*}"
say "written"
