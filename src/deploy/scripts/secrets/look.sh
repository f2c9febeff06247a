# Says which secrets the host has, as lines of KEY=VALUE; changes nothing. Of a value it says a hash that only this call can
# compare.
#   salt   what is hashed before each value
judge_place
[ -n "$why_" ] || judge_content
if [ $mode = package ] && [ "$(id -u)" != 0 ]; then fact unreadable "$file"
elif [ -n "$why_" ]; then fact distrusted "$why_"
else
  [ ! -e "$secrets/pending" ] || fact pending yes
  [ ! -f "$file" ] || fact mode "$(stat -c %a "$file")"
  values | while IFS= read -r line_; do
    sum_=$(printf '%s%s' "$salt" "${line_#*=}" | sha256sum)
    fact "secret.${line_%%=*}" "${sum_%% *}"
  done
fi
fact file "$file"
say "secrets=end"
