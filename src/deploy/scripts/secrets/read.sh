# Prints secrets as NAME=VALUE, for other hosts, and those that are files as file.NAME=HEX. Arguments: their names.
trust_place
wanted=" $* "
values | while IFS= read -r line_; do
  is_credential "${line_%%=*}" || case $wanted in *" ${line_%%=*} "*) say "$line_" ;; esac
done
for each in $credentials; do
  case $wanted in *" $each "*) ;; *) continue ;; esac
  printf 'file.%s=' "$each"
  open_credential "$each" | od -An -v -tx1 | tr -d ' \n'
  say
done
say "secrets=end"
