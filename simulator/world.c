/* SPDX-License-Identifier: MIT */
/*
 * Whole plans, event by event, for the rules that no shortcut covers. Events
 * are taken in order of time and, within an instant, of rows; an instant goes in
 * rounds: all departures due, then starts of those waiting, again while a start
 * of no length departs at once; then the leaving of those whose time is up.
 */
#include "simulator/sim.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct event {
	uint64_t time;
	uint32_t row, kind;
};
enum { EVENT_DEPART, EVENT_GROW };

struct events {
	struct event *item;
	size_t count, room;
};

/* Waiting rows of one class, oldest first. */
struct line {
	uint32_t *row;
	size_t head, tail, room;
};

struct job {
	uint64_t departs;
	uint32_t pages;
	bool dies, retried;
};

struct play {
	const struct sim_trace *trace;
	const struct world_ask *ask;
	struct world *world;
	struct job *job;
	struct events events, round;
	struct line line[WORLD_CLASSES_MAX];
	uint32_t busy[WORLD_CLASSES_MAX];
	uint64_t used_bytes;
	bool failed;
};

static bool before(struct event a, struct event b)
{
	if (a.time != b.time)
		return a.time < b.time;
	if (a.kind != b.kind)
		return a.kind < b.kind;
	return a.row < b.row;
}

static void events_add(struct play *p, struct events *events, struct event event)
{
	if (events->count == events->room) {
		size_t room = events->room ? 2 * events->room : 256;
		struct event *item = realloc(events->item, room * sizeof(*item));
		if (!item) {
			p->failed = true;
			return;
		}
		events->item = item;
		events->room = room;
	}
	size_t at = events->count++;
	while (at > 0 && before(event, events->item[(at - 1) / 2])) {
		events->item[at] = events->item[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	events->item[at] = event;
}

static struct event events_take(struct events *events)
{
	struct event first = events->item[0], last = events->item[--events->count];
	size_t at = 0;
	for (size_t child; (child = 2 * at + 1) < events->count; at = child) {
		if (child + 1 < events->count &&
		    before(events->item[child + 1], events->item[child]))
			child++;
		if (!before(events->item[child], last))
			break;
		events->item[at] = events->item[child];
	}
	events->item[at] = last;
	return first;
}

static void line_add(struct play *p, struct line *line, uint32_t row)
{
	if (line->tail == line->room) {
		size_t length = line->tail - line->head;
		size_t room = 2 * length + 64;
		uint32_t *rows = malloc(room * sizeof(*rows));
		if (!rows) {
			p->failed = true;
			return;
		}
		if (length)
			memcpy(rows, line->row + line->head, length * sizeof(*rows));
		free(line->row);
		*line = (struct line){rows, 0, length, room};
	}
	line->row[line->tail++] = row;
}

static uint64_t later(uint64_t time, uint64_t by)
{
	return time + by < time ? UINT64_MAX : time + by;
}

static void refuse(struct play *p, uint32_t row, enum world_fate fate)
{
	p->world->fate[row] = (uint8_t)fate;
	if (fate == WORLD_500)
		p->world->outcome.rejected_500++;
	else
		p->world->outcome.rejected_503++;
}

static void use(struct play *p, uint64_t bytes)
{
	p->used_bytes += bytes;
	if (p->used_bytes > p->world->peak_bytes)
		p->world->peak_bytes = p->used_bytes;
}

static bool retries(const struct play *p, uint32_t row)
{
	return p->ask->retry_of_route &&
	       p->ask->retry_of_route[p->trace->route ? p->trace->route[row] : 0];
}

static void start(struct play *p, uint32_t row, size_t class, uint64_t t)
{
	uint64_t need = p->trace->need_bytes[row], size = p->ask->size_bytes[class];
	uint64_t service = (uint64_t)p->trace->service_ns[row];
	struct job *job = &p->job[row];
	job->dies = need > size;
	if (job->dies && (p->ask->early || retries(p, row)))
		service = (uint64_t)((unsigned __int128)service * size / need);
	p->busy[class]++;
	use(p, size);
	p->world->class[row] = (uint8_t) class;
	events_add(p, &p->events, (struct event){later(t, service), row, EVENT_DEPART});
}

static void arrive(struct play *p, uint32_t row, size_t class, uint64_t t, bool may_wait)
{
	size_t end = p->ask->overflow ? p->ask->class_count : class + 1;
	for (size_t c = class; c < end; c++) {
		if (p->busy[c] < p->ask->count[c]) {
			p->world->overflowed += c > class;
			start(p, row, c, t);
			return;
		}
	}
	struct line *line = &p->line[class];
	p->world->class[row] = (uint8_t) class;
	if (may_wait && line->tail - line->head < p->ask->queue)
		line_add(p, line, row);
	else
		refuse(p, row, WORLD_503);
}

static void depart(struct play *p, uint32_t row, uint64_t t)
{
	struct job *job = &p->job[row];
	size_t class = p->world->class[row];
	p->busy[class]--;
	p->used_bytes -= p->ask->size_bytes[class];
	if (!job->dies)
		return;
	if (retries(p, row) && !job->retried && class + 1 < p->ask->class_count) {
		job->retried = true;
		p->world->retried++;
		arrive(p, row, class + 1, t, false);
		return;
	}
	refuse(p, row, WORLD_500);
}

/* Those whose time was up before t, or at it when `at` is set. */
static void leave(struct play *p, uint64_t t, bool at)
{
	for (size_t c = 0; c < p->ask->class_count; c++) {
		struct line *line = &p->line[c];
		while (line->head < line->tail) {
			uint32_t row = line->row[line->head];
			uint64_t deadline =
				later((uint64_t)p->trace->arrival_ns[row], p->ask->wait_ns);
			if (deadline > t || (deadline == t && !at))
				break;
			line->head++;
			refuse(p, row, WORLD_503);
		}
	}
}

static void start_waiting(struct play *p, uint64_t t)
{
	for (size_t c = 0; c < p->ask->class_count; c++) {
		struct line *line = &p->line[c];
		while (line->head < line->tail && p->busy[c] < p->ask->count[c]) {
			uint32_t row = line->row[line->head++];
			p->world->waited_ns[row] = t - (uint64_t)p->trace->arrival_ns[row];
			start(p, row, c, t);
		}
	}
}

/* Everything up to and at t but its arrivals. */
static void advance(struct play *p, uint64_t t)
{
	while (p->events.count && p->events.item[0].time <= t && !p->failed) {
		uint64_t now = p->events.item[0].time;
		leave(p, now, false);
		/* The round is fixed before it is played: who starts in it departs in
		 * the next at the earliest. */
		p->round.count = 0;
		while (p->events.count && p->events.item[0].time == now)
			events_add(p, &p->round, events_take(&p->events));
		while (p->round.count)
			depart(p, events_take(&p->round).row, now);
		start_waiting(p, now);
	}
	leave(p, t, true);
}

/* ---- a pool of pages ------------------------------------------------------------ */

static uint64_t pages_wanted(const struct play *p, uint32_t row)
{
	uint64_t pages =
		(p->trace->need_bytes[row] + p->ask->page_bytes - 1) / p->ask->page_bytes;
	return pages ? pages : 1;
}

/* The instant at which a request takes its page k, counted from 0. */
static uint64_t page_time(const struct play *p, uint32_t row, uint64_t k)
{
	uint64_t service = (uint64_t)p->trace->service_ns[row];
	return later((uint64_t)p->trace->arrival_ns[row],
		     (uint64_t)((unsigned __int128)service * k / pages_wanted(p, row)));
}

static void page_take(struct play *p, uint32_t row)
{
	struct job *job = &p->job[row];
	if (p->busy[0] == p->ask->count[0]) {
		refuse(p, row, job->pages ? WORLD_500 : WORLD_503);
		p->busy[0] -= job->pages;
		p->used_bytes -= job->pages * p->ask->page_bytes;
		job->dies = true;
		return;
	}
	p->busy[0]++;
	use(p, p->ask->page_bytes);
	job->pages++;
	if (job->pages < pages_wanted(p, row))
		events_add(p, &p->events,
			   (struct event){page_time(p, row, job->pages), row, EVENT_GROW});
	else
		events_add(p, &p->events,
			   (struct event){later((uint64_t)p->trace->arrival_ns[row],
						(uint64_t)p->trace->service_ns[row]),
					  row, EVENT_DEPART});
}

/* At one instant departures go first, then growth in order of rows. */
static void advance_pages(struct play *p, uint64_t t)
{
	while (p->events.count && p->events.item[0].time <= t && !p->failed) {
		struct event event = events_take(&p->events);
		struct job *job = &p->job[event.row];
		if (event.kind == EVENT_GROW) {
			page_take(p, event.row);
			continue;
		}
		p->busy[0] -= job->pages;
		p->used_bytes -= job->pages * p->ask->page_bytes;
	}
}

/* ---- the run ---------------------------------------------------------------------- */

static int ask_check(const struct sim_trace *trace, const struct world_ask *ask,
		     struct err *err)
{
	if (ask->class_count < 1 || ask->class_count > WORLD_CLASSES_MAX)
		return err_usage(err, "1 to %d classes can be simulated", WORLD_CLASSES_MAX);
	for (size_t c = 0; c < ask->class_count; c++) {
		if (ask->count[c] == 0 || (c && ask->size_bytes[c] < ask->size_bytes[c - 1]))
			return err_usage(err, "classes must ascend in size and have buckets");
	}
	size_t routes = trace->route && trace->route_count ? trace->route_count : 1;
	for (size_t r = 0; ask->class_of_route && r < routes; r++) {
		if (ask->class_of_route[r] >= ask->class_count)
			return err_usage(err, "route %zu has no class", r);
	}
	return 0;
}

static void play_all(struct play *p)
{
	const struct sim_trace *trace = p->trace;
	bool paged = p->ask->page_bytes > 0;
	for (size_t i = 0; i < trace->count && !p->failed; i++) {
		uint64_t t = (uint64_t)trace->arrival_ns[i];
		uint32_t row = (uint32_t)i;
		if (paged) {
			advance_pages(p, t);
			page_take(p, row);
			continue;
		}
		advance(p, t);
		uint32_t route = trace->route ? trace->route[row] : 0;
		arrive(p, row, p->ask->class_of_route ? p->ask->class_of_route[route] : 0, t,
		       true);
	}
	if (paged)
		advance_pages(p, UINT64_MAX);
	else
		advance(p, UINT64_MAX);
}

int world_run(const struct sim_trace *trace, const struct world_ask *ask, struct world *world,
	      struct err *err)
{
	*world = (struct world){.outcome.offered = trace->count};
	if (ask_check(trace, ask, err) < 0)
		return -1;
	size_t n = trace->count ? trace->count : 1;
	struct play p = {.trace = trace, .ask = ask, .world = world};
	p.job = calloc(n, sizeof(*p.job));
	world->fate = calloc(n, 1);
	world->class = calloc(n, 1);
	world->waited_ns = calloc(n, sizeof(uint64_t));
	p.failed = !p.job || !world->fate || !world->class || !world->waited_ns;
	if (!p.failed)
		play_all(&p);
	free(p.job);
	free(p.events.item);
	free(p.round.item);
	for (size_t c = 0; c < WORLD_CLASSES_MAX; c++)
		free(p.line[c].row);
	if (p.failed) {
		world_release(world);
		return err_set(err, "no memory to simulate %zu requests", trace->count);
	}
	return 0;
}

void world_release(struct world *world)
{
	free(world->fate);
	free(world->class);
	free(world->waited_ns);
	*world = (struct world){0};
}
