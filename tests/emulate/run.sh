#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs shell commands on an emulated CPU: boots a Linux kernel in Bochs with the built programs, the tests' data and what
# they need to run. README.md says how.
set -eu

if [ $# -lt 2 ]; then
    echo "usage: [KERNEL=vmlinuz] [ZOO=folder] $0 BUILD COMMANDS [CPU]" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd) commands=$2 cpu=${3:-corei7_icelake_u}
kernel=${KERNEL:-$(ls /boot/vmlinuz-* | tail -n 1)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/t" "$work/iso"

# Everything keeps its path; the loader finds the libraries where they were. What is loaded later is not in ldd's list:
# oneDNN, and what threads end with.
copy() { mkdir -p "$root$(dirname "$2")" && cp -rL "$1" "$root$2"; }
for program in tests/unit graphrun; do copy "$build/$program" "/t/${program##*/}"; done
later=$(/sbin/ldconfig -p | grep -wE 'libgcc_s.so.1|libdnnl.so.[0-9]+' | grep -o '/.*')
for file in "$build/tests/unit" "$build/graphrun" $later; do echo "$file"; ldd "$file"; done |
    grep -o '/[^ ]*\.so[^ ]*' | sort -u | while read -r library; do copy "$library" "$library"; done
copy "$(command -v busybox)" /bin/busybox
for folder in models tests; do copy "$here/$folder" "$here/$folder"; done
mkdir -p "$root$build"
if [ -n "${ZOO:-}" ]; then cp -rL "$ZOO" "$root/zoo"; fi
printf '%s\n' "$commands" > "$root/t/commands"
cat > "$root/init" << 'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2 GR_ZOO_DIR=/zoo
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
cd /t; echo "--- begin"; sh ./commands; echo "--- exit status $?"
sleep 1; poweroff -f
END
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet -R 0:0) > "$work/iso/initrd"

# The emulator announces FSRM and PKU, but neither fast string operations nor protection keys as Linux expects them.
cp "$kernel" "$work/iso/vmlinuz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/iso/"
cat > "$work/iso/isolinux.cfg" << 'END'
default l
prompt 0
label l
 kernel /vmlinuz
 initrd /initrd
 append console=ttyS0 quiet mitigations=off nokaslr no5lvl tsc=reliable noxsaves clearcpuid=fsrm,erms,pku,xsavec,umip lsm= rdinit=/init
END
xorriso -as mkisofs -quiet -o "$work/cd.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 \
    -boot-info-table "$work/iso" 2> /dev/null
cat > "$work/bochsrc" << END
display_library: term
memory: guest=2048, host=2048
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
boot: cdrom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$work/cd.iso, status=inserted
cpu: model=$cpu, count=1, ips=50000000, ignore_bad_msrs=1
clock: sync=none, time0=utc
com1: enabled=1, mode=file, dev=$work/serial
log: $work/log
panic: action=fatal
error: action=ignore
info: action=ignore
END
echo c > "$work/rc" # Debian's build starts in a debugger
TERM=vt100 script -qfc "stty rows 50 cols 160; nice -n 19 bochs -q -f $work/bochsrc -rc $work/rc" /dev/null \
    > "$work/screen" < /dev/null 2>&1 || true
tr -d '\r' < "$work/serial" | sed -n '/^--- begin/,$p' | grep -v '^\[ '
grep -q '^--- exit status 0' "$work/serial"
