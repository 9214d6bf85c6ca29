/* SPDX-License-Identifier: MIT */
#include "demo/service.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct product {
	long key;
	char name[48];
	double price;
	long stock;
};

static struct product *products;
static size_t product_count;

/* -- the table --------------------------------------------------------- */

int service_start(const char *table_path)
{
	FILE *file = fopen(table_path, "re");
	if (file == NULL) {
		fprintf(stderr, "service: cannot open the table '%s': %s\n", table_path,
			strerror(errno));
		return -1;
	}
	char line[256];
	size_t room = 0;
	while (fgets(line, sizeof line, file) != NULL) {
		if (product_count == room) {
			room = room ? room * 2 : 256;
			struct product *grown = realloc(products, room * sizeof *grown);
			if (grown == NULL)
				break;
			products = grown;
		}
		struct product *p = &products[product_count];
		if (sscanf(line, "%ld,%47[^,],%lf,%ld", &p->key, p->name, &p->price,
			   &p->stock) == 4)
			product_count++;
	}
	fclose(file);
	if (product_count == 0) {
		fprintf(stderr, "service: the table '%s' holds no product\n", table_path);
		return -1;
	}
	return 0;
}

/* The round trip to a database that this service does not have: a few
 * milliseconds in which the thread has nothing to do. */
static void database_wait(long microseconds)
{
	struct timespec left = {.tv_nsec = microseconds * 1000};
	while (nanosleep(&left, &left) == -1 && errno == EINTR)
		;
}

/* -- replies ------------------------------------------------------------ */

static int reply_text(struct service_reply *out, int status, const char *type, char *text)
{
	out->status = text ? status : 500;
	out->type = type;
	out->body = text;
	out->body_bytes = text ? strlen(text) : 0;
	return out->status;
}

static int reply_json(struct service_reply *out, int status, json_t *root)
{
	char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;
	json_decref(root);
	return reply_text(out, status, "application/json", text);
}

static int reply_error(struct service_reply *out, int status, const char *message)
{
	return reply_json(out, status, json_pack("{s:s}", "error", message));
}

/* The number behind NAME= in a query, or `otherwise`. */
static long query_number(const char *query, const char *name, long otherwise)
{
	size_t length = strlen(name);
	for (const char *p = query; p != NULL && *p != '\0'; p = strchr(p, '&')) {
		p += *p == '&';
		if (strncmp(p, name, length) == 0 && p[length] == '=') {
			char *end;
			long value = strtol(p + length + 1, &end, 10);
			return end > p + length + 1 ? value : otherwise;
		}
	}
	return otherwise;
}

/* -- GET /lookup ---------------------------------------------------------- */

static int product_order(const void *a, const void *b)
{
	long left = ((const struct product *)a)->key, right = ((const struct product *)b)->key;
	return (left > right) - (left < right);
}

static json_t *product_json(const struct product *p)
{
	return json_pack("{s:I,s:s,s:f,s:I}", "key", (json_int_t)p->key, "name", p->name,
			 "price", p->price, "stock", (json_int_t)p->stock);
}

static int handle_lookup(const struct service_request *in, struct service_reply *out)
{
	struct product wanted = {.key = query_number(in->query, "key", -1)};
	database_wait(2000 + wanted.key % 7 * 500);
	const struct product *found =
		bsearch(&wanted, products, product_count, sizeof *products, product_order);
	if (found == NULL)
		return reply_error(out, 404, "no such product");
	json_t *root = product_json(found), *related = json_array();
	size_t at = (size_t)(found - products);
	for (size_t i = 1; i <= 4; i++)
		json_array_append_new(related,
				      product_json(&products[(at + i * 7) % product_count]));
	json_object_set_new(root, "related", related);
	return reply_json(out, 200, root);
}

/* -- POST /svg ------------------------------------------------------------ */

struct text {
	char *bytes;
	size_t length, room;
};

__attribute__((format(printf, 2, 3))) static int text_add(struct text *text, const char *format,
							  ...)
{
	for (;;) {
		size_t left = text->room - text->length;
		va_list args;
		va_start(args, format);
		int n = vsnprintf(text->bytes ? text->bytes + text->length : NULL, left, format,
				  args);
		va_end(args);
		if (n >= 0 && (size_t)n < left) {
			text->length += (size_t)n;
			return 0;
		}
		size_t room = text->room ? text->room * 2 : 256;
		char *grown = n < 0 ? NULL : realloc(text->bytes, room);
		if (grown == NULL)
			return -1;
		text->bytes = grown;
		text->room = room;
	}
}

struct points {
	double (*xy)[2];
	size_t count;
	double low[2], high[2];
};

/* A malloc'd copy is cut into lines, as code that grew over time does it. */
static int points_read(struct points *points, const struct service_request *in)
{
	char *copy = strndup(in->body, in->body_bytes), *rest = copy, *line;
	size_t room = 0;
	while (copy != NULL && (line = strsep(&rest, "\n")) != NULL) {
		double x, y;
		if (sscanf(line, "%lf,%lf", &x, &y) != 2 || !isfinite(x) || !isfinite(y))
			continue;
		if (points->count == room) {
			room = room ? room * 2 : 16;
			void *grown = realloc(points->xy, room * sizeof *points->xy);
			if (grown == NULL)
				break;
			points->xy = grown;
		}
		double *p = points->xy[points->count];
		p[0] = x;
		p[1] = y;
		for (int i = 0; i < 2; i++) {
			if (points->count == 0 || p[i] < points->low[i])
				points->low[i] = p[i];
			if (points->count == 0 || p[i] > points->high[i])
				points->high[i] = p[i];
		}
		points->count++;
	}
	free(copy);
	return points->count >= 2 ? 0 : -1;
}

static int handle_svg(const struct service_request *in, struct service_reply *out)
{
	struct points points = {0};
	if (points_read(&points, in) == -1) {
		free(points.xy);
		return reply_error(out, 400, "want at least two lines of CSV: x,y");
	}
	double width = points.high[0] - points.low[0], height = points.high[1] - points.low[1];
	struct text svg = {0};
	int bad = text_add(&svg,
			   "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 480\">"
			   "<path fill=\"none\" stroke=\"black\" d=\"");
	for (size_t i = 0; i < points.count; i++) {
		double x = width > 0 ? (points.xy[i][0] - points.low[0]) / width * 640 : 320;
		double y = height > 0 ? 480 - (points.xy[i][1] - points.low[1]) / height * 480
				      : 240;
		bad |= text_add(&svg, "%c%.2f %.2f", i ? 'L' : 'M', x, y);
	}
	bad |= text_add(&svg, "\"/></svg>\n");
	free(points.xy);
	if (bad) {
		free(svg.bytes);
		svg.bytes = NULL;
	}
	return reply_text(out, 200, "image/svg+xml", svg.bytes);
}

/* -- POST /sort ----------------------------------------------------------- */

static int json_order(const void *a, const void *b)
{
	const json_t *left = *(json_t *const *)a, *right = *(json_t *const *)b;
	if (json_is_string(left) && json_is_string(right))
		return strcmp(json_string_value(left), json_string_value(right));
	if (json_is_number(left) && json_is_number(right)) {
		double x = json_number_value(left), y = json_number_value(right);
		return (x > y) - (x < y);
	}
	return (int)json_typeof(left) - (int)json_typeof(right);
}

static int handle_sort(const struct service_request *in, struct service_reply *out)
{
	json_error_t why;
	json_t *list = json_loadb(in->body, in->body_bytes, 0, &why);
	size_t count = json_array_size(list);
	json_t **item = list && json_is_array(list) ? malloc((count + 1) * sizeof *item) : NULL;
	if (item == NULL) {
		json_decref(list);
		return reply_error(out, 400, "want a JSON list");
	}
	for (size_t i = 0; i < count; i++)
		item[i] = json_array_get(list, i);
	qsort(item, count, sizeof *item, json_order);
	database_wait(1000); /* writes down who sorted what */
	json_t *sorted = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append(sorted, item[i]);
	free(item);
	json_decref(list);
	return reply_json(out, 200, sorted);
}

/* -- GET /report ---------------------------------------------------------- */

enum { REPORT_BATCH_ROWS = 500, REPORT_ROWS_MAX = 10000000 };

static json_t *report_row(long number)
{
	const struct product *p = &products[(size_t)number * 31 % product_count];
	json_t *row =
		json_pack("{s:I,s:s,s:I,s:f,s:[I,I,I]}", "order", (json_int_t)number, "product",
			  p->name, "quantity", (json_int_t)(1 + number % 9), "total",
			  p->price * (double)(1 + number % 9), "parcels", (json_int_t)number,
			  (json_int_t)(number + 1), (json_int_t)(number + 2));
	return row;
}

static int handle_report(const struct service_request *in, struct service_reply *out)
{
	long rows = query_number(in->query, "rows", 50);
	if (rows < 0 || rows > REPORT_ROWS_MAX)
		return reply_error(out, 400, "rows is out of range");
	json_t *list = json_array();
	for (long i = 0; i < rows; i++) {
		if (i % REPORT_BATCH_ROWS == 0)
			database_wait(4000);
		if (json_array_append_new(list, report_row(i)) == -1) {
			json_decref(list);
			return reply_error(out, 500, "out of memory");
		}
	}
	return reply_json(out, 200,
			  json_pack("{s:I,s:o}", "rows", (json_int_t)rows, "orders", list));
}

/* -- which one ------------------------------------------------------------ */

int service_handle(const struct service_request *in, struct service_reply *out)
{
	static const struct {
		const char *method, *path;
		int (*handle)(const struct service_request *, struct service_reply *);
	} routes[] = {
		{"GET", "/lookup", handle_lookup},
		{"POST", "/svg", handle_svg},
		{"POST", "/sort", handle_sort},
		{"GET", "/report", handle_report},
	};
	*out = (struct service_reply){0};
	for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
		if (strcmp(in->path, routes[i].path) != 0)
			continue;
		if (strcmp(in->method, routes[i].method) != 0)
			return reply_error(out, 405, "not by this method");
		return routes[i].handle(in, out);
	}
	return reply_error(out, 404, "no such page");
}
