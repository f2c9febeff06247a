#!/bin/sh
# Made by pkgapp: with-environment FILE... -- COMMAND [ARG...] runs a command with the variables of files as systemd reads
# them (EnvironmentFile= in systemd.exec(5)): NAME=VALUE lines, quotes around a value dropped, nothing expanded. cron jobs
# get the same variables in this way as services do.
while [ "$1" != -- ]; do
    # What lies elsewhere than in the application's own directory may be missing: -FILE.
    case $1 in
    -*) f=${1#-}; if [ ! -e "$f" ]; then shift; continue; fi ;;
    *) f=$1 ;;
    esac
    while IFS= read -r l || [ "$l" ]; do
        # A backslash at the end joins lines.
        while [ "$l" != "${l%\\}" ] && IFS= read -r m; do l=${l%\\}$m; done
        l=${l#"${l%%[!	 ]*}"}
        case $l in
        '' | '#'* | ';'*) continue ;;
        esac
        case $l in
        [A-Za-z_]*=*) ;;
        *) continue ;;
        esac
        n=${l%%=*} v=${l#*=}
        n=${n%"${n##*[!	 ]}"} v=${v#"${v%%[!	 ]*}"} v=${v%"${v##*[!	 ]}"}
        case $n in
        *[!A-Za-z0-9_]*) continue ;;
        esac
        case $v in
        \"*\") v=${v#\"}; v=${v%\"}; q=\" ;;
        \'*\') v=${v#\'}; v=${v%\'}; q=\' ;;
        *) q= ;;
        esac
        # A backslash is itself between single quotes; elsewhere it makes the next character plain.
        if [ "$q" != \' ]; then
            r=
            while :; do
                case $v in
                *\\*) r=$r${v%%\\*}; v=${v#*\\}; w=${v#?}; r=$r${v%"$w"}; v=$w ;;
                *) break ;;
                esac
            done
            v=$r$v
        fi
        export "$n=$v"
    done <"$f" || exit 1
    shift
done
shift
exec "$@"
