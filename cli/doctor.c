/* SPDX-License-Identifier: MIT */
/* pail doctor: whether a program can be recorded, and what to do if not. */
#include "cli/cli.h"

#include "base/json.h"
#include "libtrace/doctor/doctor.h"

#include <argp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum key { KEY_PID = 256, KEY_PLUGIN, KEY_RING, KEY_JSON };

struct words {
	char **command;
	uint64_t pid;
	const char *plugin;
	struct doctor_options options;
	bool json;
};

static const struct argp_option options[] = {
	{"pid", KEY_PID, "PID", 0, "look at a running process: what a restart would meet", 0},
	{"plugin", KEY_PLUGIN, "LIB.SO", 0, "look at a handler for pail serve --app", 0},
	{"ring", KEY_RING, "SIZE", 0, "as pail record --ring (64M)", 0},
	{"json", KEY_JSON, NULL, 0, "one JSON document, pail.doctor/1", 0},
	{0}};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct words *w = state->input;
	struct err err = {0};
	switch (key) {
	case KEY_PID:
		if (cli_parse_count("pid", text, &w->pid, &err) != 0)
			argp_error(state, "%s", err.text);
		if (w->pid == 0 || w->pid > INT_MAX)
			argp_error(state, "--pid: there is no process %s", text);
		break;
	case KEY_PLUGIN: w->plugin = text; break;
	case KEY_RING:
		if (cli_parse_size("ring", text, &w->options.ring_bytes, &err) != 0)
			argp_error(state, "%s", err.text);
		break;
	case KEY_JSON: w->json = true; break;
	case ARGP_KEY_ARGS: w->command = state->argv + state->next; break;
	case ARGP_KEY_END:
		if ((w->command != NULL) + (w->pid > 0) + (w->plugin != NULL) != 1)
			argp_error(state, "wants one of -- CMD, --pid and --plugin");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	options,
	parse,
	"-- CMD [ARG...]\n--pid=PID\n--plugin=LIB.SO",
	"Says whether a program can be recorded, and if not, why and what to do.\v"
	"Nothing of it is run. Exit: 0 it can, 1 it cannot, or only with a cure.",
	NULL,
	NULL,
	NULL};

static const char *verdict_text(const struct doctor *d, bool plugin)
{
	static const char *const texts[2][3] = {
		{"can be recorded", "can be recorded, but take the cure first",
		 "cannot be recorded"},
		{"can be served", "can be served, but take the cure first",
		 "cannot be served"}};
	return texts[plugin][doctor_verdict(d)];
}

static void write_text(const struct words *w, const struct doctor *d, struct buf *out)
{
	buf_printf(out, "%s: %s\n", d->path, verdict_text(d, w->plugin != NULL));
	if (strcmp(d->path, d->examined) != 0)
		buf_printf(out, "looked at: %s\n", d->examined);
	for (size_t i = 0; i < d->count; i++) {
		const struct finding *f = &d->finding[i];
		buf_printf(out, "\n%s: %s: %s\n      cure: %s\n", doctor_level_name(f->level),
			   f->subject, f->cause, f->cure);
		if (f->variable && !w->plugin)
			buf_printf(out,
				   "      (pail record --cure sets it for the recording)\n");
	}
}

static void write_json(const struct words *w, const struct doctor *d, struct buf *out)
{
	static const char *const verdicts[] = {"yes", "cure", "no"};
	struct json j;
	json_init(&j, out);
	json_object_begin(&j);
	json_pair_text(&j, "schema", "pail.doctor/1");
	json_pair_text(&j, "patient", w->plugin ? "plugin" : w->pid ? "process" : "program");
	json_pair_text(&j, "path", d->path);
	json_pair_text(&j, "examined", d->examined);
	json_pair_text(&j, "verdict", verdicts[doctor_verdict(d)]);
	json_key(&j, "findings");
	json_array_begin(&j);
	for (size_t i = 0; i < d->count; i++) {
		const struct finding *f = &d->finding[i];
		json_object_begin(&j);
		json_pair_text(&j, "level", doctor_level_name(f->level));
		json_pair_text(&j, "id", f->id);
		json_pair_text(&j, "subject", f->subject);
		json_pair_text(&j, "cause", f->cause);
		json_pair_text(&j, "cure", f->cure);
		json_pair_text(&j, "variable", f->variable);
		json_pair_text(&j, "value", f->value);
		json_object_end(&j);
	}
	json_array_end(&j);
	json_object_end(&j);
}

static int examine(const struct words *w, struct doctor *d, struct err *err)
{
	char server[PATH_MAX];
	if (!w->plugin)
		return w->pid ? doctor_process(d, (pid_t)w->pid, &w->options, err)
			      : doctor_program(d, w->command, &w->options, err);
	if (cli_locate("libexec/pail/pail-server", server, sizeof(server), err) != 0)
		return -1;
	return doctor_plugin(d, w->plugin, server, err);
}

int cmd_doctor(int argc, char **argv)
{
	struct words w = {0};
	struct err err = {0};
	struct doctor doctor = {0};
	struct buf out;
	char library[PATH_MAX];
	if (cli_argp_parse(&argp, argc, argv, ARGP_IN_ORDER, &w) != 0)
		return EXIT_USAGE;
	if (!w.plugin &&
	    cli_locate("lib/pail/libpailtrace.so", library, sizeof(library), &err) != 0)
		return cli_fail(argv[0], &err);
	w.options.library_path = w.plugin ? NULL : library;
	if (examine(&w, &doctor, &err) != 0) {
		doctor_release(&doctor);
		return cli_fail(argv[0], &err);
	}
	buf_init(&out);
	if (w.json)
		write_json(&w, &doctor, &out);
	else
		write_text(&w, &doctor, &out);
	int code = cli_print(argv[0], &out);
	if (code == EXIT_DONE && doctor_verdict(&doctor) != DOCTOR_NOTE)
		code = EXIT_NO;
	buf_release(&out);
	doctor_release(&doctor);
	return code;
}
