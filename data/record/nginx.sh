#!/bin/bash
# SPDX-License-Identifier: MIT
# nginx: files, some of them through a proxy, which is the same server.
. "$(dirname "$0")/lib.sh"
need nginx
port=$(free_port)
mkdir "$folder/www"
python3 - "$folder/www" <<'END'
import random, sys
random.seed(1)
words = "the quick brown fox jumps over a lazy dog while it rains in spain".split()
for size in (1, 8, 64, 400):
    text, wanted = [], size * 1024
    while wanted > 0:
        text.append(random.choice(words) + str(random.randrange(1000)))
        wanted -= len(text[-1]) + 1
    with open(f"{sys.argv[1]}/{size}k.txt", "w", encoding="ascii") as file:
        file.write(" ".join(text))
END
cat >"$folder/nginx.conf" <<END
daemon off; worker_processes 1; pid $folder/pid; error_log $folder/errors;
events { worker_connections 512; }
http {
	access_log off; default_type text/plain; open_file_cache max=100;
	client_body_temp_path $folder/body; proxy_temp_path $folder/proxy;
	fastcgi_temp_path $folder/fastcgi; uwsgi_temp_path $folder/uwsgi; scgi_temp_path $folder/scgi;
	server {
		listen 127.0.0.1:$port; root $folder/www;
		location /front/ { proxy_pass http://127.0.0.1:$port/; }
	}
}
END
record "$port" -- "$(command -v nginx)" -c "$folder/nginx.conf"
drive "$port"
finish "A web server with one worker: static files of 1 to 400 KiB, some of them through a proxy in front, which is the same server (so those are two requests each)." \
	"$(nginx -v 2>&1)"
