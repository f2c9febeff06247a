#!/bin/sh
''':' # bin/@NAME@ starts this with Python; some programs restart themselves by executing it: that leads back there.
exec "${0%/*}/../bin/@NAME@" "$@"
: <<'# end'
'''
import sys

from @MODULE@ import @IMPORT@

if __name__ == "__main__":
    sys.exit(@CALL@())
# end
