#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Golden tests of the command: each NAME.sh runs in an empty folder, and what it prints (stdout and stderr) must be
# NAME.stdout.
#
#   run.sh GRAPHRUN [NAME...]     GRAPHRUN is the program; without names all tests run
#   UPDATE=1 run.sh GRAPHRUN      writes the .stdout files anew
#
# In the scripts `graphrun` is the program and `graphdump` the one beside it, `status COMMAND...` prints its exit status
# after its output; models are copied into the folder, so that no path of a machine is printed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
shift
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
[ $# -gt 0 ] || set -- $(cd "$here" && ls *.sh | sed 's/\.sh$//' | grep -v '^run$')

mkdir "$scratch/bin"
ln -s "$program" "$scratch/bin/graphrun"
ln -s "$(dirname "$program")/graphdump" "$scratch/bin/graphdump"
cat > "$scratch/bin/status" <<'SH'
#!/bin/sh
"$@"
echo "-> $?"
SH
chmod +x "$scratch/bin/status"
PATH=$scratch/bin:$PATH
LC_ALL=C.UTF-8 NO_COLOR=1
export PATH LC_ALL NO_COLOR

failed=0
for name; do
    mkdir "$scratch/$name"
    cp "$here"/models/* "$scratch/$name"
    ln -s "$here/../../models" "$scratch/$name/tree"
    (cd "$scratch/$name" && sh "$here/$name.sh") > "$scratch/$name.out" 2>&1 < /dev/null
    if [ "${UPDATE:-}" ]; then
        cp "$scratch/$name.out" "$here/$name.stdout"
    elif diff -u "$here/$name.stdout" "$scratch/$name.out"; then
        echo "ok    $name"
    else
        echo "WRONG $name"
        failed=1
    fi
done
exit $failed
