# The log and the result of a transaction, for scripts that wait for its end.
dir=$state/transaction unit=pkgapp-transaction-$name
result() { result_in "$dir"; }
# show: prints the part of the log that is new since the last call. It is foreign text, so it goes to standard error; standard
# output holds the result alone.
shown=0
show() {
  size=$(stat -c %s "$dir/log")
  [ "$size" -gt "$shown" ] || return 0
  tail -c "+$((shown + 1))" "$dir/log" | head -c $((size - shown)) >&2
  shown=$size
}
tell_result() {
  show
  grep . "$dir/result" | sed 's/^/pkgapp:/'
  case $(result) in
    done) exit 0 ;;
    restored) exit "$exit_restored" ;;
    unconfirmed) exit "$exit_unconfirmed" ;;
    refused) exit "$exit_refused" ;;
    *) exit "$exit_failed" ;;
  esac
}
