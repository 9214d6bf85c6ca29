/* SPDX-License-Identifier: MIT */
#include "base/replay_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Larger alignments than this (1 GiB) are no request's. */
enum { ALIGN_LOG2_MAX = 30 };

struct replay_writer {
	char *path, *temporary;
	FILE *out;
	struct replay_file_head head;
	struct replay_file_item *items;
	size_t items_room;
};

/* -- writing -------------------------------------------------------------- */

int replay_writer_open(const char *path, struct replay_writer **result, struct err *err)
{
	struct replay_writer *writer = calloc(1, sizeof(*writer));
	int fd;

	if (!writer || !(writer->path = strdup(path)) ||
	    asprintf(&writer->temporary, "%s.XXXXXX", path) < 0) {
		if (writer)
			writer->temporary = NULL;
		replay_writer_discard(writer);
		return err_set(err, "no memory to write '%s'", path);
	}
	fd = mkostemp(writer->temporary, O_CLOEXEC);
	if (fd < 0) {
		err_errno(err, "cannot create '%s'", writer->temporary);
		free(writer->temporary);
		writer->temporary = NULL;
		replay_writer_discard(writer);
		return -1;
	}
	writer->out = fdopen(fd, "w");
	if (!writer->out) {
		err_errno(err, "cannot write '%s'", writer->temporary);
		close(fd);
		replay_writer_discard(writer);
		return -1;
	}
	writer->head.magic = REPLAY_FILE_MAGIC;
	/* The counts come at the end. */
	if (fwrite(&writer->head, sizeof(writer->head), 1, writer->out) != 1) {
		err_errno(err, "cannot write '%s'", writer->temporary);
		replay_writer_discard(writer);
		return -1;
	}
	*result = writer;
	return 0;
}

void replay_writer_discard(struct replay_writer *writer)
{
	if (!writer)
		return;
	if (writer->out)
		fclose(writer->out);
	if (writer->temporary)
		unlink(writer->temporary);
	free(writer->temporary);
	free(writer->path);
	free(writer->items);
	free(writer);
}

/* The length of the table that a list needs, or -1 if one of its calls is none.
 * Slots are dense: a number past the calls so far is no slot. */
static int64_t slots_of(const struct replay_op *ops, size_t count)
{
	int64_t slots = 0;

	for (size_t i = 0; i < count; i++) {
		if (ops[i].kind > REPLAY_REALLOC || ops[i].align_log2 > ALIGN_LOG2_MAX ||
		    ops[i].slot > i)
			return -1;
		if (ops[i].slot >= slots)
			slots = (int64_t)ops[i].slot + 1;
	}
	return slots;
}

int replay_writer_add(struct replay_writer *writer, int64_t id, int64_t service_ns,
		      const struct replay_op *ops, size_t count, struct err *err)
{
	int64_t slots = slots_of(ops, count);

	if (slots < 0 || count > UINT32_MAX || service_ns < 0)
		return err_set(
			err, "request %lld cannot be replayed: its list of calls is not valid",
			(long long)id);
	if (writer->head.item_count == writer->items_room) {
		size_t room = writer->items_room ? writer->items_room * 2 : 1024;
		struct replay_file_item *items =
			reallocarray(writer->items, room, sizeof(*items));

		if (!items)
			return err_set(err, "no memory for %zu requests to replay", room);
		writer->items = items;
		writer->items_room = room;
	}
	if (count && fwrite(ops, sizeof(*ops), count, writer->out) != count)
		return err_errno(err, "cannot write '%s'", writer->temporary);
	writer->items[writer->head.item_count++] = (struct replay_file_item){
		.id = id,
		.service_ns = service_ns,
		.op_first = writer->head.op_count,
		.op_count = (uint32_t)count,
		.slots = (uint32_t)slots,
	};
	writer->head.op_count += count;
	if ((uint64_t)slots > writer->head.slots_max)
		writer->head.slots_max = (uint64_t)slots;
	return 0;
}

static int item_order(const void *a, const void *b)
{
	const struct replay_file_item *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

/* All that is left to write: 0, or -1 with errno. */
static int writer_finish(struct replay_writer *writer)
{
	size_t count = writer->head.item_count;

	if (count &&
	    fwrite(writer->items, sizeof(writer->items[0]), count, writer->out) != count)
		return -1;
	if (fseek(writer->out, 0, SEEK_SET) ||
	    fwrite(&writer->head, sizeof(writer->head), 1, writer->out) != 1 ||
	    fflush(writer->out) || fsync(fileno(writer->out)))
		return -1;
	return rename(writer->temporary, writer->path);
}

int replay_writer_close(struct replay_writer *writer, struct err *err)
{
	size_t count = writer->head.item_count;

	if (count)
		qsort(writer->items, count, sizeof(writer->items[0]), item_order);
	for (size_t i = 1; i < count; i++) {
		if (writer->items[i].id == writer->items[i - 1].id) {
			err_set(err, "request %lld comes twice in '%s'",
				(long long)writer->items[i].id, writer->path);
			replay_writer_discard(writer);
			return -1;
		}
	}
	if (writer_finish(writer)) {
		err_errno(err, "cannot write '%s'", writer->path);
		replay_writer_discard(writer);
		return -1;
	}
	free(writer->temporary);
	writer->temporary = NULL; /* it has its name now */
	replay_writer_discard(writer);
	return 0;
}

/* -- reading -------------------------------------------------------------- */

static bool items_are_right(const struct replay_file *file)
{
	const struct replay_file_head *head = file->head;

	for (uint64_t i = 0; i < head->item_count; i++) {
		const struct replay_file_item *item = &file->items[i];

		if ((i && item->id <= file->items[i - 1].id) || item->service_ns < 0 ||
		    item->op_first > head->op_count ||
		    item->op_count > head->op_count - item->op_first ||
		    item->slots > head->slots_max ||
		    slots_of(file->ops + item->op_first, item->op_count) != item->slots)
			return false;
	}
	return true;
}

static int map_check(const char *path, struct replay_file *file, struct err *err)
{
	const struct replay_file_head *head = file->map;
	uint64_t room = file->map_bytes - sizeof(*head);

	file->head = head;
	if (head->magic != REPLAY_FILE_MAGIC)
		return err_set(err, "'%s' is no replay file, or one of another version", path);
	if (head->op_count > room / sizeof(struct replay_op) ||
	    head->item_count > room / sizeof(struct replay_file_item) ||
	    head->op_count * sizeof(struct replay_op) +
			    head->item_count * sizeof(struct replay_file_item) !=
		    room)
		return err_set(err, "'%s' is cut short or too long: write it again", path);
	file->ops = (const struct replay_op *)(head + 1);
	file->items = (const struct replay_file_item *)(file->ops + head->op_count);
	if (!items_are_right(file))
		return err_set(err,
			       "'%s' holds a list of calls that is not valid: write it again",
			       path);
	return 0;
}

int replay_file_open(const char *path, struct replay_file *file, struct err *err)
{
	struct stat stat;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *map;

	memset(file, 0, sizeof(*file));
	if (fd < 0 || fstat(fd, &stat)) {
		err_errno(err, "cannot open the replay file '%s'", path);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (!S_ISREG(stat.st_mode) || stat.st_size < (off_t)sizeof(struct replay_file_head)) {
		close(fd);
		return err_set(err, "'%s' is no replay file", path);
	}
	map = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return err_errno(err, "cannot map '%s'", path);
	file->map = map;
	file->map_bytes = (size_t)stat.st_size;
	if (map_check(path, file, err)) {
		replay_file_close(file);
		return -1;
	}
	return 0;
}

void replay_file_close(struct replay_file *file)
{
	if (file->map)
		munmap((void *)(uintptr_t)file->map, file->map_bytes);
	memset(file, 0, sizeof(*file));
}

const struct replay_file_item *replay_file_find(const struct replay_file *file, int64_t id)
{
	struct replay_file_item key = {.id = id};

	if (!file->head || !file->head->item_count)
		return NULL;
	return bsearch(&key, file->items, file->head->item_count, sizeof(key), item_order);
}
