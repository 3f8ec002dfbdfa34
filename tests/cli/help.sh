graphrun --help
for command in run info verify bench profile plan explain print ops generate; do
    echo
    graphrun $command --help
done
graphrun help info | head -1
graphrun --version | sed 's/[0-9][0-9.]*/N/g'
