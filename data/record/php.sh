#!/bin/bash
# SPDX-License-Identifier: MIT
# php-fpm behind nginx; php alone is recorded. USE_ZEND_ALLOC=0 lets PHP's own
# pools be seen.
. "$(dirname "$0")/lib.sh"
need nginx
fpm=$(ls /usr/sbin/php-fpm* 2>/dev/null | tail -n 1) || true
[ -n "$fpm" ] || die "php-fpm is missing (scripts/bootstrap installs it)"
port=$(free_port)
front=$(free_port)
mkdir "$folder/www"
cat >"$folder/www/page.php" <<'END'
<?php
$rows = [];
for ($i = 0; $i < (int)($_GET['rows'] ?? 50); $i++)
	$rows[] = ['id' => $i, 'name' => md5((string)$i), 'price' => $i * 7919 % 1000];
usort($rows, fn($a, $b) => $a['price'] <=> $b['price']);
echo "<table>";
foreach ($rows as $row)
	echo "<tr><td>", htmlspecialchars($row['name']), "</td><td>", $row['price'], "</td></tr>\n";
echo "</table>";
END
echo '<?php header("Content-Type: application/json"); echo json_encode(["now" => 1, "words" => str_word_count($_GET["q"] ?? "")]);' \
	>"$folder/www/words.php"
chmod -R a+rX "$folder"
root=()
user=
if [ "$(id -u)" = 0 ]; then
	root=(-R)
	user="user = www-data"
fi
cat >"$folder/fpm.conf" <<END
[global]
error_log = $folder/fpm.log
daemonize = no
[www]
listen = 127.0.0.1:$port
$user
pm = static
pm.max_children = 4
clear_env = no
END
cat >"$folder/nginx.conf" <<END
daemon off; worker_processes 1; pid $folder/pid; error_log $folder/errors;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path $folder/body; proxy_temp_path $folder/proxy;
	fastcgi_temp_path $folder/fastcgi; uwsgi_temp_path $folder/uwsgi; scgi_temp_path $folder/scgi;
	server {
		listen 127.0.0.1:$front; root $folder/www;
		location / {
			fastcgi_pass 127.0.0.1:$port;
			fastcgi_param SCRIPT_FILENAME $folder/www\$uri; fastcgi_param SCRIPT_NAME \$uri;
			fastcgi_param REQUEST_METHOD \$request_method; fastcgi_param REQUEST_URI \$request_uri;
			fastcgi_param QUERY_STRING \$query_string;
		}
	}
}
END
record "$port" USE_ZEND_ALLOC=0 -- "$fpm" -y "$folder/fpm.conf" -F ${root[@]+"${root[@]}"}
start "$(command -v nginx)" -c "$folder/nginx.conf"
wait_port "$front"
drive "$front"
finish "A PHP application: a sorted table of 20 to 600 rows, and a small JSON answer. Four processes behind FastCGI; the web server in front is not recorded." \
	"$("$fpm" -v | head -n 1)"
