/* SPDX-License-Identifier: MIT */
#include "cli/recording/adapter.h"

#include "cli/cli.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const adapter_names[ADAPTERS + 1] = {"python", "node", NULL};

/* Python's switches that make it ignore PYTHONPATH or sitecustomize, alone or
 * in one word with others ("-sE"). Those behind a word without "-", or that
 * take a value, are the program's own. */
static const char *blind_switch(char *const *command)
{
	const char *slash = strrchr(command[0], '/');
	if (strncmp(slash ? slash + 1 : command[0], "python", 6) != 0)
		return NULL;
	for (char *const *word = command + 1; *word; word++) {
		const char *text = *word;
		if (text[0] != '-' || text[1] == '\0' || text[1] == '-')
			return NULL;
		for (const char *at = text + 1; *at; at++) {
			if (strchr("IES", *at))
				return text;
			if (strchr("cmWX", *at))
				break;
		}
		if (strchr(text, 'c') || strchr(text, 'm'))
			return NULL;
	}
	return NULL;
}

/* A colon parts the folders of PYTHONPATH and cannot be written in one. */
static int python_value(const char *piece, struct buf *value, struct err *err)
{
	const char *before = getenv("PYTHONPATH");
	if (strchr(piece, ':'))
		return err_set(err,
			       "the adapter's folder \"%s\" has a colon in its name, which"
			       " PYTHONPATH cannot hold",
			       piece);
	buf_printf(value, "%s%s%s", piece, before && *before ? ":" : "", before ? before : "");
	return 0;
}

/* Words of NODE_OPTIONS are parted by spaces, unless quoted; within quotes a
 * backslash protects the next letter. */
static int node_value(const char *piece, struct buf *value, struct err *err)
{
	const char *before = getenv("NODE_OPTIONS");
	(void)err;
	buf_printf(value, "--require \"");
	for (const char *at = piece; *at; at++)
		buf_printf(value, "%s%c", *at == '"' || *at == '\\' ? "\\" : "", *at);
	buf_printf(value, "\"%s%s", before && *before ? " " : "", before ? before : "");
	return 0;
}

static const struct {
	const char *piece, *variable, *marks;
	int (*value)(const char *piece, struct buf *value, struct err *err);
} adapters[ADAPTERS] = {
	[ADAPTER_PYTHON] = {"share/pail/adapters/python", "PYTHONPATH",
			    "asyncio and thread pools", python_value},
	[ADAPTER_NODE] = {"share/pail/adapters/node/mark.js", "NODE_OPTIONS",
			  "promises, timers and callbacks", node_value},
};

int adapter_apply(enum adapter adapter, const char *argv0, char *const *command,
		  struct err *err)
{
	char piece[PATH_MAX];
	struct buf value;
	const char *blind = adapter == ADAPTER_PYTHON ? blind_switch(command) : NULL;
	if (blind)
		return err_set(err,
			       "cannot use the adapter python: with %s Python loads no"
			       " sitecustomize from PYTHONPATH; leave that away",
			       blind);
	if (cli_locate(adapters[adapter].piece, piece, sizeof(piece), err) != 0)
		return -1;
	buf_init(&value);
	int rc = adapters[adapter].value(piece, &value, err);
	if (rc == 0 &&
	    (value.failed || setenv(adapters[adapter].variable, buf_text(&value), 1) != 0))
		rc = err_errno(err, "cannot set %s", adapters[adapter].variable);
	if (rc == 0)
		fprintf(stderr, "%s: %s=%s is set, which marks requests over %s\n", argv0,
			adapters[adapter].variable, buf_text(&value), adapters[adapter].marks);
	buf_release(&value);
	return rc;
}
