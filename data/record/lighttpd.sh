#!/bin/bash
# SPDX-License-Identifier: MIT
# lighttpd: an event loop that keeps its buffers from request to request.
. "$(dirname "$0")/lib.sh"
need lighttpd
port=$(free_port)
mkdir "$folder/www"
for size in 1 16 128; do
	head -c "${size}k" /dev/zero | tr '\0' 'x' >"$folder/www/${size}k.txt"
done
cat >"$folder/lighttpd.conf" <<END
server.port = $port
server.bind = "127.0.0.1"
server.document-root = "$folder/www"
server.modules = ("mod_dirlisting")
mimetype.assign = (".txt" => "text/plain")
dir-listing.activate = "enable"
END
record "$port" -- "$(command -v lighttpd)" -D -f "$folder/lighttpd.conf"
drive "$port"
finish "A web server in one event loop: static files of 1 to 128 KiB, and now and then the listing of a folder." \
	"$(lighttpd -v | head -n 1)"
