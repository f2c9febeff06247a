# What every transaction begins with: its parameters, which lie beside it.
dir=$(dirname "$0") state=${dir%/*}
# The interpreter that the application shares with others, and what is done about it: see `choose_runtime`.
runtime='' runtime_way='' runtime_file='' runtime_sum='' runtime_version='' runtime_from=''
back_runtime_way='' back_runtime_file='' back_runtime_sum='' back_runtime_version='' back_runtime_from=''
. "$dir/parameters"
[ "${whole-}" = yes ] || exit 1
