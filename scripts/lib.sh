# SPDX-License-Identifier: MIT
# What the scripts share; sourced, never run. Sets `top`, the checkout's root.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say()
{
	printf '== %s\n' "$*" >&2
}

die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 3
}

# as_root CMD...: runs it with the rights it needs. Never waits for a password
# where nobody can type one.
as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif ! command -v sudo >/dev/null; then
		die "'$1' needs root, and there is no sudo: run this script as root"
	elif [ -t 0 ]; then
		sudo -- "$@"
	else
		sudo -n -- "$@"
	fi
}

# configure_and_build PRESET [CMAKE ARGUMENT...]: configures the preset and
# builds it, all of it or only $build_target. The folders are those of
# CMakePresets.json.
configure_and_build()
{
	local preset=$1 target=${build_target:-all}
	shift
	(cd "$top" && cmake --preset "$preset" "$@" >&2 &&
		cmake --build --preset "$preset" -j "$(nproc)" --target "$target" >&2)
}
