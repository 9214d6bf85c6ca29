/* SPDX-License-Identifier: MIT */
#include "server/content/files.h"

#include "server/http/date.h"
#include "server/http/mime.h"
#include "server/http/negotiate.h"
#include "server/http/parse_class.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ALLOWED    "GET, HEAD, OPTIONS"
#define MIME_TYPES "/etc/mime.types"

static int root_fd = -1;

/* -- paths ---------------------------------------------------------------- */

static int hex_digit(char c)
{
	return is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* One segment without its slash: may it name a file? */
static bool segment_is_right(struct str segment)
{
	if (segment.length == 0)
		return false;
	return segment.bytes[0] != '.' || str_equal(segment, STR(".well-known"));
}

int files_path(char out[FILES_PATH_MAX], struct str path)
{
	size_t length = 0, segment = 0;

	if (path.length == 0 || path.bytes[0] != '/')
		return -1;
	for (size_t i = 1; i < path.length; i++) {
		char c = path.bytes[i];

		if (length + 1 >= FILES_PATH_MAX)
			return -1;
		if (c == '/') {
			if (!segment_is_right((struct str){out + segment, length - segment}))
				return -1;
			segment = length + 1;
		} else if (c == '%') {
			if (path.length - i < 3 || !is(path.bytes[i + 1], XCHAR) ||
			    !is(path.bytes[i + 2], XCHAR))
				return -1;
			c = (char)(hex_digit(path.bytes[i + 1]) << 4 |
				   hex_digit(path.bytes[i + 2]));
			if (c == '\0' || c == '/')
				return -1;
			i += 2;
		} else if (c == '\0') {
			return -1;
		}
		out[length++] = c;
	}
	/* Behind the last slash: a file's name, or nothing, of a folder. */
	if (length > segment &&
	    !segment_is_right((struct str){out + segment, length - segment}))
		return -1;
	if (length == 0)
		out[length++] = '.';
	out[length] = '\0';
	return (int)length;
}

/* A file beneath the folder, or -1 with errno. O_NONBLOCK: no waiting for the
 * other end of a FIFO, which is then not sent anyway. */
static int open_beneath(int dir, const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd;
	int tries = 0;

	/* EAGAIN: something was renamed meanwhile, and the kernel can't be sure. */
	do
		fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN) && ++tries < 16);
	return (int)fd;
}

static int open_stat(const char *path, struct stat *stat)
{
	int fd = open_beneath(root_fd, path);

	if (fd >= 0 && fstat(fd, stat) < 0) {
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* -- answers -------------------------------------------------------------- */

static int answer_text(struct pail_request *r, int status, const char *text)
{
	pail_set_header(r, "Content-Type", "text/plain; charset=utf-8");
	pail_write(r, text, strlen(text));
	return status;
}

static int answer_errno(struct pail_request *r, int errnum)
{
	switch (errnum) {
	case EACCES:
	case EPERM: return answer_text(r, 403, "Forbidden\n");
	case EMFILE:
	case ENFILE:
	case ENOMEM: return answer_text(r, 503, "Service Unavailable\n");
	case EIO: return answer_text(r, 500, "Internal Server Error\n");
	/* Not there, or out of the folder (EXDEV), or a loop of links (ELOOP), a
	 * name too long, a file where a folder is asked for, a socket (ENXIO). */
	default: return answer_text(r, 404, "Not Found\n");
	}
}

/* A method that only other resources could have is 405; one that nobody has
 * is 501 (RFC 9110, 9.1). */
static int answer_method(struct pail_request *r, struct str method)
{
	static const char *const known[] = {"POST",  "PUT",   "DELETE",
					    "PATCH", "TRACE", "CONNECT"};

	if (str_equal(method, STR("OPTIONS"))) {
		pail_set_header(r, "Allow", ALLOWED);
		return 204;
	}
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (str_equal(method, str_of(known[i]))) {
			pail_set_header(r, "Allow", ALLOWED);
			return answer_text(r, 405, "Method Not Allowed\n");
		}
	}
	return answer_text(r, 501, "Not Implemented\n");
}

/* The folder with a slash behind it. The path has no empty segments, so that
 * this can't be read as another host's name. */
static int answer_redirect(struct pail_request *r)
{
	char location[FILES_PATH_MAX + 2];
	const char *query = pail_query(r);
	int length = snprintf(location, sizeof(location), "%s/%s%s", pail_path(r),
			      *query ? "?" : "", query);

	if (length < 0 || (size_t)length >= sizeof(location) ||
	    pail_set_header(r, "Location", location))
		return answer_text(r, 414, "URI Too Long\n");
	return answer_text(r, 301, "Moved Permanently\n");
}

/* -- a file and its precompressed neighbours ------------------------------ */

struct found {
	int fd;
	struct stat stat;
	enum coding coding;
	bool varies; /* there are neighbours: who asks differently may get another */
};

static const struct {
	const char *suffix, *coding, *etag;
} coding_text[CODINGS] = {
	[CODING_BR] = {".br", "br", "-br"},
	[CODING_ZSTD] = {".zst", "zstd", "-zst"},
	[CODING_GZIP] = {".gz", "gzip", "-gz"},
	[CODING_IDENTITY] = {"", "identity", ""},
};

static bool is_older(const struct stat *a, const struct stat *b)
{
	return a->st_mtim.tv_sec != b->st_mtim.tv_sec ? a->st_mtim.tv_sec < b->st_mtim.tv_sec
						      : a->st_mtim.tv_nsec < b->st_mtim.tv_nsec;
}

static void accept_read(const struct pail_request *r, struct accept_encoding *accept)
{
	const char *name, *value;

	accept_encoding_init(accept);
	for (size_t i = 0; pail_header_at(r, i, &name, &value); i++)
		if (str_equal_nocase(str_of(name), STR("Accept-Encoding")))
			accept_encoding_read(accept, str_of(value));
}

/* Takes a neighbour's place in `found` where the client wants it more, or as
 * much and it is smaller. `path` has room for a suffix. */
static void neighbours_try(struct found *found, char *path, size_t length,
			   const struct accept_encoding *accept)
{
	struct stat plain = found->stat;
	int best = accept_encoding_q(accept, CODING_IDENTITY);

	for (enum coding coding = 0; coding < CODING_IDENTITY; coding++) {
		int q = accept_encoding_q(accept, coding), fd;
		struct stat stat;

		memcpy(path + length, coding_text[coding].suffix,
		       strlen(coding_text[coding].suffix) + 1);
		fd = open_beneath(root_fd, path);
		if (fd < 0)
			continue;
		if (fstat(fd, &stat) || !S_ISREG(stat.st_mode) || is_older(&stat, &plain)) {
			close(fd);
			continue;
		}
		found->varies = true;
		if (q == 0 || q < best || (q == best && stat.st_size >= found->stat.st_size)) {
			close(fd);
			continue;
		}
		close(found->fd);
		found->fd = fd;
		found->stat = stat;
		found->coding = coding;
		best = q;
	}
	path[length] = '\0';
}

static size_t hex_put(char *out, uint64_t value)
{
	char text[16];
	size_t count = 0;

	do
		text[count++] = "0123456789abcdef"[value & 15];
	while (value >>= 4);
	for (size_t i = 0; i < count; i++)
		out[i] = text[count - 1 - i];
	return count;
}

static void etag_of(char out[FILES_ETAG_MAX], const struct found *found)
{
	const char *suffix = coding_text[found->coding].etag;
	size_t at = 0;

	out[at++] = '"';
	at += hex_put(out + at, (uint64_t)found->stat.st_size);
	out[at++] = '-';
	at += hex_put(out + at, (uint64_t)found->stat.st_mtim.tv_sec * 1000000000u +
					(uint64_t)found->stat.st_mtim.tv_nsec);
	memcpy(out + at, suffix, strlen(suffix));
	at += strlen(suffix);
	out[at++] = '"';
	out[at] = '\0';
	assert(at < FILES_ETAG_MAX);
}

/* -- preconditions -------------------------------------------------------- */

struct validators {
	struct str etag;
	char etag_text[FILES_ETAG_MAX], modified[DATE_TEXT_BYTES];
	int64_t modified_s, now_s;
};

/* Several field lines of that name are one list. -1: none was sent. */
static int etag_in_lines(const struct pail_request *r, struct str name, struct str etag,
			 bool strong)
{
	const char *field, *value;
	int listed = -1;

	for (size_t i = 0; pail_header_at(r, i, &field, &value); i++)
		if (str_equal_nocase(str_of(field), name) && listed != 1)
			listed = etag_listed(str_of(value), etag, strong);
	return listed;
}

static bool date_of(const struct pail_request *r, const char *name, int64_t now_s,
		    int64_t *date)
{
	const char *value = pail_header(r, name);

	return value && date_parse(str_of(value), now_s, date) == 0;
}

/* RFC 9110, 13.2.2, for GET and HEAD: 200, 304 or 412. */
static int preconditions(const struct pail_request *r, const struct validators *validators)
{
	int64_t date;
	int listed = etag_in_lines(r, STR("If-Match"), validators->etag, true);

	if (listed == 0)
		return 412;
	if (listed < 0 && date_of(r, "If-Unmodified-Since", validators->now_s, &date) &&
	    validators->modified_s > date)
		return 412;
	listed = etag_in_lines(r, STR("If-None-Match"), validators->etag, false);
	if (listed >= 0)
		return listed ? 304 : 200;
	if (date_of(r, "If-Modified-Since", validators->now_s, &date) &&
	    validators->modified_s <= date)
		return 304;
	return 200;
}

/* May the range be used? A date counts only if the file has not changed in
 * that same second (RFC 9110, 8.8.2.2), as it then is a strong validator. */
static bool if_range_holds(const struct pail_request *r, const struct validators *validators)
{
	const char *value = pail_header(r, "If-Range");

	if (!value)
		return true;
	if (*value == '"' || str_starts(str_of(value), STR("W/")))
		return str_equal(str_of(value), validators->etag);
	return str_equal(str_of(value), str_of(validators->modified)) &&
	       validators->modified_s < validators->now_s;
}

/* -- the handler ---------------------------------------------------------- */

static void validators_of(struct validators *validators, const struct found *found)
{
	etag_of(validators->etag_text, found);
	validators->etag = str_of(validators->etag_text);
	validators->now_s = time(NULL);
	/* A time to come would never be "not modified since" (RFC 9110, 8.8.2.1). */
	validators->modified_s = found->stat.st_mtim.tv_sec < validators->now_s
					 ? found->stat.st_mtim.tv_sec
					 : validators->now_s;
	date_format(validators->modified, validators->modified_s);
}

static int send_found(struct pail_request *r, const struct found *found, const char *path)
{
	uint64_t size = (uint64_t)found->stat.st_size, first = 0, length = size;
	const char *range = pail_header(r, "Range");
	struct validators validators;
	enum range_result part = RANGE_WHOLE;
	char text[96];
	int status;

	validators_of(&validators, found);
	status = preconditions(r, &validators);
	if (status == 412) {
		close(found->fd);
		return answer_text(r, 412, "Precondition Failed\n");
	}
	pail_set_header(r, "ETag", validators.etag_text);
	pail_set_header(r, "Last-Modified", validators.modified);
	if (found->varies)
		pail_set_header(r, "Vary", "Accept-Encoding");
	if (status == 304) {
		close(found->fd);
		return 304;
	}
	pail_set_header(r, "Accept-Ranges", "bytes");
	if (range && str_equal(str_of(pail_method(r)), STR("GET")) &&
	    if_range_holds(r, &validators))
		part = range_read(str_of(range), size, &first, &length);
	if (part == RANGE_NONE) {
		close(found->fd);
		snprintf(text, sizeof(text), "bytes */%llu", (unsigned long long)size);
		pail_set_header(r, "Content-Range", text);
		return answer_text(r, 416, "Range Not Satisfiable\n");
	}
	if (part == RANGE_WHOLE) {
		first = 0;
		length = size;
	} else {
		snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)first,
			 (unsigned long long)(first + length - 1), (unsigned long long)size);
		pail_set_header(r, "Content-Range", text);
	}
	pail_set_header(r, "Content-Type", mime_of(str_of(path)));
	if (found->coding != CODING_IDENTITY)
		pail_set_header(r, "Content-Encoding", coding_text[found->coding].coding);
	if (handler_send_file(r, found->fd, (off_t)first, length))
		return 500;
	return part == RANGE_PART ? 206 : 200;
}

static int files_handle(struct pail_request *r)
{
	/* Room for "index.html" and a suffix behind the path. */
	char path[FILES_PATH_MAX + 16];
	struct accept_encoding accept;
	struct str method = str_of(pail_method(r));
	struct found found = {.coding = CODING_IDENTITY};
	int length;

	if (!str_equal(method, STR("GET")) && !str_equal(method, STR("HEAD")))
		return answer_method(r, method);
	length = files_path(path, str_of(pail_path(r)));
	if (length < 0)
		return answer_text(r, 404, "Not Found\n");
	found.fd = open_stat(path, &found.stat);
	if (found.fd < 0)
		return answer_errno(r, errno);
	if (S_ISDIR(found.stat.st_mode)) {
		static const char index[] = "/index.html";
		bool slash = strcmp(path, ".") == 0 || path[length - 1] == '/';

		close(found.fd);
		if (!slash)
			return answer_redirect(r);
		length -= path[length - 1] == '/';
		memcpy(path + length, index, sizeof(index));
		length += (int)sizeof(index) - 1;
		found.fd = open_stat(path, &found.stat);
		if (found.fd < 0)
			return answer_errno(r, errno);
	}
	if (!S_ISREG(found.stat.st_mode)) {
		close(found.fd);
		return answer_text(r, 404, "Not Found\n");
	}
	accept_read(r, &accept);
	neighbours_try(&found, path, (size_t)length, &accept);
	if (found.coding == CODING_IDENTITY && accept.present &&
	    accept_encoding_q(&accept, CODING_IDENTITY) == 0) {
		close(found.fd);
		return answer_text(r, 406, "Not Acceptable\n");
	}
	return send_found(r, &found, path);
}

static int files_start(int argc, char **argv)
{
	struct err err;
	int fd, probe;

	assert(argc >= 1);
	fd = open(argv[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	probe = open_beneath(fd, ".");
	if (probe < 0) {
		int errnum = errno;

		close(fd);
		if (errnum == ENOSYS)
			snprintf(
				handler_message, sizeof(handler_message),
				"a folder needs openat2(2), so Linux 5.6 or newer, and a sandbox "
				"that allows it");
		errno = errnum;
		return -1;
	}
	close(probe);
	if (mime_load(MIME_TYPES, &err)) {
		close(fd);
		snprintf(handler_message, sizeof(handler_message), "%.255s", err.text);
		return -1;
	}
	if (root_fd >= 0)
		close(root_fd);
	root_fd = fd;
	return 0;
}

const struct handler files_handler = {
	.name = "files",
	.handle = files_handle,
	.start = files_start,
};
