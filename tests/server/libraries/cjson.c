/* SPDX-License-Identifier: MIT */
/* cJSON: a document is read, changed, written. */
#include "library.h"

#include <cjson/cJSON.h>

static int library_work(struct pail_request *r)
{
	cJSON *root =
		cJSON_Parse("{\"a\":[1,2.5,\"three\",null,{\"b\":true}],\"c\":\"\\u00e9\"}");
	int fine = root != NULL;

	for (int i = 0; fine && i < 20; i++) {
		char key[16];
		snprintf(key, sizeof(key), "key%d", i);
		fine = cJSON_AddNumberToObject(root, key, i * 1.5) != NULL;
	}
	char *out = fine ? cJSON_Print(root) : NULL;
	if (out)
		library_say(r, out);
	fine = out != NULL;
	cJSON_free(out);
	cJSON_Delete(root);
	return fine ? 200 : 500;
}
