/* SPDX-License-Identifier: MIT */
/*
 * pail serve: becomes the server, libexec/pail/pail-server. Words are checked
 * here, so that --help and complaints read like those of the other commands;
 * all else is the server's.
 */
#include "cli/cli.h"
#include "cli/recording/recorder.h"
#include "server/server.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	OPTION_APP = 256,
	OPTION_LISTEN,
	OPTION_LOG,
	OPTION_PORT_FILE,
	OPTION_CHECK,
	OPTION_PRINT_BOUND,
	OPTION_JSON,
	OPTION_SEAL,
	OPTION_NO_SUPERVISOR,
	OPTION_DEBUG_ESCAPES,
	OPTION_RECORD,
	OPTION_REDACT,
};
enum { WORDS_MAX = 32 };

struct arguments {
	const char *word[WORDS_MAX]; /* of the server */
	int words;
	bool app, check, print_bound, json, redacts;
	const char *record;
	enum redact redact;
	char **rest;
	int rest_count;
};

static const struct argp_option options[] = {
	{"config", 'c', "FILE", 0,
	 "The plan, as 'pail plan' writes it; without it the defaults", 0},
	{"app", OPTION_APP, "APP", 0,
	 "What answers: a plug-in (lib.so), a folder of files, or builtin:NAME", 0},
	{"listen", OPTION_LISTEN, "ADDR", 0,
	 "Instead of [server] listen: HOST:PORT (port 0: any), [IPV6]:PORT, unix:/PATH", 0},
	{"log", OPTION_LOG, "FILE", 0,
	 "One line per request, JSON or [log] format; - is stderr. Without it only failures, "
	 "on stderr",
	 0},
	{"record", OPTION_RECORD, "TRACE", 0,
	 "Record every request there, for pail report, simulate and plan", 0},
	{"redact", OPTION_REDACT, "none|values|query|all", 0,
	 "With --record: what of targets is not stored, as pail record has it (default: values)",
	 0},
	{"port-file", OPTION_PORT_FILE, "FILE", 0, "Write the port there once it is open", 0},
	{"seal", OPTION_SEAL, NULL, 0,
	 "Have the kernel refuse every call that would map memory, once it serves", 0},
	{"no-supervisor", OPTION_NO_SUPERVISOR, NULL, 0,
	 "One process, for whoever starts it anew when it fails, such as systemd", 0},
	{"debug-escapes", OPTION_DEBUG_ESCAPES, NULL, 0,
	 "Search for pointers into each bucket after its request, and tell who keeps them", 0},
	{"check", OPTION_CHECK, NULL, 0, "Read the plan, load and start APP if given, and end",
	 0},
	{"print-bound", OPTION_PRINT_BOUND, NULL, 0,
	 "Print the most memory the server can need, term by term, and end", 0},
	{"json", OPTION_JSON, NULL, 0, "With --print-bound: one JSON document (pail.bound/1)",
	 0},
	{0},
};

static void pass(struct arguments *a, const char *word, const char *value)
{
	if (a->words + 2 >= WORDS_MAX)
		return;
	a->word[a->words++] = word;
	if (value)
		a->word[a->words++] = value;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	if (a->words + 4 >= WORDS_MAX)
		argp_error(state, "an option is given again and again");
	switch (key) {
	case 'c': pass(a, "--config", text); break;
	case OPTION_APP:
		a->app = true;
		pass(a, "--app", text);
		break;
	case OPTION_LISTEN: pass(a, "--listen", text); break;
	case OPTION_LOG: pass(a, "--log", text); break;
	case OPTION_PORT_FILE: pass(a, "--port-file", text); break;
	case OPTION_CHECK:
		a->check = true;
		pass(a, "--check", NULL);
		break;
	case OPTION_PRINT_BOUND:
		a->print_bound = true;
		pass(a, "--print-bound", NULL);
		break;
	case OPTION_SEAL: pass(a, "--seal", NULL); break;
	case OPTION_NO_SUPERVISOR: pass(a, "--no-supervisor", NULL); break;
	case OPTION_DEBUG_ESCAPES: pass(a, "--debug-escapes", NULL); break;
	case OPTION_RECORD: a->record = text; break;
	case OPTION_REDACT:
		a->redacts = true;
		if (recorder_redact(text, &a->redact) < 0)
			argp_error(state, "--redact is none, values, query or all, not '%s'",
				   text);
		break;
	case OPTION_JSON:
		a->json = true;
		pass(a, "--json", NULL);
		break;
	case ARGP_KEY_ARGS:
		a->rest = state->argv + state->next;
		a->rest_count = state->argc - state->next;
		break;
	case ARGP_KEY_END:
		if (a->json && !a->print_bound)
			argp_error(state, "--json goes with --print-bound");
		if (a->redacts && !a->record)
			argp_error(state, "--redact goes with --record");
		if (a->rest_count > 0 && !a->app)
			argp_error(state,
				   "'%s': words behind the options are the app's; give --app",
				   a->rest[0]);
		if (!a->app && !a->check && !a->print_bound)
			argp_error(state,
				   "no app to serve; give --app with lib.so, a folder, or "
				   "builtin:NAME");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[-- ARG...]",
	.doc = "Runs the server: every request in a bucket of fixed size, and never more memory "
	       "than --print-bound says. ARGs go to the plug-in's pail_start()."
	       "\vSIGTERM and SIGINT answer what is under way and end; SIGHUP and SIGUSR1 open the logs anew. "
	       "Exit: 0 ended by a signal, 2 usage, 3 bad plan, app or environment.",
};

/* Its word for the server. Where nothing is served it is only counted. */
static int record(const struct arguments *a, int argc, char **argv, char word[32],
		  struct err *err)
{
	struct buf command;
	int fd;
	pid_t pid;

	if (a->check || a->print_bound) {
		snprintf(word, 32, "-:0");
		return 0;
	}
	buf_init(&command);
	buf_append_str(&command, "serve");
	for (int i = 1; i < argc; i++)
		buf_printf(&command, " %s", argv[i]);
	struct recorder recorder = {argv[0], a->record, buf_text(&command), a->redact};
	int rc = recorder_start(&recorder, &fd, &pid, err);
	buf_release(&command);
	if (rc == 0)
		snprintf(word, 32, "%d:%d", fd, (int)pid);
	return rc;
}

int cmd_serve(int argc, char **argv)
{
	char recorder[32];
	struct arguments a = {.word = {"pail-server"}, .words = 1};
	struct err err = {0};
	char path[4096];

	if (cli_argp_parse(&argp, argc, argv, 0, &a) != 0)
		return EXIT_USAGE;
	if (cli_locate(SERVER_PROGRAM, path, sizeof(path), &err) < 0)
		return cli_fail(argv[0], &err);
	if (a.record && record(&a, argc, argv, recorder, &err) < 0)
		return cli_fail(argv[0], &err);
	char **words = calloc((size_t)a.words + (size_t)a.rest_count + 4, sizeof(*words));
	if (!words) {
		err_errno(&err, "no memory for the command line");
		return cli_fail(argv[0], &err);
	}
	size_t count = 0;
	for (int i = 0; i < a.words; i++)
		words[count++] = (char *)a.word[i];
	if (a.record) {
		words[count++] = (char *)"--recorder";
		words[count++] = recorder;
	}
	words[count++] = (char *)"--";
	for (int i = 0; i < a.rest_count; i++)
		words[count++] = a.rest[i];
	execv(path, words);
	err_errno(&err, "can't run '%s'", path);
	free(words);
	return cli_fail(argv[0], &err);
}
