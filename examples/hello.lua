-- SPDX-License-Identifier: MIT
-- pail serve --app hello.lua --listen 127.0.0.1:8080
function handle(req)
  if req.path ~= "/hello" then return 404, "no such page\n" end
  local name = req.query:match("name=(%w+)") or "you"
  return 200, "hello, " .. name .. "\n", {["Content-Type"] = "text/plain"}
end
