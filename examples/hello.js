// SPDX-License-Identifier: MIT
// pail serve --app hello.js --listen 127.0.0.1:8080
function handle(req) {
  if (req.path !== "/hello") return {status: 404, body: "no such page\n"};
  var found = /name=(\w+)/.exec(req.query);
  return {status: 200, body: "hello, " + (found ? found[1] : "you") + "\n", headers: {"Content-Type": "text/plain"}};
}
