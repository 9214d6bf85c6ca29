# SPDX-License-Identifier: MIT
# What the recording scripts share; sourced, never run. Each script records one
# server on loopback under open-loop load (Poisson arrivals from a seed) and
# leaves data/NAME.db.zst and data/NAME.md, which says how it was made.
#
#	SECONDS_OF_LOAD   how long requests arrive (20)
#	SEED              of the arrivals (1)
#	PAIL              the command (build/bin/pail of this checkout)
set -euo pipefail
data=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pail=${PAIL:-$data/../build/bin/pail}
seconds=${SECONDS_OF_LOAD:-20}
seed=${SEED:-1}
name=$(basename "$0" .sh)
folder=$(mktemp -d "${TMPDIR:-/tmp}/pail-data.XXXXXX")
chmod 755 "$folder"
pids=()

die()
{
	printf '%s: %s\n' "$name" "$*" >&2
	exit 3
}

cleanup()
{
	for pid in ${pids[@]+"${pids[@]}"}; do
		kill "$pid" 2>/dev/null || true
	done
	for pid in ${pids[@]+"${pids[@]}"}; do
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

need()
{
	local program
	for program; do
		command -v "$program" >/dev/null || die "'$program' is missing (scripts/bootstrap installs it)"
	done
}
need "$pail" zstd python3 sqlite3

free_port()
{
	python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# wait_port PORT: until something listens there.
wait_port()
{
	local try
	for try in $(seq 400); do
		if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
			return 0
		fi
		sleep 0.05
	done
	die "nothing listens on port $1: $(tail -n 3 "$folder/server.log" 2>/dev/null)"
}

# start COMMAND...: a helper in the background, ended at the end.
start()
{
	"$@" </dev/null >>"$folder/helper.log" 2>&1 &
	pids+=($!)
}

# record PORT [VARIABLE=VALUE...] [OPTION...] -- SERVER...: starts it recorded.
record()
{
	local port=$1 settings=()
	shift
	while [[ ${1:-} == *=* && $1 != -* ]]; do
		settings+=("$1")
		shift
	done
	recorded="${settings[*]+"${settings[*]} "}pail record $*"
	recorded=${recorded//"$data/../"/}
	env ${settings[@]+"${settings[@]}"} "$pail" record -o "$folder/trace.db" "$@" \
		</dev/null >"$folder/server.log" 2>&1 &
	recorder=$!
	pids+=("$recorder")
	wait_port "$port"
}

# drive PORT: the load of NAME.load, open loop.
drive()
{
	driven="pail drive --load data/record/$name.load --for ${seconds}s --seed $seed http://127.0.0.1:PORT/"
	"$pail" drive --load "$data/record/$name.load" --for "${seconds}s" --seed "$seed" \
		"http://127.0.0.1:$1/" | tee "$folder/drive.txt"
}

# finish DESCRIPTION VERSION...: ends the server, packs the trace, says how it was made.
finish()
{
	local description=$1
	shift
	kill -TERM "$recorder"
	wait "$recorder" || true
	sqlite3 "$folder/trace.db" 'VACUUM'
	zstd -q -19 --force "$folder/trace.db" -o "$data/$name.db.zst"
	{
		printf '# %s\n\n%s\n\n' "$name" "$description"
		printf -- '- made by `data/record/%s.sh` on %s\n' "$name" "$(date -u +%Y-%m-%d)"
		printf -- '- server: %s\n' "$@"
		printf -- '- command: `%s`\n' "${recorded//$folder/FOLDER}"
		printf -- '- load: `%s`\n' "$driven"
		printf -- '- pail: %s\n' "$("$pail" --version | head -n 1)"
		printf -- '- machine: %s, %s cores, %s; Linux %s\n' \
			"$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
			"$(awk '/MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo)" "$(uname -r | cut -d - -f 1)"
		printf -- '- recorder: %s\n' "$(grep '^pail record' "$folder/server.log" | tail -n 1 |
			sed 's/, in ".*//')"
		printf '\n```\n%s\n```\n' "$("$pail" report "$folder/trace.db")"
	} >"$data/$name.md"
	ls -l "$data/$name.db.zst"
}
