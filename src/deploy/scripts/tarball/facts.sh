# What else a push must know where nobody is root. It comes before the rest, whose last line says that all is told.
fact into "$into"
fact unpackers "$(has tar && for each in zstd gzip xz; do has $each && printf '%s ' $each; done)"
fact linger "$(lingers && say yes || say no)"
fact crontab "$(has crontab && say yes || say no)"
fact logrotate "$(has logrotate && say yes || say no)"
at=$into
while [ ! -e "$at" ] && [ ! -L "$at" ]; do at=${at%/*}; at=${at:-/}; done
if [ ! -d "$at" ] || [ ! -w "$at" ]; then fact unwritable "$at"; fi
if [ -e "$into/current" ] && [ ! -L "$into/current" ]; then fact taken "$into/current"; fi
