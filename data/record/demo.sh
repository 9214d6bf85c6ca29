#!/bin/bash
# SPDX-License-Identifier: MIT
# The demo's service on libmicrohttpd: its own load, and now and then a hungry request.
. "$(dirname "$0")/lib.sh"
service=$data/../build/demo/service
[ -x "$service" ] || die "'$service' is missing (scripts/demo builds it)"
port=$(free_port)
record "$port" -- "$service" "$port" "$data/../demo/products.csv"
driven="pail drive --load demo/load/well.load --load demo/load/rare.load --for ${seconds}s --seed $seed http://127.0.0.1:PORT/"
"$pail" drive --load "$data/../demo/load/well.load" --load "$data/../demo/load/rare.load" --for "${seconds}s" \
	--seed "$seed" "http://127.0.0.1:$port/" | tee "$folder/drive.txt"
finish "A JSON-over-HTTP service in C with a thread for each connection: lookups, an SVG path out of CSV, sorting a posted list, reports, and seldom a report of 60,000 rows." \
	"libmicrohttpd $(pkg-config --modversion libmicrohttpd), jansson $(pkg-config --modversion jansson)"
