/* SPDX-License-Identifier: MIT */
/*
 * Lua 5.4: `pail serve --app app.lua`. The script defines
 *
 *	function handle(req) return 200, body, headers end
 *
 * req.method, .path, .query, .body (a string), .headers (a table, names in lower
 * case); req:header(name), req:read(n) (a piece of the body, nil at its end),
 * req:write(text), req:status(n), req:set_header(name, value). body is nil, a
 * string, a table of strings, or a function that is called for pieces until it
 * gives nil; headers is nil or a table of name = value, or name = {values}.
 *
 * Each bucket has its state, made by running the script once; the server puts
 * it back as it was before every request, so no request sees what another left.
 */
#include "pail/handler.h"
#include "server/guests/script.h"

#include <ctype.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char request_type[] = "pail.request";
enum { TRY_SECONDS = 2, TRY_COUNT = 100000, PIECE_BYTES = 16 << 10 };

static struct pail_request *request_of(lua_State *lua)
{
	return *(struct pail_request **)lua_getextraspace(lua);
}

/* -- what a script may ask of its request ------------------------------------------ */

static int request_header(lua_State *lua)
{
	lua_pushstring(lua, pail_header(request_of(lua), luaL_checkstring(lua, 2)));
	return 1;
}

static int request_read(lua_State *lua)
{
	lua_Integer most = luaL_optinteger(lua, 2, PIECE_BYTES);
	luaL_Buffer piece;

	luaL_argcheck(lua, most > 0, 2, "at least one byte");
	char *bytes = luaL_buffinitsize(lua, &piece, (size_t)most);
	ssize_t got = pail_body_read(request_of(lua), bytes, (size_t)most);
	luaL_pushresultsize(&piece, got > 0 ? (size_t)got : 0);
	if (got < 0)
		return luaL_error(lua, "the client went away");
	if (got == 0)
		lua_pushnil(lua);
	return 1;
}

static void write_piece(lua_State *lua, int index)
{
	size_t bytes;
	const char *text = lua_tolstring(lua, index, &bytes);

	if (!text)
		luaL_error(lua, "a body is made of strings, not of a %s",
			   luaL_typename(lua, index));
	if (pail_write(request_of(lua), text, bytes) < 0)
		luaL_error(lua, "the client went away");
}

static int request_write(lua_State *lua)
{
	for (int i = 2; i <= lua_gettop(lua); i++)
		write_piece(lua, i);
	return 0;
}

static int request_status(lua_State *lua)
{
	lua_Integer status = luaL_checkinteger(lua, 2);

	if (status < 200 || status > 599 || pail_set_status(request_of(lua), (int)status) < 0)
		return luaL_error(lua, "status %I can't be sent", status);
	return 0;
}

static void set_header(lua_State *lua, const char *name, const char *value)
{
	if (!value || pail_set_header(request_of(lua), name, value) < 0)
		luaL_error(lua, "the header '%s' can't be sent", name);
}

static int request_set_header(lua_State *lua)
{
	set_header(lua, luaL_checkstring(lua, 2), luaL_checkstring(lua, 3));
	return 0;
}

static void push_headers(lua_State *lua)
{
	const char *name, *value;

	lua_newtable(lua);
	for (size_t i = 0; pail_header_at(request_of(lua), i, &name, &value); i++) {
		luaL_Buffer lower;
		size_t length = strlen(name);
		char *bytes = luaL_buffinitsize(lua, &lower, length);
		for (size_t at = 0; at < length; at++)
			bytes[at] = (char)tolower((unsigned char)name[at]);
		luaL_pushresultsize(&lower, length);
		/* A field that comes twice is a list (RFC 9110, 5.3). */
		lua_pushvalue(lua, -1);
		if (lua_rawget(lua, -3) == LUA_TSTRING)
			lua_pushfstring(lua, "%s, %s", lua_tostring(lua, -1), value);
		else
			lua_pushstring(lua, value);
		lua_remove(lua, -2);
		lua_rawset(lua, -3);
	}
}

static int request_index(lua_State *lua)
{
	struct pail_request *r = request_of(lua);
	const char *key = luaL_checkstring(lua, 2);

	if (strcmp(key, "method") == 0) {
		lua_pushstring(lua, pail_method(r));
	} else if (strcmp(key, "path") == 0) {
		lua_pushstring(lua, pail_path(r));
	} else if (strcmp(key, "query") == 0) {
		lua_pushstring(lua, pail_query(r));
	} else if (strcmp(key, "headers") == 0) {
		push_headers(lua);
	} else if (strcmp(key, "body") == 0) {
		const void *bytes;
		size_t length = pail_body(r, &bytes);
		lua_pushlstring(lua, bytes, length);
	} else {
		lua_pushvalue(lua, 2);
		lua_rawget(lua, lua_upvalueindex(1));
	}
	return 1;
}

static const luaL_Reg methods[] = {
	{"header", request_header},         {"read", request_read},
	{"write", request_write},           {"status", request_status},
	{"set_header", request_set_header}, {NULL, NULL},
};

/* -- a state ------------------------------------------------------------------------ */

/* Scripts beside the script are found by require(). */
static void set_package_path(lua_State *lua, const struct script *script)
{
	size_t folder = (size_t)(script->name - script->path);

	lua_getglobal(lua, "package");
	lua_getfield(lua, -1, "path");
	lua_pushlstring(lua, folder ? script->path : "./", folder ? folder : 2);
	lua_pushliteral(lua, "?.lua;");
	lua_rotate(lua, -3, 2);
	lua_concat(lua, 3);
	lua_setfield(lua, -2, "path");
	lua_pop(lua, 1);
}

/* Protected: argument 1 is the struct script. Leaves nothing on the stack. */
static int state_fill(lua_State *lua)
{
	const struct script *script = lua_touserdata(lua, 1);

	luaL_openlibs(lua);
	set_package_path(lua, script);
	lua_newuserdatauv(lua, 0, 0);
	luaL_newmetatable(lua, request_type);
	luaL_newlib(lua, methods);
	lua_pushcclosure(lua, request_index, 1);
	lua_setfield(lua, -2, "__index");
	lua_setmetatable(lua, -2);
	lua_setfield(lua, LUA_REGISTRYINDEX, "pail.req");
	lua_pushfstring(lua, "@%s", script->name);
	if (luaL_loadbufferx(lua, script->text, script->bytes, lua_tostring(lua, -1), "t"))
		return lua_error(lua);
	lua_call(lua, 0, 0);
	if (lua_getglobal(lua, "handle") != LUA_TFUNCTION)
		return luaL_error(lua, "%s: it defines no function handle(req)", script->name);
	lua_gc(lua, LUA_GCCOLLECT, 0);
	return 0;
}

static time_t try_until_s;

static void try_hook(lua_State *lua, lua_Debug *about)
{
	struct timespec now;

	(void)about;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	if (now.tv_sec > try_until_s)
		luaL_error(lua, "it runs for more than %d s before the first request",
			   TRY_SECONDS);
}

static lua_State *state_new(const struct script *script, lua_Hook hook)
{
	lua_State *lua = luaL_newstate();

	if (!lua) {
		script_explain(NULL, "no memory for a Lua state");
		return NULL;
	}
	if (hook)
		lua_sethook(lua, hook, LUA_MASKCOUNT, TRY_COUNT);
	lua_pushcfunction(lua, state_fill);
	lua_pushlightuserdata(lua, (void *)script);
	if (lua_pcall(lua, 1, 0, 0) == LUA_OK)
		return lua;
	const char *what = lua_tostring(lua, -1);
	script_explain(NULL, "%s", what ? what : "an error that is no string");
	lua_close(lua);
	return NULL;
}

static int try_state(const struct script *script)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	try_until_s = now.tv_sec + TRY_SECONDS;
	lua_State *lua = state_new(script, try_hook);
	if (lua)
		lua_close(lua);
	return !lua;
}

int pail_start(int argc, char **argv)
{
	(void)argc;
	return script_load(argv[0], try_state);
}

int pail_reload(void)
{
	return script_reload(try_state);
}

int pail_bucket_start(void)
{
	struct script *script = script_take();
	lua_State *lua = state_new(script, NULL);

	pail_bucket_data_set(lua);
	script_give(script);
	return !lua;
}

/* -- a request ------------------------------------------------------------------------ */

static void send_headers(lua_State *lua, int index)
{
	if (lua_isnoneornil(lua, index))
		return;
	if (!lua_istable(lua, index))
		luaL_error(lua, "headers are a table, not a %s", luaL_typename(lua, index));
	lua_pushnil(lua);
	while (lua_next(lua, index)) {
		if (lua_type(lua, -2) != LUA_TSTRING)
			luaL_error(lua, "a header's name is a string, not a %s",
				   luaL_typename(lua, -2));
		const char *name = lua_tostring(lua, -2);
		if (lua_istable(lua, -1))
			for (lua_Integer i = 1;
			     lua_geti(lua, -1, i) != LUA_TNIL || (lua_pop(lua, 1), 0); i++) {
				set_header(lua, name, lua_tostring(lua, -1));
				lua_pop(lua, 1);
			}
		else
			set_header(lua, name, lua_tostring(lua, -1));
		lua_pop(lua, 1);
	}
}

static void send_body(lua_State *lua, int index)
{
	switch (lua_type(lua, index)) {
	case LUA_TNONE:
	case LUA_TNIL: break;
	case LUA_TTABLE:
		for (lua_Integer i = 1; lua_geti(lua, index, i) != LUA_TNIL; i++) {
			write_piece(lua, -1);
			lua_pop(lua, 1);
		}
		break;
	case LUA_TFUNCTION:
		for (;;) {
			lua_pushvalue(lua, index);
			lua_call(lua, 0, 1);
			if (lua_isnil(lua, -1))
				break;
			write_piece(lua, -1);
			lua_pop(lua, 1);
		}
		break;
	default: write_piece(lua, index);
	}
}

/* Protected: gives the status. */
static int respond(lua_State *lua)
{
	int is_integer;

	lua_getglobal(lua, "handle");
	lua_getfield(lua, LUA_REGISTRYINDEX, "pail.req");
	lua_call(lua, 1, 3);
	lua_Integer status = lua_tointegerx(lua, 1, &is_integer);
	if (!is_integer || status < 200 || status > 599)
		return luaL_error(lua, "handle() gave %s for a status, which is 200 to 599",
				  luaL_tolstring(lua, 1, NULL));
	/* Of no effect if the head was sent by req:write(). */
	pail_set_status(request_of(lua), (int)status);
	send_headers(lua, 3);
	send_body(lua, 2);
	lua_settop(lua, 1);
	return 1;
}

int pail_handle(struct pail_request *r)
{
	lua_State *lua = pail_bucket_data(r);

	*(struct pail_request **)lua_getextraspace(lua) = r;
	lua_settop(lua, 0); /* of the last request, where nothing puts it back */
	lua_pushcfunction(lua, respond);
	if (lua_pcall(lua, 0, 1, 0) == LUA_OK)
		return (int)lua_tointeger(lua, -1);
	const char *what = lua_tostring(lua, -1);
	script_explain(r, "%s", what ? what : "an error that is no string");
	return -1;
}
