/* SPDX-License-Identifier: MIT */
/*
 * A handler for `pail serve --app ./handler.so`: counts the words of a posted
 * text. It allocates as it pleases and frees nothing; the bucket does. What it
 * opens it defers the closing of, should the request be left in the middle.
 */
#include <ctype.h>
#include <pail/handler.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct word {
	struct word *next;
	size_t count, length;
	const char *text;
};

static struct word *words_count(const char *text, size_t length)
{
	struct word *words = NULL;

	for (size_t at = 0; at < length;) {
		size_t start = at;
		while (at < length && isalnum((unsigned char)text[at]))
			at++;
		if (at == start) {
			at++;
			continue;
		}
		struct word *word = words;
		while (word && (word->length != at - start ||
				memcmp(word->text, text + start, at - start) != 0))
			word = word->next;
		if (!word) {
			word = malloc(sizeof(*word)); /* never NULL: it jumps */
			*word = (struct word){words, 0, at - start, text + start};
			words = word;
		}
		word->count++;
	}
	return words;
}

static void scratch_close(void *file)
{
	fclose(file);
}

int pail_handle(struct pail_request *r)
{
	const void *body;

	if (strcmp(pail_method(r), "POST") != 0) {
		pail_set_header(r, "Allow", "POST");
		return 405;
	}
	size_t length = pail_body(r, &body); /* yields until it is there */
	FILE *scratch = tmpfile();
	if (!scratch) {
		pail_explain(r, "no temporary file");
		return 500;
	}
	pail_defer(r, scratch_close, scratch);
	for (struct word *word = words_count(body, length); word; word = word->next)
		fprintf(scratch, "%zu %.*s\n", word->count, (int)word->length, word->text);
	rewind(scratch);
	pail_set_header(r, "Content-Type", "text/plain");
	char line[256];
	while (fgets(line, sizeof(line), scratch))
		if (pail_write(r, line, strlen(line)) < 0)
			break; /* the client went away */
	return 200;
}
