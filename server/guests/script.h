/* SPDX-License-Identifier: MIT */
/*
 * The script that a guest runs, shared by the guests for Lua and JavaScript. A
 * guest is a plug-in of its own (lib/pail/guest-lua.so, guest-js.so), so the
 * server links no interpreter; --app app.lua loads it.
 *
 * The text is read once, in pail_start(), into the server's system region, and
 * every bucket makes its interpreter from it in pail_bucket_start(). SIGHUP
 * comes as pail_reload(): the file is read again, tried outside of any bucket,
 * and takes the old one's place; the server then has every bucket start anew
 * before its next request. A text that a bucket is reading is freed by the last
 * who gives it back, whichever thread that is.
 *
 * Every message names the file and, where there is one, the line.
 */
#ifndef PAIL_SERVER_GUESTS_SCRIPT_H
#define PAIL_SERVER_GUESTS_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

struct script {
	const char *path; /* as --app has it */
	const char *name; /* its last part */
	char *text;       /* NUL-terminated */
	size_t bytes;
	uint32_t users;
};

enum { SCRIPT_BYTES_MAX = 8 << 20 };

/* What one interpreter makes of a text, outside of any bucket: 0, or not 0
 * after pail_explain(). Frees all that it took. */
typedef int script_try_fn(const struct script *script);

/* pail_start() and pail_reload(): 0, or 1 after pail_explain(); the script that
 * was there before is then kept. */
int script_load(const char *path, script_try_fn *try);
int script_reload(script_try_fn *try);

/* The newest, until it is given back. */
struct script *script_take(void);
void script_give(struct script *script);

/* An explanation of a failure, printf-like: for the request r, or NULL. */
struct pail_request;
__attribute__((format(printf, 2, 3))) void script_explain(struct pail_request *r,
							  const char *format, ...);

#endif
