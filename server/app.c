/* SPDX-License-Identifier: MIT */
#include "server/app.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef PAIL_GUESTS /* the build says where an installation has them */
#	define PAIL_GUESTS "lib/pail"
#endif

_Thread_local char handler_message[256];

static int app_builtin(const char *name, struct handler *handler, struct err *err)
{
	const struct handler *found = builtin_find(name);

	if (found) {
		*handler = *found;
		return 0;
	}
	char names[256] = "";
	size_t length = 0;
	for (size_t i = 0; builtin_all[i] && length < sizeof(names); i++)
		length += (size_t)snprintf(names + length, sizeof(names) - length, "%s%s",
					   i ? ", " : "", builtin_all[i]->name);
	return err_usage(err, "there is no built-in '%s'; there are: %s", name, names);
}

/* dlsym() of a function, without the cast that ISO C has no word for. */
#define SYMBOL(library, name, field) (*(void **)&(field) = dlsym((library), (name)))

static int app_load(const char *app, const char *path, struct handler *handler, struct err *err)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return err_set(err, "can't load the plug-in: %s", dlerror());
	*handler = (struct handler){.name = app};
	SYMBOL(library, "pail_handle", handler->handle);
	SYMBOL(library, "pail_start", handler->start);
	SYMBOL(library, "pail_thread_start", handler->thread_start);
	SYMBOL(library, "pail_bucket_start", handler->bucket_start);
	SYMBOL(library, "pail_reload", handler->reload);
	SYMBOL(library, "pail_request_end", handler->request_end);
	if (!handler->handle)
		return err_set(err,
			       "the plug-in '%s' has no pail_handle(); it must be defined, and "
			       "not static (see pail/handler.h)",
			       app);
	return 0;
}

static int app_plugin(const char *app, struct handler *handler, struct err *err)
{
	char path[4096];

	/* A name without a slash would be looked for in the system's folders. */
	snprintf(path, sizeof(path), "%s%s", strchr(app, '/') ? "" : "./", app);
	return app_load(app, path, handler, err);
}

/* The guest that runs scripts of that kind: a plug-in in lib/pail, found from
 * where this program is, libexec/pail. NULL: no script. */
static const char *guest_for(const char *app)
{
	const char *dot = strrchr(app, '.');

	if (dot && strcmp(dot, ".lua") == 0)
		return "guest-lua.so";
	return dot && strcmp(dot, ".js") == 0 ? "guest-js.so" : NULL;
}

int app_library(const char *name, char *path, size_t room, struct err *err)
{
	static const char *const folders[] = {"lib/pail", PAIL_GUESTS};
	ssize_t length = readlink("/proc/self/exe", path, room - 1);

	if (length < 0)
		return err_errno(err, "can't tell where pail-server is");
	path[length] = 0;
	for (int up = 0; up < 3; up++)
		*(strrchr(path, '/') ? strrchr(path, '/') : path) = 0;
	size_t prefix = strlen(path);
	for (size_t i = 0; i < 2; i++) {
		snprintf(path + prefix, room - prefix, "/%s/%s", folders[i], name);
		if (access(path, R_OK) == 0)
			return 0;
	}
	return err_set(err, "'%s' is missing (it is built where its library is installed)",
		       path);
}

static int app_script(const char *app, const char *guest, struct handler *handler,
		      struct err *err)
{
	char path[4096];

	if (app_library(guest, path, sizeof(path), err) < 0)
		return err_prefix(err, "can't run the script '%s'", app);
	return app_load(app, path, handler, err);
}

int app_open(const char *app, struct handler *handler, struct err *err)
{
	struct stat about;

	if (strncmp(app, "builtin:", 8) == 0)
		return app_builtin(app + 8, handler, err);
	if (stat(app, &about) < 0)
		return err_errno(err, "can't find the app '%s'", app);
	if (S_ISDIR(about.st_mode)) {
		*handler = files_handler;
		handler->name = app;
		return 0;
	}
	if (S_ISREG(about.st_mode) && guest_for(app))
		return app_script(app, guest_for(app), handler, err);
	if (S_ISREG(about.st_mode))
		return app_plugin(app, handler, err);
	return err_set(err,
		       "the app '%s' is neither a plug-in (lib.so), nor a script (.lua, .js), "
		       "nor a folder",
		       app);
}
