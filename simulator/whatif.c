/* SPDX-License-Identifier: MIT */
#include "simulator/sim.h"

#include <assert.h>
#include <string.h>

static double hash_unit(uint64_t row, uint64_t salt)
{
	uint64_t x = row * UINT64_C(0x9e3779b97f4a7c15) + salt;
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	return (double)(x >> 11) * 0x1p-53;
}

static uint64_t times(uint64_t value, double factor, uint64_t most)
{
	double product = (double)value * factor;
	return product < (double)most ? (uint64_t)product : most;
}

static bool meant(const struct overlay *o, uint32_t route, size_t row, uint64_t salt)
{
	if (o->route && !o->route[route])
		return false;
	return o->share >= 1 || hash_unit(row, salt) < o->share;
}

static void inflate(const struct overlay *o, struct sim_columns *c, size_t count, uint64_t salt)
{
	for (size_t i = 0; i < count; i++) {
		if (!meant(o, c->route[i], i, salt))
			continue;
		if (o->service != 1)
			c->service_ns[i] = (int64_t)times((uint64_t)c->service_ns[i],
							  o->service, INT64_MAX);
		if (o->need != 1)
			c->need_bytes[i] = times(c->need_bytes[i], o->need, UINT64_MAX);
	}
}

static void maximal(const struct overlay *o, struct sim_columns *c, size_t count, uint64_t salt)
{
	uint64_t need = 0;
	int64_t service = 0;
	for (size_t i = 0; i < count; i++) {
		need = c->need_bytes[i] > need ? c->need_bytes[i] : need;
		service = c->service_ns[i] > service ? c->service_ns[i] : service;
	}
	for (size_t i = 0; i < count; i++) {
		if (!meant(o, c->route[i], i, salt))
			continue;
		c->need_bytes[i] = need;
		c->service_ns[i] = service;
	}
}

/* Copies of requests from all over the trace, so that their mix is the trace's. */
static size_t burst(const struct overlay *o, struct sim_columns *c, size_t count,
		    size_t original)
{
	for (uint64_t k = 0; k < o->count; k++) {
		size_t row = (size_t)((unsigned __int128)k * original / o->count);
		c->arrival_ns[count] = c->arrival_ns[0] + (int64_t)o->at_ns;
		c->service_ns[count] = c->service_ns[row];
		c->need_bytes[count] = c->need_bytes[row];
		c->route[count] = c->route[row];
		c->origin[count] = c->origin[row];
		count++;
	}
	return count;
}

int overlay_apply(const struct sim_trace *trace, const struct overlay *overlays, size_t count,
		  struct sim_columns *out, struct err *err)
{
	uint64_t rows = trace->count;
	for (size_t k = 0; k < count; k++) {
		const struct overlay *o = &overlays[k];
		if (o->kind == OVERLAY_BURST)
			rows += o->count;
		if (o->kind == OVERLAY_BURST && o->at_ns > INT64_MAX / 4)
			return err_usage(err, "a burst lies too far off");
		if (rows >= UINT32_MAX)
			return err_usage(err, "a burst is larger than the simulator takes");
	}
	if (sim_columns_init(out, rows, err) < 0)
		return -1;
	size_t n = trace->count;
	memcpy(out->arrival_ns, trace->arrival_ns, n * sizeof(int64_t));
	memcpy(out->service_ns, trace->service_ns, n * sizeof(int64_t));
	memcpy(out->need_bytes, trace->need_bytes, n * sizeof(uint64_t));
	for (size_t i = 0; i < n; i++) {
		out->route[i] = trace->route ? trace->route[i] : 0;
		out->origin[i] = (uint32_t)i;
	}
	out->trace.route_count = trace->route_count ? trace->route_count : 1;
	for (size_t k = 0; k < count && trace->count; k++) {
		switch (overlays[k].kind) {
		case OVERLAY_INFLATE: inflate(&overlays[k], out, n, k + 1); break;
		case OVERLAY_MAXIMAL: maximal(&overlays[k], out, n, k + 1); break;
		case OVERLAY_BURST: n = burst(&overlays[k], out, n, trace->count); break;
		}
	}
	if (sim_columns_sort(out, n, err) < 0) {
		sim_columns_release(out);
		return -1;
	}
	return 0;
}
