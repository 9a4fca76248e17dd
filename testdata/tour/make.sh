#!/bin/bash
# Makes the images of this folder anew, from the packages of Debian 12 as they are
# today: the digests, and so docs/tour.md, will be others. Run it as root, on Debian,
# with buildah, libcap2-bin and skopeo, in a folder that has no images yet.
set -euo pipefail
cd "$(dirname "$0")"
out=$PWD
test ! -e index.json || { echo "make.sh: there are images here" >&2; exit 1; }
base="at base-files base-passwd busybox-static fping mount netbase"
added="media-types traceroute"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# download ARCH: the packages for ARCH, with lists of our own.
download() {
	local d=$work/$1
	mkdir -p "$d"/apt/{lists/partial,cache/archives/partial,parts} "$d/base" "$d/context/archives"
	touch "$d/apt/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${MIRROR:-http://deb.debian.org/debian} bookworm main" >"$d/apt/sources.list"
	local apt=(apt-get -q -o "APT::Architecture=$1" -o "APT::Architectures=$1" -o "Dir::State=$d/apt" -o "Dir::State::status=$d/apt/status"
		-o "Dir::Cache=$d/apt/cache" -o "Dir::Etc::sourcelist=$d/apt/sources.list" -o "Dir::Etc::sourceparts=$d/apt/parts"
		-o APT::Sandbox::User=root -o Acquire::Languages=none)
	"${apt[@]}" update
	(cd "$d/base" && "${apt[@]}" download $base)
	(cd "$d/context/archives" && "${apt[@]}" download $added)
}

# rootfs ARCH: the packages unpacked, with what their scripts would do in a new system.
# No library is there, so that only busybox runs: the images are small.
rootfs() {
	local d=$work/$1 root=$work/$1/root
	mkdir -p "$root"/usr/{bin,lib,sbin} "$root"/dev
	ln -s usr/bin usr/lib usr/sbin "$root"
	for deb in "$d"/base/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" -p --keep-directory-symlink
	done
	for f in passwd group; do
		cp -p "$root/usr/share/base-passwd/$f.master" "$root/etc/$f"
	done
	cp -p "$root/usr/share/base-files/profile" "$root/etc/profile"
	chmod 1777 "$root/tmp" "$root/var/tmp"
	setcap cap_net_raw+ep "$root/usr/bin/fping"
	for name in sh cat chmod chown dpkg-deb ln ls mkdir printf rm sed; do
		ln -s busybox "$root/usr/bin/$name"
	done
	rm -rf "$root"/usr/share/{info,locale,man,lintian,bug}
	tar -C "$root" --sort=name --xattrs --xattrs-include='security.*' -cf "$d/context/rootfs.tar" .
}

# shop DIR: what we sell.
shop() {
	mkdir -p "$1/shop"
	printf 'debug = no\n' >"$1/shop/settings.ini"
	printf '<svg xmlns="http://www.w3.org/2000/svg"/>\n' >"$1/shop/logo"$'\n'".svg"
	{ echo "// shop 1"; seq 8000 | sed 's/.*/sell("article &");/'; } >"$1/shop/app.js"
	printf 'H:/srv/shop\nI:index.html\n.js:text/javascript\n' >"$1/httpd.conf"
}

b() { buildah --root "$work/storage" --runroot "$work/run" --storage-driver "${DRIVER:-overlay}" "$@"; }

# build TAG ARCH FILE: an image by a Containerfile; our busybox stands in for that of
# another machine while it is built.
build() {
	b bud --isolation chroot --layers --format oci --platform "linux/$2" \
		-v "$work/amd64/root/usr/bin/busybox:/usr/bin/busybox:ro" -t "localhost/shop:$1-$2" -f "$out/$3" "$work/$2/context"
}

for arch in amd64 arm64; do
	download $arch
	rootfs $arch
	shop "$work/$arch/context"
	build 1 $arch Containerfile.1
done
build 2 amd64 Containerfile.2
b manifest create localhost/shop:1 localhost/shop:1-amd64 localhost/shop:1-arm64
b manifest push --all localhost/shop:1 "oci:$out:1"
b push localhost/shop:2-amd64 "oci:$out:2"
for deb in "$work"/*/{base,context/archives}/*.deb; do
	dpkg-deb --showformat='| ${Package} | ${Version} | ${Architecture} |\n' -W "$deb"
done | sort -u # the table of README.md
