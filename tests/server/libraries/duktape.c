/* SPDX-License-Identifier: MIT */
/* Duktape: a heap, closures, JSON, regular expressions, an exception. */
#include "library.h"

#include <duktape.h>

static const char script[] =
	"var a = [];\n"
	"for (var i = 0; i < 40; i++) a.push({n: i, t: 'x' + i.toString(16)});\n"
	"var s = JSON.stringify(a.filter(function (o) { return o.n % 7 == 0; }));\n"
	"try { null.x } catch (e) { s += e.name; }\n"
	"s.replace(/x(\\w)/g, '<$1>') + JSON.parse('[1,{\"b\":2}]')[1].b;\n";

static int library_work(struct pail_request *r)
{
	duk_context *context = duk_create_heap_default();
	int status = 500;

	if (!context)
		return 500;
	if (duk_peval_string(context, script) == 0) {
		library_say(r, duk_safe_to_string(context, -1));
		status = 200;
	}
	duk_destroy_heap(context);
	return status;
}
