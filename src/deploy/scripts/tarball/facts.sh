# What else a push must know where nobody is root. It comes before the rest, whose last line says that all is told.
fact into "$into"
fact unpackers "$(has tar && for each in zstd gzip xz; do has $each && printf '%s ' $each; done)"
fact linger "$(lingers && say yes || say no)"
fact crontab "$(has crontab && say yes || say no)"
fact logrotate "$(has logrotate && say yes || say no)"
for each in "$into" "$into/releases" "$into/shared" "$state" "$packages" "$unit_files"; do
  at=$each
  # A login without units needs no place for them.
  if [ "$each" = "$unit_files" ] && [ "$PKGAPP_UNITS" != user ]; then continue; fi
  while [ ! -e "$at" ] && [ ! -L "$at" ]; do at=${at%/*}; at=${at:-/}; done
  if [ ! -d "$at" ] || [ ! -w "$at" ]; then fact unwritable "$at"; break; fi
done
if [ -e "$into/current" ] && [ ! -L "$into/current" ]; then fact taken "$into/current"; fi
