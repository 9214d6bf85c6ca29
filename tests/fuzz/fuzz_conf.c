/* SPDX-License-Identifier: MIT */
/*
 * Any text as a pail.conf: it is refused with a message that names the file,
 * or it is a valid plan, whose bound is the sum of its terms and which is
 * written and read back the same.
 */
#include "base/conf.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
	if (!truth)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct plan plan, again;
	struct err err = {0};
	char *text = malloc(size + 1);
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	int result = conf_parse("f.conf", text, &plan, &err);
	free(text);
	if (result < 0) {
		must(strncmp(err.text, "f.conf:", 7) == 0 && strlen(err.text) > 9);
		must(!strchr(err.text, '\n'));
		return 0;
	}
	must(limits_check(&plan, &err) == 0);
	struct bound bound;
	limits_bound(&plan, &bound);
	must(bound.total_bytes == limits_bound_bytes(&plan));
	limits_route(&plan, STR("GET"), STR("/a"));

	struct buf first, second;
	buf_init(&first);
	buf_init(&second);
	conf_write(&first, &plan, NULL, NULL, 0);
	must(conf_parse("f.conf", buf_text(&first), &again, &err) == 0);
	conf_write(&second, &again, NULL, NULL, 0);
	must(strcmp(buf_text(&first), buf_text(&second)) == 0);
	buf_release(&first);
	buf_release(&second);
	return 0;
}
