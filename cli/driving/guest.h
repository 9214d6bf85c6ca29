/* SPDX-License-Identifier: MIT */
/*
 * A pail-server of our own for the length of one command: started on a
 * loopback port that the kernel chooses, with its files in a temporary folder,
 * and gone with them when it is closed, or when this process dies.
 *
 *	guest_prepare()  the folder exists, files can be put into it
 *	guest_start()    the server answers on guest.port
 *	guest_close()    it was told to end, was waited for, the folder is removed
 */
#ifndef PAIL_CLI_GUEST_H
#define PAIL_CLI_GUEST_H

#include "base/err.h"
#include "base/limits.h"

#include <stdint.h>
#include <sys/types.h>

struct guest {
	char folder[256]; /* "" when there is none */
	pid_t pid;        /* 0 when there is none */
	uint16_t port;
	int exit_status; /* as of waitpid(2), after guest_close() */
};

int guest_prepare(struct guest *guest, struct err *err);
/* The path of a file in the folder. */
void guest_path(const struct guest *guest, const char *name, char *path, size_t path_size);
/* Runs `program -c CONF --app APP -- arguments...` under the plan, of which
 * only `listen` and `admin` are changed. `arguments` ends with NULL. */
int guest_start(struct guest *guest, const char *program, const struct plan *plan,
		const char *app, const char *const *arguments, struct err *err);
/* Peak resident bytes so far, as the kernel counts them (VmHWM); 0: unknown. */
uint64_t guest_peak_bytes(const struct guest *guest);
/* Ends the server and waits for it; its files stay until guest_close(). */
void guest_stop(struct guest *guest);
/* Safe in every state. */
void guest_close(struct guest *guest);

#endif
