/* SPDX-License-Identifier: MIT */
/*
 * JavaScript (ECMAScript 5.1 and some of 6) on Duktape: `pail serve --app app.js`.
 * The script defines
 *
 *	function handle(req) { return {status: 200, body: "...", headers: {}} }
 *
 * req.method, .path, .query, .body (a string), .bytes (the body as Uint8Array),
 * .headers (an object, names in lower case), .header(name), .write(text). body
 * is undefined, null, a string (sent as UTF-8), or any buffer; headers maps names to
 * values or arrays of values.
 *
 * Each bucket has its heap, made by running the script once; the server puts
 * it back as it was before every request, so no request sees what another left.
 */
#include "pail/handler.h"
#include "server/guests/script.h"

#include <ctype.h>
#include <duktape.h>
#include <stdlib.h>
#include <string.h>

/* The heap's udata: in the bucket, like the heap. */
struct guest {
	duk_context *duk;
	struct pail_request *r;
};

/* Not duk_type_error() and its like, which put our own file and line into it. */
#define RAISE(duk, ...) duk_error_raw((duk), DUK_ERR_ERROR, NULL, 0, __VA_ARGS__)

static const char request_key[] = DUK_HIDDEN_SYMBOL("req");

static struct pail_request *request_of(duk_context *duk)
{
	duk_memory_functions functions;

	duk_get_memory_functions(duk, &functions);
	return ((struct guest *)functions.udata)->r;
}

/* -- what a script may ask of its request ------------------------------------------ */

static duk_ret_t request_method(duk_context *duk)
{
	duk_push_string(duk, pail_method(request_of(duk)));
	return 1;
}

static duk_ret_t request_path(duk_context *duk)
{
	duk_push_string(duk, pail_path(request_of(duk)));
	return 1;
}

static duk_ret_t request_query(duk_context *duk)
{
	duk_push_string(duk, pail_query(request_of(duk)));
	return 1;
}

static duk_ret_t request_body(duk_context *duk)
{
	const void *bytes;
	size_t length = pail_body(request_of(duk), &bytes);

	duk_push_lstring(duk, bytes, length);
	return 1;
}

static duk_ret_t request_bytes(duk_context *duk)
{
	const void *bytes;
	size_t length = pail_body(request_of(duk), &bytes);

	memcpy(duk_push_fixed_buffer(duk, length), bytes ? bytes : "", length);
	duk_push_buffer_object(duk, -1, 0, length, DUK_BUFOBJ_UINT8ARRAY);
	return 1;
}

static duk_ret_t request_headers(duk_context *duk)
{
	const char *name, *value;

	duk_push_object(duk);
	for (size_t i = 0; pail_header_at(request_of(duk), i, &name, &value); i++) {
		size_t length = strlen(name);
		char *lower = duk_push_fixed_buffer(duk, length);
		for (size_t at = 0; at < length; at++)
			lower[at] = (char)tolower((unsigned char)name[at]);
		duk_push_lstring(duk, lower, length);
		duk_remove(duk, -2);
		/* A field that comes twice is a list (RFC 9110, 5.3). */
		duk_dup(duk, -1);
		if (duk_get_prop(duk, -3))
			duk_push_sprintf(duk, "%s, %s", duk_get_string(duk, -1), value);
		else
			duk_push_string(duk, value);
		duk_remove(duk, -2);
		duk_put_prop(duk, -3);
	}
	return 1;
}

static duk_ret_t request_header(duk_context *duk)
{
	const char *value = pail_header(request_of(duk), duk_require_string(duk, 0));

	if (!value)
		return 0;
	duk_push_string(duk, value);
	return 1;
}

/*
 * Duktape keeps a character beyond U+FFFF as two surrogates of three bytes each
 * (CESU-8); the wire wants four bytes (RFC 3629). In place: it only gets shorter.
 */
static size_t utf8_from_cesu8(unsigned char *text, size_t length)
{
	size_t out = 0;

	for (size_t at = 0; at < length;) {
		const unsigned char *p = text + at;
		if (length - at >= 6 && p[0] == 0xed && (p[1] & 0xf0) == 0xa0 && p[3] == 0xed &&
		    (p[4] & 0xf0) == 0xb0) {
			uint32_t high = ((uint32_t)(p[1] & 0x0f) << 6) | (p[2] & 0x3f);
			uint32_t low = ((uint32_t)(p[4] & 0x0f) << 6) | (p[5] & 0x3f);
			uint32_t code = 0x10000 + (high << 10) + low;
			text[out++] = (unsigned char)(0xf0 | code >> 18);
			text[out++] = (unsigned char)(0x80 | (code >> 12 & 0x3f));
			text[out++] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
			text[out++] = (unsigned char)(0x80 | (code & 0x3f));
			at += 6;
		} else {
			text[out++] = text[at++];
		}
	}
	return out;
}

static void write_piece(duk_context *duk, duk_idx_t index)
{
	duk_size_t length;
	const void *bytes;

	if (duk_is_buffer_data(duk, index)) {
		bytes = duk_get_buffer_data(duk, index, &length);
	} else {
		const char *text = duk_require_lstring(duk, index, &length);
		unsigned char *copy = duk_push_fixed_buffer(duk, length);
		memcpy(copy, text, length);
		length = utf8_from_cesu8(copy, length);
		bytes = copy;
	}
	if (pail_write(request_of(duk), bytes, length) < 0)
		RAISE(duk, "the client went away");
}

static duk_ret_t request_write(duk_context *duk)
{
	write_piece(duk, 0);
	return 0;
}

/* -- a heap ------------------------------------------------------------------------- */

static void *heap_alloc(void *guest, duk_size_t size)
{
	(void)guest;
	return malloc(size);
}

static void *heap_realloc(void *guest, void *p, duk_size_t size)
{
	(void)guest;
	if (size == 0) {
		free(p);
		return NULL;
	}
	return realloc(p, size);
}

static void heap_free(void *guest, void *p)
{
	(void)guest;
	free(p);
}

/* Nothing of Duktape's may run on; it costs the request, as any abort does. */
static void heap_fatal(void *guest, const char *what)
{
	script_explain(((struct guest *)guest)->r, "%s", what ? what : "Duktape gave up");
	abort();
}

static void define_getter(duk_context *duk, const char *name, duk_c_function get)
{
	duk_push_string(duk, name);
	duk_push_c_function(duk, get, 0);
	duk_def_prop(duk, -3, DUK_DEFPROP_HAVE_GETTER | DUK_DEFPROP_SET_ENUMERABLE);
}

/* "TypeError: x is not callable" on top becomes "app.js:3: TypeError: ..." */
static const char *error_text(duk_context *duk, const char *name)
{
	if (!duk_is_object(duk, -1))
		return duk_safe_to_string(duk, -1);
	duk_get_prop_string(duk, -1, "lineNumber");
	duk_int_t line = duk_is_number(duk, -1) ? duk_get_int(duk, -1) : 0;
	duk_pop(duk);
	duk_get_prop_string(duk, -1, "fileName");
	const char *file = duk_is_string(duk, -1) ? duk_get_string(duk, -1) : name;
	const char *what = duk_safe_to_string(duk, -2);
	return line > 0 ? duk_push_sprintf(duk, "%s:%d: %s", file, (int)line, what)
			: duk_push_sprintf(duk, "%s: %s", name, what);
}

/* duk_safe_call(): runs the script. */
static duk_ret_t heap_fill(duk_context *duk, void *context)
{
	const struct script *script = context;

	duk_push_heap_stash(duk);
	duk_push_object(duk);
	define_getter(duk, "method", request_method);
	define_getter(duk, "path", request_path);
	define_getter(duk, "query", request_query);
	define_getter(duk, "headers", request_headers);
	define_getter(duk, "body", request_body);
	define_getter(duk, "bytes", request_bytes);
	duk_push_c_function(duk, request_header, 1);
	duk_put_prop_string(duk, -2, "header");
	duk_push_c_function(duk, request_write, 1);
	duk_put_prop_string(duk, -2, "write");
	duk_put_prop_string(duk, -2, request_key);
	duk_pop(duk);
	duk_push_string(duk, script->name);
	duk_compile_lstring_filename(duk, 0, script->text, script->bytes);
	duk_call(duk, 0);
	duk_pop(duk);
	if (!duk_get_global_string(duk, "handle") || !duk_is_function(duk, -1))
		RAISE(duk, "it defines no function handle(req)");
	duk_pop(duk);
	duk_gc(duk, 0);
	return 0;
}

static struct guest *guest_new(const struct script *script)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	if (guest)
		guest->duk =
			duk_create_heap(heap_alloc, heap_realloc, heap_free, guest, heap_fatal);
	if (!guest || !guest->duk) {
		script_explain(NULL, "no memory for a Duktape heap");
		free(guest);
		return NULL;
	}
	if (duk_safe_call(guest->duk, heap_fill, (void *)script, 0, 1) == DUK_EXEC_SUCCESS) {
		duk_set_top(guest->duk, 0);
		return guest;
	}
	script_explain(NULL, "%s", error_text(guest->duk, script->name));
	duk_destroy_heap(guest->duk);
	free(guest);
	return NULL;
}

static int try_heap(const struct script *script)
{
	struct guest *guest = guest_new(script);

	if (!guest)
		return 1;
	duk_destroy_heap(guest->duk);
	free(guest);
	return 0;
}

int pail_start(int argc, char **argv)
{
	(void)argc;
	return script_load(argv[0], try_heap);
}

int pail_reload(void)
{
	return script_reload(try_heap);
}

int pail_bucket_start(void)
{
	struct script *script = script_take();
	struct guest *guest = guest_new(script);

	pail_bucket_data_set(guest);
	script_give(script);
	return !guest;
}

/* -- a request ------------------------------------------------------------------------ */

static void set_header(duk_context *duk, const char *name)
{
	if (pail_set_header(request_of(duk), name, duk_to_string(duk, -1)) < 0)
		RAISE(duk, "the header '%s' can't be sent", name);
}

static void send_headers(duk_context *duk, duk_idx_t index)
{
	if (duk_is_null_or_undefined(duk, index))
		return;
	duk_enum(duk, index, DUK_ENUM_OWN_PROPERTIES_ONLY);
	while (duk_next(duk, -1, 1)) {
		const char *name = duk_get_string(duk, -2);
		if (duk_is_array(duk, -1)) {
			duk_size_t count = duk_get_length(duk, -1);
			for (duk_uarridx_t i = 0; i < count; i++) {
				duk_get_prop_index(duk, -1, i);
				set_header(duk, name);
				duk_pop(duk);
			}
		} else {
			set_header(duk, name);
		}
		duk_pop_2(duk);
	}
	duk_pop(duk);
}

/* duk_safe_call(): leaves the status. */
static duk_ret_t respond(duk_context *duk, void *context)
{
	(void)context;
	duk_get_global_string(duk, "handle");
	duk_push_heap_stash(duk);
	duk_get_prop_string(duk, -1, request_key);
	duk_remove(duk, -2);
	duk_call(duk, 1);
	if (!duk_is_object(duk, -1))
		RAISE(duk, "handle() gives {status, body, headers}");
	duk_get_prop_string(duk, -1, "status");
	duk_int_t status = duk_is_number(duk, -1) ? duk_get_int(duk, -1) : 0;
	if (status < 200 || status > 599)
		RAISE(duk, "handle() gave %s for a status, which is 200 to 599",
		      duk_safe_to_string(duk, -1));
	pail_set_status(request_of(duk), (int)status);
	duk_get_prop_string(duk, -2, "headers");
	send_headers(duk, duk_get_top_index(duk));
	duk_get_prop_string(duk, -3, "body");
	if (!duk_is_null_or_undefined(duk, -1))
		write_piece(duk, duk_get_top_index(duk));
	duk_push_int(duk, status);
	return 1;
}

int pail_handle(struct pail_request *r)
{
	struct guest *guest = pail_bucket_data(r);

	guest->r = r;
	duk_set_top(guest->duk, 0); /* of the last request, where nothing puts it back */
	if (duk_safe_call(guest->duk, respond, NULL, 0, 1) == DUK_EXEC_SUCCESS)
		return duk_get_int(guest->duk, -1);
	script_explain(r, "%s", error_text(guest->duk, "the script"));
	return -1;
}
