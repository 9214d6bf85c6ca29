/* SPDX-License-Identifier: MIT */
/* libyaml: a document is loaded, and written anew. */
#include "library.h"

#include <yaml.h>

static const char text[] =
	"a: [1, 2.5, three]\nb:\n  - &x {c: d}\n  - *x\ntext: |\n  some\n  lines\n";

static int take(void *context, unsigned char *bytes, size_t size)
{
	pail_write(context, bytes, size);
	return 1;
}

static int library_work(struct pail_request *r)
{
	yaml_parser_t parser;
	yaml_emitter_t emitter;
	yaml_event_t event;
	int done = 0, fine = yaml_parser_initialize(&parser);

	if (!fine)
		return 500;
	if (!yaml_emitter_initialize(&emitter)) {
		yaml_parser_delete(&parser);
		return 500;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, sizeof(text) - 1);
	yaml_emitter_set_output(&emitter, take, r);
	while (fine && !done) {
		fine = yaml_parser_parse(&parser, &event);
		if (!fine)
			break;
		done = event.type == YAML_STREAM_END_EVENT;
		fine = yaml_emitter_emit(&emitter, &event); /* takes the event */
	}
	yaml_emitter_delete(&emitter);
	yaml_parser_delete(&parser);
	return fine ? 200 : 500;
}
