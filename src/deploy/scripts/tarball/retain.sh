# Of releases whose tarball is no longer kept nothing stays, but for the one that `current` leads to.
running=$(installed)
for release in "$into"/releases/*; do
  [ -d "$release" ] || continue
  id=${release##*/}
  [ "$id" = "$running" ] && continue
  kept=$(kept_of "$id")
  if [ -z "$kept" ] || [ ! -f "$kept/files" ]; then rm -rf "$release"; fi
done
rm -rf "$state/unpacking" "$state/migrating"
for kept in "$packages"/*; do
  if [ ! -f "$kept/files" ]; then rm -rf "$kept/host"; fi
done
