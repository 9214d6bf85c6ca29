/* SPDX-License-Identifier: MIT */
#include "server/http/mime.h"

#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 4 << 20, EXTENSION_MAX = 32 };

struct mime {
	const char *extension, *type;
};

/* Sorted by extension, as the loaded table is. */
static const struct mime built_in[] = {
	{"avif", "image/avif"},
	{"bmp", "image/bmp"},
	{"css", "text/css"},
	{"csv", "text/csv"},
	{"gif", "image/gif"},
	{"gz", "application/gzip"},
	{"htm", "text/html"},
	{"html", "text/html"},
	{"ico", "image/vnd.microsoft.icon"},
	{"jpeg", "image/jpeg"},
	{"jpg", "image/jpeg"},
	{"js", "text/javascript"},
	{"json", "application/json"},
	{"map", "application/json"},
	{"md", "text/markdown"},
	{"mjs", "text/javascript"},
	{"mp3", "audio/mpeg"},
	{"mp4", "video/mp4"},
	{"ogg", "audio/ogg"},
	{"otf", "font/otf"},
	{"pdf", "application/pdf"},
	{"png", "image/png"},
	{"svg", "image/svg+xml"},
	{"ttf", "font/ttf"},
	{"txt", "text/plain"},
	{"wasm", "application/wasm"},
	{"webm", "video/webm"},
	{"webmanifest", "application/manifest+json"},
	{"webp", "image/webp"},
	{"woff", "font/woff"},
	{"woff2", "font/woff2"},
	{"xml", "application/xml"},
	{"zip", "application/zip"},
	{"zst", "application/zstd"},
};

static struct {
	char *text; /* the file, cut into words in place */
	struct mime *entry;
	size_t count;
} loaded;

/* No more words than this: where a blank is followed by none. */
static size_t words_at_most(const char *text)
{
	size_t words = 1;

	for (; *text; text++)
		words +=
			(text[0] == ' ' || text[0] == '\t' || text[0] == '\n') && text[1] > ' ';
	return words;
}

/* "type  extension extension ...", to the end or to a '#'. */
static size_t line_take(char *line, struct mime *entry)
{
	size_t count = 0;
	char *rest, *type, *word;

	line[strcspn(line, "#")] = '\0';
	type = strtok_r(line, " \t\r", &rest);
	if (!type || !strchr(type, '/'))
		return 0;
	while ((word = strtok_r(NULL, " \t\r", &rest))) {
		for (char *c = word; *c; c++)
			if (*c >= 'A' && *c <= 'Z')
				*c = (char)(*c | 0x20);
		entry[count++] = (struct mime){word, type};
	}
	return count;
}

/* By extension; of two lines for one, the first in the file. */
static int entry_order(const void *a, const void *b)
{
	const struct mime *x = a, *y = b;
	int order = strcmp(x->extension, y->extension);

	return order ? order : (x->extension > y->extension) - (x->extension < y->extension);
}

int mime_load(const char *path, struct err *err)
{
	size_t length, unique = 0;
	char *line, *next;

	assert(!loaded.text);
	if (access(path, F_OK) && errno == ENOENT)
		return 0;
	if (file_read_all(path, FILE_BYTES_MAX, &loaded.text, &length, err))
		return -1;
	loaded.entry = malloc(words_at_most(loaded.text) * sizeof(loaded.entry[0]));
	if (!loaded.entry) {
		mime_release();
		return err_set(err, "no memory for the media types of '%s'", path);
	}
	for (line = loaded.text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		loaded.count += line_take(line, loaded.entry + loaded.count);
	}
	qsort(loaded.entry, loaded.count, sizeof(loaded.entry[0]), entry_order);
	for (size_t i = 0; i < loaded.count; i++)
		if (!i || strcmp(loaded.entry[i].extension, loaded.entry[unique - 1].extension))
			loaded.entry[unique++] = loaded.entry[i];
	loaded.count = unique;
	return 0;
}

void mime_release(void)
{
	free(loaded.entry);
	free(loaded.text);
	loaded.entry = NULL;
	loaded.text = NULL;
	loaded.count = 0;
}

static int extension_order(const void *key, const void *entry)
{
	return strcmp(key, ((const struct mime *)entry)->extension);
}

static const char *find(const struct mime *entry, size_t count, const char *extension)
{
	const struct mime *found =
		count ? bsearch(extension, entry, count, sizeof(*entry), extension_order)
		      : NULL;

	return found ? found->type : NULL;
}

const char *mime_of(struct str name)
{
	const char *dot = memrchr(name.bytes, '.', name.length), *type;
	char extension[EXTENSION_MAX];
	size_t length = dot ? (size_t)(name.bytes + name.length - dot) - 1 : 0;

	if (length == 0 || length >= sizeof(extension))
		return "application/octet-stream";
	for (size_t i = 0; i < length; i++) {
		char c = dot[1 + i];
		extension[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	extension[length] = '\0';
	type = find(loaded.entry, loaded.count, extension);
	if (!type)
		type = find(built_in, sizeof(built_in) / sizeof(built_in[0]), extension);
	return type ? type : "application/octet-stream";
}
