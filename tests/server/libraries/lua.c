/* SPDX-License-Identifier: MIT */
/* Lua: a new state, its libraries, tables, strings, closures, coroutines, an error. */
#include "library.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

static const char script[] =
	"local t = {}\n"
	"for i = 1, 50 do t[#t + 1] = ('%d:%s'):format(i, ('x'):rep(i % 7)) end\n"
	"local c = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i * i) end end)\n"
	"t[#t + 1] = c() + c() + c()\n"
	"local ok, why = pcall(function() error('no') end)\n"
	"t[#t + 1] = tostring(ok) .. why:match('no')\n"
	"table.sort(t, function(a, b) return tostring(a) < tostring(b) end)\n"
	"return table.concat(t, ',')\n";

/* All of it is protected: an error outside would be a panic, and so an abort. */
static int run(lua_State *lua)
{
	luaL_openlibs(lua);
	if (luaL_dostring(lua, script) != LUA_OK)
		return lua_error(lua);
	return 1;
}

static int library_work(struct pail_request *r)
{
	lua_State *lua = luaL_newstate();
	int status = 500;

	if (!lua)
		return 500;
	lua_pushcfunction(lua, run);
	if (lua_pcall(lua, 0, 1, 0) == LUA_OK) {
		library_say(r, lua_tostring(lua, -1));
		status = 200;
	}
	lua_close(lua);
	return status;
}
