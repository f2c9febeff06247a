# Unpacks packages beside everything else, to run their code before they are installed. Arguments, of each package: its
# file and its SHA-256.
#   staged   the directory to unpack them to
hold_lock
umask 022
# It is not synced, so after a loss of power it may lack anything.
if [ -d "$staged" ] && [ "$(first_line "$state/staged/boot")" = "$(boot_id)" ]; then exit 0; fi
rm -rf "$state/staged"
mkdir -p "$state/staged/new" && boot_id >"$state/staged/boot" || fail "cannot write to $state/staged"
cd "$state/staged/new" || exit 1
while [ $# -ge 2 ]; do
  package_file=$1 package_sum=$2
  shift 2
  [ "$(sha256_of "$package_file")" = "$package_sum" ] || fail "$package_file is damaged"
  unpack_package "$package_file" || fail "cannot unpack $package_file"
done
mv "$state/staged/new" "$staged"
