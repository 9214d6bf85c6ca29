/* SPDX-License-Identifier: MIT */
#include "server/startup.h"

#include "base/conf.h"
#include "server/operation/activation.h"
#include "server/operation/admin.h"
#include "server/operation/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Says where in pail.conf the fault has its cause. */
static int blame_in(const char *conf, const char *section, const char *key, struct err *err)
{
	int line = conf ? conf_line(conf, section, key) : 0;

	return line ? err_prefix(err, "%s:%d: [%s] %s", conf, line, section, key)
		    : err_prefix(err, "[%s] %s", section, key);
}

static int blame(const char *conf, const char *key, struct err *err)
{
	return blame_in(conf, "server", key, err);
}

int startup(const struct plan *plan, const char *conf, struct startup *s, struct err *err)
{
	const char *key;
	unsigned port;

	s->tls_fd = -1;
	if (activation_sockets(&s->listen_fd, &s->admin_fd, err) < 0)
		return -1;
	if (s->listen_fd >= 0 && listen_adopt(plan, s->listen_fd, s->name, &s->port, err) < 0)
		return -1;
	if (s->listen_fd < 0)
		s->listen_fd = listen_open(plan, plan->listen, s->name, &s->port, err);
	if (s->listen_fd < 0)
		return -1;
	if (s->admin_fd >= 0 && !plan->admin[0])
		return err_set(err, "LISTEN_FDS brings a second socket, and the plan has no "
				    "admin address to count its memory (set [server] admin)");
	if (plan->admin[0]) {
		s->admin_fd = admin_listen(plan, s->admin_fd, s->admin_name, err);
		if (s->admin_fd < 0)
			return blame(conf, "admin", err);
	}
	if (plan->tls.listen[0]) {
		s->tls_fd = listen_open(plan, plan->tls.listen, s->tls_name, &port, err);
		if (s->tls_fd < 0)
			return err_prefix(err, "[tls] listen");
	}
	if (privileges_drop(plan, &key, err) < 0)
		return blame(conf, key, err);
	return 0;
}

/* -- --check ------------------------------------------------------------------- */

static int address_check(const struct plan *plan, const char *conf, const char *key,
			 const char *address, struct err *err)
{
	char name[LISTEN_NAME_MAX];
	unsigned port;

	if (strncmp(address, "unix:", 5) == 0)
		return 0; /* to bind it would make it */
	int fd = listen_open(plan, address, name, &port, err);
	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (err->errnum != EADDRINUSE)
		return blame(conf, key, err);
	fprintf(stderr, "pail serve: note: %s, which is fine if that is this server\n",
		err->text);
	return 0;
}

/* The file can be written, or made. */
static int log_check(const char *conf, const char *section, const char *key, const char *log,
		     struct err *err)
{
	if (!*log || strcmp(log, "-") == 0 || strcmp(log, "none") == 0)
		return 0;
	bool exists = faccessat(AT_FDCWD, log, F_OK, AT_EACCESS) == 0;
	char folder[4096];
	const char *slash = strrchr(log, '/');
	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - log + 1) : 1,
		 slash ? log : ".");
	if (faccessat(AT_FDCWD, exists ? log : folder, exists ? W_OK : W_OK | X_OK,
		      AT_EACCESS) == 0)
		return 0;
	err_errno(err, exists ? "can't write to '%s'" : "can't make '%s'", log);
	return blame_in(conf, section, key, err);
}

int startup_check(const struct plan *plan, const char *conf, const char *log, struct err *err)
{
	const char *key;

	if (address_check(plan, conf, "listen", plan->listen, err) < 0)
		return -1;
	if (plan->admin[0] && address_check(plan, conf, "admin", plan->admin, err) < 0)
		return -1;
	if (plan->tls.listen[0] &&
	    address_check(plan, conf, "listen", plan->tls.listen, err) < 0)
		return -1;
	if (privileges_drop(plan, &key, err) < 0)
		return blame(conf, key, err);
	if (log_check(conf, "server", "log", log ? log : plan->log, err) < 0)
		return -1;
	return log_check(conf, "log", "errors", plan->logs.errors, err);
}
