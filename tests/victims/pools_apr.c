/* SPDX-License-Identifier: MIT */
/* Pools with APR's names that take blocks from malloc, as a plug-in that nobody
 * else sees, and a program's use of them. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct apr_pool_t {
	struct apr_pool_t *parent, *child, *sibling;
	char *block[8];
	size_t blocks, used;
};
enum { BLOCK = 8192, HEAD = 16 };

void *apr_palloc(struct apr_pool_t *pool, size_t bytes);
void *apr_pcalloc(struct apr_pool_t *pool, size_t bytes);
char *apr_pvsprintf(struct apr_pool_t *pool, const char *format, va_list list);
char *apr_psprintf(struct apr_pool_t *pool, const char *format, ...);
int apr_pool_create_ex(struct apr_pool_t **pool, struct apr_pool_t *parent,
		       int (*on_abort)(int), void *allocator);
int apr_pool_create_unmanaged_ex(struct apr_pool_t **pool, int (*on_abort)(int),
				 void *allocator);
void apr_pool_clear(struct apr_pool_t *pool);
void apr_pool_destroy(struct apr_pool_t *pool);
void use_pools(void);

void *apr_palloc(struct apr_pool_t *pool, size_t bytes)
{
	if (pool->used + bytes > BLOCK) {
		pool->block[pool->blocks++] = malloc(BLOCK);
		pool->used = HEAD;
	}
	void *p = pool->block[pool->blocks - 1] + pool->used;
	pool->used += (bytes + 7) & ~(size_t)7;
	return p;
}

void *apr_pcalloc(struct apr_pool_t *pool, size_t bytes)
{
	return memset(apr_palloc(pool, bytes), 0, bytes);
}

char *apr_pvsprintf(struct apr_pool_t *pool, const char *format, va_list list)
{
	char text[256];

	vsnprintf(text, sizeof(text), format, list);
	return strcpy(apr_palloc(pool, strlen(text) + 1), text);
}

char *apr_psprintf(struct apr_pool_t *pool, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	char *text = apr_pvsprintf(pool, format, list);
	va_end(list);
	return text;
}

int apr_pool_create_unmanaged_ex(struct apr_pool_t **pool, int (*on_abort)(int),
				 void *allocator)
{
	(void)on_abort;
	(void)allocator;
	*pool = calloc(1, sizeof(**pool));
	(*pool)->used = BLOCK;
	return 0;
}

int apr_pool_create_ex(struct apr_pool_t **pool, struct apr_pool_t *parent,
		       int (*on_abort)(int), void *allocator)
{
	apr_pool_create_unmanaged_ex(pool, on_abort, allocator);
	(*pool)->parent = parent;
	if (parent) {
		(*pool)->sibling = parent->child;
		parent->child = *pool;
	}
	return 0;
}

void apr_pool_clear(struct apr_pool_t *pool)
{
	while (pool->child)
		apr_pool_destroy(pool->child);
	while (pool->blocks > 0)
		free(pool->block[--pool->blocks]);
	pool->used = BLOCK;
}

void apr_pool_destroy(struct apr_pool_t *pool)
{
	apr_pool_clear(pool);
	for (struct apr_pool_t **at = pool->parent ? &pool->parent->child : NULL; at && *at;
	     at = &(*at)->sibling)
		if (*at == pool) {
			*at = pool->sibling;
			break;
		}
	free(pool);
}

void use_pools(void)
{
	struct apr_pool_t *outer, *inner;

	apr_pool_create_unmanaged_ex(&outer, NULL, NULL);
	apr_pool_create_ex(&inner, outer, NULL, NULL);
	void *a = apr_palloc(outer, 1001);
	void *b = apr_pcalloc(inner, 1002);
	char *c = apr_psprintf(inner, "%s-%d", "text", 12345);
	apr_palloc(inner, 0);
	void *d = malloc(1003);
	printf("blocks %p %p %p\npools %p %p\n", a, b, (void *)c, (void *)outer, (void *)inner);
	apr_pool_clear(outer);
	free(d);
	apr_palloc(outer, 1004);
	apr_pool_destroy(outer);
}
