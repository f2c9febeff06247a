# Says which variables no file of the host gives a value; prints no value. Arguments: their names.
#   name    the application's
#   files   the files of variables that it reads, one a line, where a package has them
has_value() { # NAME
  while IFS= read -r file_; do
    case $mode$file_ in tarball/etc/"$name"/*) file_=$into/shared$file_ ;; esac
    if grep -qs "^[[:space:]]*$1[[:space:]]*=[[:space:]]*[^[:space:]]" "$file_"; then return 0; fi
  done <<FILES
$files
FILES
  return 1
}
for each; do
  has_value "$each" || fact lacks "$each"
done
say "secrets=end"
