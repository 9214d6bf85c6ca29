/* SPDX-License-Identifier: MIT */
#include "libtrace/symbols/probes.h"

#include "libtrace/symbols/elf_file.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	KINDS = 3,
	CPUS_MAX = 1024,
	DATA_PAGES = 512,
	PAGE = 4096,
	THREADS = 1 << 14,
	BEGUN_MAX = 1 << 14
};
enum kind { CALLED, RETURNED, ENDED };

/* A note of the kernel's. */
struct note {
	enum kind kind;
	uint32_t tid;
	uint64_t time; /* CLOCK_MONOTONIC */
	uint64_t argument, result;
};

/* What is known of a thread, by its latest event. */
struct seen {
	uint32_t tid, process, thread;
	pid_t pid;
	uint64_t fd; /* + 1: that it read from last; 0: none */
};

/* A begin without its end. */
struct begun {
	uint64_t id, argument, result;
	uint32_t process, thread;
	bool returned;
};

struct cpu {
	int fd[KINDS];
	struct perf_event_mmap_page *page;
};

struct probes {
	struct cpu *cpu;
	size_t cpus;
	uint64_t id[CPUS_MAX][KINDS];
	char label[128];
	bool alone;
	struct note *note;
	size_t count, room, next;
	bool drained;
	struct seen seen[THREADS];
	struct begun begun[BEGUN_MAX]; /* the oldest first */
	size_t open;
	uint64_t last_id, lost;
};

/* -- where a function is -------------------------------------------------------- */

struct wanted {
	const char *name;
	uint64_t address;
	bool found;
};

static bool note_symbol(const struct elf_symbol *s, void *arg)
{
	struct wanted *w = arg;
	if (!s->defined || !s->function || strcmp(s->name, w->name) != 0)
		return true;
	w->address = s->address;
	w->found = true;
	return false;
}

static int find_function(const struct probe_function *f, uint64_t *offset, struct err *err)
{
	struct wanted w = {.name = f->name};
	struct elf_file *file;
	int is_elf = elf_file_open(f->path, &file, err);
	if (is_elf < 0)
		return -1;
	if (is_elf == 0)
		return err_set(err, "\"%s\" is neither a program nor a library", f->path);
	elf_file_symbols(file, note_symbol, &w);
	bool stripped = !elf_file_has_symbols(file);
	bool there = w.found && elf_file_offset(file, w.address, offset);
	elf_file_close(file);
	if (!w.found)
		return err_set(err, "\"%s\" has no function %s%s", f->path, f->name,
			       stripped ? ", or it was stripped of its name: nm -D lists those"
					  " that it exports"
					: " (nm lists those that it has)");
	if (!there)
		return err_set(err, "\"%s\" does not hold the code of %s", f->path, f->name);
	return 0;
}

/* -- asking the kernel ------------------------------------------------------------ */

static int probe_type(struct err *err)
{
	FILE *file = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
	int type = -1;
	if (!file || fscanf(file, "%d", &type) != 1)
		type = -1;
	if (file)
		fclose(file);
	if (type < 0)
		err_set(err, "this kernel has no uprobes (CONFIG_UPROBE_EVENTS): marks by"
			     " pail/mark.h do without");
	return type;
}

static int open_probe(int type, enum kind kind, const char *path, uint64_t offset, int cpu)
{
	struct perf_event_attr a = {
		.size = sizeof(a),
		.type = (uint32_t)type,
		.config = kind == RETURNED,
		.sample_period = 1,
		.sample_type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_TID | PERF_SAMPLE_TIME |
			       PERF_SAMPLE_REGS_USER,
		.use_clockid = 1,
		.clockid = CLOCK_MONOTONIC,
		.sample_regs_user = 1 << 0 | 1 << 5, /* rax and rdi, in this order */
	};
	a.uprobe_path = (uintptr_t)path;
	a.probe_offset = offset;
	return (int)syscall(SYS_perf_event_open, &a, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

/* All kinds on one CPU, into one buffer. */
static int open_cpu(struct probes *p, size_t cpu, int type, const char *const path[KINDS],
		    const uint64_t offset[KINDS], struct err *err)
{
	struct cpu *c = &p->cpu[cpu];
	for (int kind = 0; kind < KINDS; kind++) {
		c->fd[kind] =
			open_probe(type, (enum kind)kind, path[kind], offset[kind], (int)cpu);
		if (c->fd[kind] < 0 && errno == ENODEV && kind == 0)
			return 0; /* switched off */
		if (c->fd[kind] < 0 && (errno == EACCES || errno == EPERM))
			return err_errno(err, "functions can be watched by root only, or with"
					      " CAP_PERFMON");
		if (c->fd[kind] < 0)
			return err_errno(err, "the kernel cannot watch \"%s\"", path[kind]);
		if (ioctl(c->fd[kind], PERF_EVENT_IOC_ID, &p->id[cpu][kind]) != 0)
			return err_errno(err, "the kernel cannot watch \"%s\"", path[kind]);
		if (kind == 0) {
			void *at = mmap(NULL, (DATA_PAGES + 1) * PAGE, PROT_READ | PROT_WRITE,
					MAP_SHARED, c->fd[0], 0);
			if (at == MAP_FAILED)
				return err_errno(err, "no memory for what the kernel notes");
			c->page = at;
		} else if (ioctl(c->fd[kind], PERF_EVENT_IOC_SET_OUTPUT, c->fd[0]) != 0) {
			return err_errno(err, "the kernel cannot watch \"%s\"", path[kind]);
		}
	}
	return 0;
}

int probes_open(const struct probe_function *begin, const struct probe_function *end,
		bool alone, struct probes **probes, struct err *err)
{
#if !defined(__x86_64__)
	return err_set(err, "functions can be watched on x86-64 only: marks by pail/mark.h do"
			    " without");
#endif
	const char *const path[KINDS] = {begin->path, begin->path, end->path};
	uint64_t offset[KINDS];
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	if (find_function(begin, &offset[CALLED], err) != 0 ||
	    find_function(end, &offset[ENDED], err) != 0)
		return -1;
	offset[RETURNED] = offset[CALLED];
	int type = probe_type(err);
	if (type < 0)
		return -1;
	struct probes *p = calloc(1, sizeof(*p));
	if (!p)
		return err_set(err, "out of memory");
	p->cpus = cpus > CPUS_MAX ? CPUS_MAX : (size_t)cpus;
	p->cpu = calloc(p->cpus, sizeof(*p->cpu));
	if (!p->cpu) {
		free(p);
		return err_set(err, "out of memory");
	}
	for (size_t i = 0; i < p->cpus; i++)
		for (int kind = 0; kind < KINDS; kind++)
			p->cpu[i].fd[kind] = -1;
	snprintf(p->label, sizeof(p->label), "%s", begin->name);
	p->alone = alone;
	for (size_t i = 0; i < p->cpus; i++)
		if (open_cpu(p, i, type, path, offset, err) != 0) {
			probes_close(p);
			return -1;
		}
	*probes = p;
	return 0;
}

void probes_close(struct probes *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->cpus; i++) {
		if (p->cpu[i].page)
			munmap(p->cpu[i].page, (DATA_PAGES + 1) * PAGE);
		for (int kind = 0; kind < KINDS; kind++)
			if (p->cpu[i].fd[kind] >= 0)
				close(p->cpu[i].fd[kind]);
	}
	free(p->cpu);
	free(p->note);
	free(p);
}

/* -- what it noted ------------------------------------------------------------------ */

/* As the kernel lays it out for the sample_type above. */
struct sample {
	uint64_t id;
	uint32_t pid, tid;
	uint64_t time, abi, ax, di;
};

static void take_sample(struct probes *p, size_t cpu, const struct sample *s)
{
	if (s->abi == PERF_SAMPLE_REGS_ABI_NONE)
		return;
	if (p->count == p->room) {
		size_t room = p->room ? 2 * p->room : 1024;
		struct note *grown = realloc(p->note, room * sizeof(*grown));
		if (!grown) {
			p->lost++;
			return;
		}
		p->note = grown;
		p->room = room;
	}
	for (int kind = 0; kind < KINDS; kind++)
		if (p->id[cpu][kind] == s->id)
			p->note[p->count++] =
				(struct note){(enum kind)kind, s->tid, s->time, s->di, s->ax};
}

static void copy_out(const struct cpu *c, uint64_t at, void *to, size_t bytes)
{
	const unsigned char *data = (const unsigned char *)c->page + PAGE;
	for (size_t i = 0; i < bytes; i++)
		((unsigned char *)to)[i] = data[(at + i) % (DATA_PAGES * PAGE)];
}

static void drain_cpu(struct probes *p, size_t cpu)
{
	struct cpu *c = &p->cpu[cpu];
	if (!c->page)
		return;
	uint64_t head = __atomic_load_n(&c->page->data_head, __ATOMIC_ACQUIRE);
	uint64_t at = c->page->data_tail;
	while (at < head) {
		struct perf_event_header header;
		copy_out(c, at, &header, sizeof(header));
		if (header.size < sizeof(header))
			break;
		if (header.type == PERF_RECORD_SAMPLE &&
		    header.size >= sizeof(header) + sizeof(struct sample)) {
			struct sample s;
			copy_out(c, at + sizeof(header), &s, sizeof(s));
			take_sample(p, cpu, &s);
		} else if (header.type == PERF_RECORD_LOST) {
			uint64_t lost[2] = {0};
			copy_out(c, at + sizeof(header), lost, sizeof(lost));
			p->lost += lost[1];
		}
		at += header.size;
	}
	__atomic_store_n(&c->page->data_tail, at, __ATOMIC_RELEASE);
}

static int by_time(const void *a, const void *b)
{
	const struct note *x = a, *y = b;
	return x->time < y->time ? -1 : x->time > y->time;
}

static void drain(struct probes *p)
{
	if (p->next > 0)
		memmove(p->note, p->note + p->next, (p->count - p->next) * sizeof(*p->note));
	p->count -= p->next;
	p->next = 0;
	for (size_t i = 0; i < p->cpus; i++)
		drain_cpu(p, i);
	if (p->count > 1)
		qsort(p->note, p->count, sizeof(*p->note), by_time);
	p->drained = true;
}

/* -- marks ---------------------------------------------------------------------------- */

static struct seen *find_seen(struct probes *p, uint32_t tid)
{
	return &p->seen[tid % THREADS];
}

static void close_begun(struct probes *p, size_t i)
{
	memmove(&p->begun[i], &p->begun[i + 1], (p->open - i - 1) * sizeof(*p->begun));
	p->open--;
}

/* Which begin the end is of; p->open if of none. */
static size_t find_begun(const struct probes *p, const struct seen *s, uint64_t key)
{
	size_t last = p->open;
	for (size_t i = p->open; i-- > 0;) {
		const struct begun *b = &p->begun[i];
		if (b->process != s->process)
			continue;
		if (key && (b->argument == key || (b->returned && b->result == key)))
			return i;
		if (last == p->open && b->thread == s->thread)
			last = i;
	}
	return last;
}

static void begin(struct probes *p, const struct seen *s, const struct note *n,
		  struct ring_event *mark)
{
	if (p->open == BEGUN_MAX)
		close_begun(p, 0); /* its end was not seen */
	p->begun[p->open++] = (struct begun){.id = ++p->last_id,
					     .argument = n->argument,
					     .process = s->process,
					     .thread = s->thread};
	mark->kind = EVENT_MARK_BEGIN;
	mark->b = p->last_id;
	mark->value = s->fd;
	if (!s->fd || p->alone)
		mark->payload = (struct str){p->label, strlen(p->label)};
}

static void give(struct probes *p, const struct note *n, int64_t time_ns,
		 ring_callback *callback, void *context)
{
	const struct seen *s = find_seen(p, n->tid);
	if (s->tid != n->tid || !s->process)
		return; /* not of this recording */
	struct ring_event mark = {.process = s->process,
				  .thread = s->thread,
				  .pid = s->pid,
				  .tid = (pid_t)n->tid,
				  .time_ns = time_ns,
				  .timed = true};
	if (n->kind == CALLED) {
		begin(p, s, n, &mark);
	} else if (n->kind == RETURNED) {
		for (size_t i = p->open; i-- > 0;)
			if (p->begun[i].thread == s->thread && !p->begun[i].returned) {
				p->begun[i].returned = true;
				p->begun[i].result = n->result;
				break;
			}
		return;
	} else {
		size_t i = find_begun(p, s, n->argument);
		if (i == p->open)
			return;
		mark.kind = EVENT_MARK_END;
		mark.b = p->begun[i].id;
		close_begun(p, i);
	}
	callback(context, &mark);
}

void probes_before(struct probes *p, const struct ring *ring, const struct ring_event *event,
		   ring_callback *callback, void *context)
{
	/* What the ring hands out is older than the beginning of its poll, so all
	 * that belongs before it has been noted by now. */
	if (!p->drained)
		drain(p);
	while (p->next < p->count) {
		const struct note *n = &p->note[p->next];
		int64_t time_ns = ring_time_ns(ring, n->time);
		if (time_ns > event->time_ns)
			break;
		p->next++;
		give(p, n, time_ns, callback, context);
	}
	struct seen *s = find_seen(p, (uint32_t)event->tid);
	if (s->thread != event->thread)
		*s = (struct seen){(uint32_t)event->tid, event->process, event->thread,
				   event->pid, 0};
	if (event->kind == EVENT_READ && !(event->flags & EVENT_PEEK))
		s->fd = event->value + 1;
}

void probes_poll_ended(struct probes *p)
{
	p->drained = false;
}

uint64_t probes_lost(const struct probes *p)
{
	return p->lost;
}
