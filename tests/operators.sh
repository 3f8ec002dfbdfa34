#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# docs/operators.md is what `graphrun ops --markdown` prints.
#   operators.sh GRAPHRUN FILE
"$1" ops --markdown | diff "$2" - && exit 0
echo "write it anew: graphrun ops --markdown > docs/operators.md"
exit 1
