/* SPDX-License-Identifier: MIT */
#include "libtrace/symbols/sites_table.h"

#include "libtrace/symbols/symbols.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- storing --------------------------------------------------------------------------- */

static struct str image_path(const struct sites *s, uint32_t image)
{
	return image != 0 ? str_of(s->image[image - 1].path) : STR("");
}

/* The site's frames, innermost first. */
static uint32_t list_frames(const struct sites *s, const struct site *site,
			    uint32_t frame[FRAMES_MAX])
{
	uint32_t count = 0;
	for (uint32_t node = site->node; node != 0 && count < FRAMES_MAX;
	     node = s->node[node - 1].outer)
		frame[count++] = s->node[node - 1].frame;
	return count;
}

static int put_site(struct trace *trace, const struct site *site, uint32_t number,
		    struct str name, const uint32_t *frame, uint32_t frames, struct err *err)
{
	return trace_put_site(trace,
			      &(struct trace_site){.id = number,
						   .name = name,
						   .frame = frame,
						   .frames = frames,
						   .allocations = site->allocations,
						   .requested_bytes = site->requested_bytes,
						   .live_peak_bytes = site->live_peak_bytes,
						   .left_bytes = site->left_bytes},
			      err);
}

int sites_put_uses(struct sites *s, struct trace *trace, struct err *err)
{
	for (uint32_t i = 0; i < s->use_count; i++) {
		struct use *use = &s->use[i];
		if (use->put)
			continue;
		struct trace_site_use row = {.site = use->site,
					     .route = str_of(s->route[use->route - 1]),
					     .requests = use->requests,
					     .allocations = use->allocations,
					     .requested_bytes = use->requested_bytes,
					     .escapes = use->escapes,
					     .escaped_bytes = use->escaped_bytes,
					     .freed_by_request = use->freed[SITES_BY_REQUEST],
					     .freed_by_connection =
						     use->freed[SITES_BY_CONNECTION],
					     .freed_by_other = use->freed[SITES_BY_OTHER],
					     .kept_ns_sum = use->kept_ns_sum,
					     .kept_ns_max = use->kept_ns_max};
		if (trace_put_site_use(trace, &row, err) != 0)
			return -1;
		use->put = true;
	}
	return 0;
}

int sites_put(struct sites *s, struct trace *trace, struct err *err)
{
	uint32_t frame[FRAMES_MAX];
	char name[TEXT_MAX];
	for (uint32_t i = 0; i < s->frame_count; i++) {
		if (s->frame[i].put)
			continue;
		struct trace_frame row = {.id = i + 1,
					  .address = s->frame[i].address,
					  .module = image_path(s, s->frame[i].image)};
		if (trace_put_frame(trace, &row, err) != 0)
			return -1;
		s->frame[i].put = true;
	}
	for (uint32_t i = 0; i < s->site_count; i++) {
		struct site *site = &s->site[i];
		if (site->put)
			continue;
		uint32_t count = list_frames(s, site, frame);
		const struct frame *inner = &s->frame[frame[0] - 1];
		struct str path = image_path(s, inner->image);
		snprintf(name, sizeof(name), "%.*s+0x%" PRIx64, (int)path.length, path.bytes,
			 inner->address);
		if (put_site(trace, site, i + 1, str_of(name), frame, count, err) != 0)
			return -1;
		site->put = true;
	}
	return sites_put_uses(s, trace, err);
}

void sites_put_again(struct sites *s)
{
	for (uint32_t i = 0; i < s->frame_count; i++)
		s->frame[i].put = false;
	for (uint32_t i = 0; i < s->site_count; i++)
		s->site[i].put = false;
	for (uint32_t i = 0; i < s->use_count; i++)
		s->use[i].put = false;
}

/* -- names ------------------------------------------------------------------------------ */

/* The calls at one address, as rows of their own: [first, first + count), in
 * order; and the name that a site gets by each, or NULL if that is an
 * allocator's own function, which tells nothing. */
struct naming {
	struct sites *sites;
	struct trace *trace;
	struct err *err;
	bool failed;
	uint32_t frame, next; /* the frame at hand, the next free row */
	uint32_t *first, *count;
	char **name; /* by row - 1 */
	uint32_t names;
};

static bool is_wrapper(const char *function)
{
	static const char *const whole[] = {
		"malloc",
		"calloc",
		"realloc",
		"reallocarray",
		"memalign",
		"aligned_alloc",
		"posix_memalign",
		"valloc",
		"pvalloc",
		"strdup",
		"__strdup",
		"strndup",
		"__strndup",
		"asprintf",
		"vasprintf",
		"__vasprintf_internal",
		"___asprintf",
		"__GI___strdup",
		"__GI___strndup",
		"operator new",
		"operator new[]",
		"xmalloc",
		"xcalloc",
		"xrealloc",
		"xstrdup",
		"xzalloc",
		"zmalloc",
		"zcalloc",
		"zrealloc",
		"zmalloc_usable",
		"zcalloc_usable",
		"zrealloc_usable",
		"zstrdup",
		"ztrymalloc_usable",
		"ztrymalloc_usable_internal",
		"zcalloc_num",
		"ngx_alloc",
		"ngx_calloc",
		"ngx_memalign",
		"ngx_palloc",
		"ngx_pcalloc",
		"ngx_pnalloc",
		"ngx_palloc_large",
		"ngx_palloc_small",
		"ngx_palloc_block",
		"ngx_create_pool",
		"ngx_create_temp_buf",
		"ngx_array_create",
		"ngx_array_push",
		"apr_palloc",
		"apr_pcalloc",
		"allocator_alloc",
		"apr_pool_create_ex",
		"__rust_alloc",
		"__rust_realloc",
		"__rg_alloc",
		"__rdl_alloc",
		"__rdl_realloc",
		"__rdl_alloc_zeroed",
		"alloc::alloc::alloc",
		"alloc::alloc::exchange_malloc",
		"alloc::alloc::Global::alloc_impl",
		"CRYPTO_malloc",
		"CRYPTO_zalloc",
		"CRYPTO_realloc",
		"CRYPTO_strdup",
		"CRYPTO_memdup",
		"BUF_MEM_grow_clean",
		"sqlite3MemMalloc",
		"sqlite3Malloc",
		"mallocWithAlarm",
		"sqlite3_malloc",
		"gaih_inet",
		"buffer_alloc",
	};
	static const char *const start[] = {
		"PyMem_",
		"_PyMem_",
		"PyObject_Malloc",
		"PyObject_Realloc",
		"PyObject_Calloc",
		"_PyObject_Malloc",
		"_PyObject_GC_",
		"_PyObject_New",
		"PyObject_Free",
		"PyType_GenericAlloc",
		"_PyType_AllocNoTrack",
		"gc_alloc",
		"g_malloc",
		"g_realloc",
		"g_slice_",
		"g_try_malloc",
		"je_",
		"mi_",
		"tc_",
		"_emalloc",
		"_safe_malloc",
		"_ecalloc",
		"_erealloc",
		"zend_mm_",
		"std::allocator<",
		"__gnu_cxx::new_allocator<",
		"std::__new_allocator<",
		"std::allocator_traits<",
		"std::_Vector_base<",
		"__gnu_cxx::__alloc_traits<",
		"<alloc::alloc::Global as",
		"alloc::raw_vec::",
		"std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >::_M_create",
	};
	for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++)
		if (strcmp(function, whole[i]) == 0)
			return true;
	for (size_t i = 0; i < sizeof(start) / sizeof(*start); i++)
		if (strncmp(function, start[i], strlen(start[i])) == 0)
			return true;
	return false;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static void name_call(void *context, const char *function, const char *file, int line)
{
	struct naming *n = context;
	struct sites *s = n->sites;
	const struct frame *frame = &s->frame[n->frame - 1];
	struct str module = image_path(s, frame->image);
	uint32_t row = n->count[n->frame - 1]++ == 0 ? n->frame : n->next++;
	if (row != n->frame && n->count[n->frame - 1] == 2)
		n->first[n->frame - 1] = row;
	if (n->failed)
		return;
	if (row > n->names) {
		uint32_t names = n->names * 2 > row ? n->names * 2 : row + 256;
		char **grown = reallocarray(n->name, names, sizeof(*grown));
		if (!grown) {
			n->failed = true;
			err_set(n->err, "out of memory for names");
			return;
		}
		memset(grown + n->names, 0, (names - n->names) * sizeof(*grown));
		n->name = grown;
		n->names = names;
	}
	char text[TEXT_MAX];
	const char *path = frame->image != 0 ? s->image[frame->image - 1].path : "";
	if (*function && *file && line > 0)
		snprintf(text, sizeof(text), "%s (%s:%d)", function, last_part(file), line);
	else if (*function)
		snprintf(text, sizeof(text), "%s (%s)", function, last_part(path));
	else
		snprintf(text, sizeof(text), "%s+0x%" PRIx64, *path ? last_part(path) : "?",
			 frame->address);
	n->name[row - 1] = is_wrapper(function) ? NULL : strdup(text);
	struct trace_frame at = {.id = row,
				 .address = frame->address,
				 .module = module,
				 .function = str_of(function),
				 .file = str_of(file),
				 .line = line};
	n->failed = n->failed || trace_put_frame(n->trace, &at, n->err) != 0;
}

/* Frames by image, so that one file is open at a time. */
static void name_frames(struct naming *n)
{
	struct sites *s = n->sites;
	for (uint32_t image = 0; image <= s->image_count; image++) {
		struct symbols *symbols = NULL;
		bool tried = image == 0;
		for (uint32_t f = 0; f < s->frame_count && !n->failed; f++) {
			if (s->frame[f].image != image)
				continue;
			if (!tried) {
				const struct image *i = &s->image[image - 1];
				symbols = symbols_open(
					i->path, (struct str){i->build_id, i->build_id_bytes});
				tried = true;
			}
			n->frame = f + 1;
			if (!symbols ||
			    symbols_find(symbols, s->frame[f].address, name_call, n) == 0)
				name_call(n, "", "", 0);
		}
		symbols_close(symbols);
	}
}

static void name_sites(struct naming *n)
{
	struct sites *s = n->sites;
	uint32_t frame[FRAMES_MAX], row[2 * FRAMES_MAX];
	for (uint32_t i = 0; i < s->site_count && !n->failed; i++) {
		struct site *site = &s->site[i];
		uint32_t count = list_frames(s, site, frame), rows = 0;
		const char *name = NULL;
		for (uint32_t f = 0; f < count; f++) {
			/* The first call of an address has its frame's own row. */
			uint32_t calls = n->count[frame[f] - 1];
			for (uint32_t c = 0; c < calls && rows < 2 * FRAMES_MAX; c++) {
				row[rows] = c == 0 ? frame[f] : n->first[frame[f] - 1] + c - 1;
				assert(row[rows] >= 1 && row[rows] <= n->names);
				if (!name)
					name = n->name[row[rows] - 1];
				rows++;
			}
		}
		if (put_site(n->trace, site, i + 1, str_of(name ? name : "(allocator)"), row,
			     rows, n->err) != 0)
			n->failed = true;
		else
			site->put = true;
	}
}

int sites_put_named(struct sites *s, struct trace *trace, struct err *err)
{
	struct naming n = {
		.sites = s, .trace = trace, .err = err, .next = s->frame_count + 1, .names = 0};
	n.first = calloc((size_t)s->frame_count + 1, sizeof(*n.first));
	n.count = calloc((size_t)s->frame_count + 1, sizeof(*n.count));
	if (!n.first || !n.count) {
		n.failed = true;
		err_set(err, "out of memory for names");
	}
	if (!n.failed)
		name_frames(&n);
	if (!n.failed)
		name_sites(&n);
	for (uint32_t i = 0; i < n.names; i++)
		free(n.name[i]);
	free(n.name);
	free(n.first);
	free(n.count);
	return n.failed ? -1 : sites_put_uses(s, trace, err);
}
