# Unpacks packages beside everything else, to run their code before they are installed. Arguments: the directory, and of
# each package its file and its SHA-256.
hold_lock
umask 022
staged=$1
shift
# It is not synced, so after a loss of power it may lack anything.
if [ -d "$staged" ] && [ "$(first_line "$state/staged/boot")" = "$(boot_id)" ]; then exit 0; fi
rm -rf "$state/staged"
mkdir -p "$state/staged/new" && boot_id >"$state/staged/boot" || fail "cannot write to $state/staged"
cd "$state/staged/new" || exit 1
while [ $# -ge 2 ]; do
  [ "$(sha256_of "$1")" = "$2" ] || fail "$1 is damaged"
  unpack_package "$1" || fail "cannot unpack $1"
  shift 2
done
mv "$state/staged/new" "$staged"
