/* SPDX-License-Identifier: MIT */
/*
 * What a fresh Lua state for every request costs. One plug-in, by its argument:
 *	fresh   a state made in each bucket by pail_bucket_start(), restored by
 *	        the server before every request
 *	shared  one state of the thread, which keeps what requests leave in it
 *	new     a state made in the request
 *	none    no Lua at all: what the rest of a request costs
 * bench_server.py measures the server's CPU time for a request of each.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pail/handler.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char script[] = "count = 0\n"
			     "function handle(path)\n"
			     "  count = count + 1\n"
			     "  local t = {}\n"
			     "  for i = 1, 10 do t[i] = path .. i end\n"
			     "  return count .. table.concat(t, ',')\n"
			     "end\n";

static enum { FRESH, SHARED, NEW, NONE } mode;
static __thread lua_State *shared;

static lua_State *state_new(void)
{
	lua_State *lua = luaL_newstate();

	if (!lua)
		return NULL;
	luaL_openlibs(lua);
	return luaL_dostring(lua, script) == LUA_OK ? lua : NULL;
}

int pail_start(int argc, char **argv)
{
	static const char *const names[] = {"fresh", "shared", "new", "none"};

	for (int i = 0; argc == 2 && i < 4; i++) {
		mode = i;
		if (strcmp(argv[1], names[i]) == 0)
			return 0;
	}
	return 1;
}

int pail_thread_start(void)
{
	shared = mode == SHARED ? state_new() : NULL;
	return mode == SHARED && !shared;
}

int pail_bucket_start(void)
{
	lua_State *lua = mode == FRESH ? state_new() : NULL;

	pail_bucket_data_set(lua);
	return mode == FRESH && !lua;
}

static int call(struct pail_request *r, lua_State *lua)
{
	size_t length;

	if (!lua)
		return 500;
	lua_getglobal(lua, "handle");
	lua_pushstring(lua, pail_path(r));
	if (lua_pcall(lua, 1, 1, 0) != LUA_OK)
		return 500;
	const char *text = lua_tolstring(lua, -1, &length);
	pail_write(r, text, length);
	lua_pop(lua, 1);
	return 200;
}

int pail_handle(struct pail_request *r)
{
	int status;

	switch (mode) {
	case FRESH: return call(r, pail_bucket_data(r));
	case NEW: return call(r, state_new());
	case SHARED:
		pail_outside_begin(); /* what it allocates is to live on */
		status = call(r, shared);
		pail_outside_end();
		return status;
	default: pail_write(r, "none", 4); return 200;
	}
}
