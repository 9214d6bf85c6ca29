#!/bin/bash
# SPDX-License-Identifier: MIT
# redis: requests are commands; many a connection, some of them pipelined.
. "$(dirname "$0")/lib.sh"
need redis-server
port=$(free_port)
record "$port" -- "$(command -v redis-server)" --port "$port" --bind 127.0.0.1 --save '' --dir "$folder"
driven="data/record/redis_load.py PORT $seconds $seed"
python3 "$data/record/redis_load.py" "$port" "$seconds" "$seed"
finish "A key-value store: SET and GET of small and middling values, lists, a sorted set, and seldom a large value." \
	"$(redis-server --version | cut -d ' ' -f 1-4)"
