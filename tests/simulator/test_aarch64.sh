#!/bin/sh
# SPDX-License-Identifier: MIT
# test_aarch64.sh SOURCE: the slots of the simulator, NEON's kernel among them, built for
# aarch64 and run under qemu-user. Skipped (77) where either is missing.
set -eu
source=$1
cc=aarch64-linux-gnu-gcc
qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || {
	echo "skipped: qemu-user is not installed"
	exit 77
}
command -v $cc >/dev/null || {
	echo "skipped: $cc is not installed"
	exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$source"
$cc -std=gnu11 -O1 -D_GNU_SOURCE -I. -Wall -Wextra -Werror -o "$work/check" -pthread \
	tests/simulator/check_slots.c tests/simulator/reference.c simulator/slots.c \
	simulator/slots_portable.c simulator/slots_neon.c simulator/pass.c simulator/grid.c \
	simulator/trace_view.c base/err.c -lm
said=$("$qemu" -L /usr/aarch64-linux-gnu "$work/check") || true
echo "$said"
[ "$said" = "fine: portable neon" ]
