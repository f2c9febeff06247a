# Says which secrets the host has, as lines of KEY=VALUE; changes nothing. Of a value it says a hash that only this call can
# compare.
#   salt   what is hashed before each value
find_store
known=$credentials
[ -z "$lack_" ] || { fact no_credentials "$lack_"; credentials=; }
judge_place
[ -n "$why_" ] || judge_content
if [ $mode = package ] && [ "$(id -u)" != 0 ]; then fact unreadable "$file"
elif [ -n "$why_" ]; then fact distrusted "$why_"
else
  if [ -e "$secrets/pending" ] || [ -e "$secrets/pending_files" ]; then fact pending yes; fi
  [ ! -f "$file" ] || fact mode "$(stat -c %a "$file")"
  values | while IFS= read -r line_; do
    case " $known " in *" ${line_%%=*} "*) fact leftover "${line_%%=*}"; continue ;; esac
    sum_=$(printf '%s%s' "$salt" "${line_#*=}" | sha256sum)
    fact "secret.${line_%%=*}" "${sum_%% *}"
  done
  for each in $credentials; do
    [ -s "$store_$each" ] || continue
    # How it was opened comes first, as the hash awaits the end of what is read.
    sum_=$({ { printf %s "$salt"; open_credential "$each"; say $? >&3; } | sha256sum; } 3>&1)
    case $sum_ in
      0"$newline"*) sum_=${sum_#*"$newline"} && fact "secret.$each" "${sum_%% *}" ;;
      *) fact sealed "$each" ;;
    esac
  done
fi
fact file "$file"
say "secrets=end"
