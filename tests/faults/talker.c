/* SPDX-License-Identifier: MIT */
/*
 * A program to record that needs nobody: it serves itself REQUESTS requests over
 * a loopback connection. Makes FOLDER/begun at its start and FOLDER/done at its
 * end, and exits with 7; anything else says that it was harmed.
 *
 *	talker FOLDER REQUESTS PAUSE_US
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void must(int good, int code)
{
	if (!good)
		_exit(code);
}

static void mark(const char *folder, const char *name)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	must(fd >= 0, 90);
	close(fd);
}

int main(int argc, char **argv)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	struct sockaddr_in name = {.sin_family = AF_INET};
	socklen_t length = sizeof(name);
	char bytes[512];
	must(argc == 4, 91);
	mark(argv[1], "begun");
	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(listener >= 0 && bind(listener, (struct sockaddr *)&name, length) == 0, 92);
	must(listen(listener, 4) == 0, 93);
	must(getsockname(listener, (struct sockaddr *)&name, &length) == 0, 94);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(connect(client, (struct sockaddr *)&name, length) == 0, 95);
	int server = accept(listener, NULL, NULL);
	must(server >= 0, 96);
	for (long i = 0, count = atol(argv[2]); i < count; i++) {
		int n = snprintf(bytes, sizeof(bytes),
				 "GET /item?n=%ld HTTP/1.1\r\nHost: h\r\n\r\n", i);
		must(write(client, bytes, (size_t)n) == n, 97);
		must(read(server, bytes, sizeof(bytes)) == n, 98);
		void *volatile block = malloc(1000 + (size_t)i % 1000);
		must(block != NULL, 99);
		free(block);
		must(write(server, answer, strlen(answer)) == (ssize_t)strlen(answer), 100);
		must(read(client, bytes, sizeof(bytes)) == (ssize_t)strlen(answer), 101);
		if (atol(argv[3]) > 0)
			usleep((useconds_t)atol(argv[3]));
	}
	mark(argv[1], "done");
	return 7;
}
