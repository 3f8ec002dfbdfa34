#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The shared library exports the functions of graphrun.h and nothing else.
lib=$1
here=$(dirname "$0")
exported=$(nm -D --defined-only "$lib" | awk '{ print $3 }' | sed 's/@.*//' | sort -u)
declared=$(grep -oE '\bgr_[a-z_]+\(' "$here/../include/graphrun.h" | tr -d '(' | sort -u)
bad=0
for s in $exported; do
    echo "$declared" | grep -qx "$s" || { echo "exported but not declared: $s"; bad=1; }
done
for s in $(grep -E '^GR_API' "$here/../include/graphrun.h" | grep -oE '\bgr_[a-z_]+\(' | tr -d '('); do
    echo "$exported" | grep -qx "$s" || { echo "declared but not exported: $s"; bad=1; }
done
[ $bad -eq 0 ] && echo "$(echo "$exported" | wc -l) symbols, all of them gr_ and declared"
exit $bad
