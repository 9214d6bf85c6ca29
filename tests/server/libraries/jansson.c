/* SPDX-License-Identifier: MIT */
/* jansson: a document is read, changed, written. */
#include "library.h"

#include <jansson.h>

int pail_start(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	json_object_seed(1);
	return 0;
}

static int library_work(struct pail_request *r)
{
	json_error_t error;
	json_t *root = json_loads(
		"{\"a\":[1,2.5,\"three\",null,{\"b\":true}],\"c\":\"\\u00e9\"}", 0, &error);

	for (int i = 0; root && i < 30; i++) {
		char key[16];
		snprintf(key, sizeof(key), "key%d", i);
		if (json_object_set_new(root, key, json_integer(i)) != 0)
			return 500;
	}
	char *out = root ? json_dumps(root, JSON_SORT_KEYS) : NULL;
	if (!out)
		return 500;
	library_say(r, out);
	free(out);
	json_decref(root);
	return 200;
}
