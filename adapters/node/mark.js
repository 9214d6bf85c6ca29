// SPDX-License-Identifier: MIT
// Marks for pail record: for which connection JavaScript runs.
//
//	pail record -- node --require $SHARE/pail/adapters/node/mark.js app.js
//
// The recorder sees what goes over a connection, but not for which of them a
// promise or a timer goes on. async_hooks know: every asynchronous thing is
// made during another, and inherits the connection of it. Before its callback
// runs, the connection's descriptor is told; after it, that it is over.
//
// Only memory from malloc is recorded: Buffers, and what native code takes.
// Objects and strings live in V8's own heap, which maps pages by itself.
//
// A mark is a call of access() with a path that is not there, which is all it
// costs without the recorder. No native add-on, no other change.
'use strict';

const hooks = require('async_hooks');
const fs = require('fs');
const http = require('http');

const CONNECTION = Symbol('pail.connection');
const LEAVE = '/@pail/begin/0';
const exists = fs.existsSync;
// What runs inside what: an entry per nested callback, undefined if unmarked.
const running = [];

function mark(connection) {
	exists(connection !== undefined && connection.fd >= 0 ? connection.path : LEAVE);
}

hooks.createHook({
	init(id, type, trigger, resource) {
		const connection = hooks.executionAsyncResource()[CONNECTION];
		// What accepts and what dials out is nobody's: it serves many.
		if (connection !== undefined && type !== 'TCPSERVERWRAP' && type !== 'TCPWRAP')
			resource[CONNECTION] = connection;
	},
	before() {
		const connection = hooks.executionAsyncResource()[CONNECTION];
		running.push(connection);
		if (connection !== undefined)
			mark(connection);
	},
	after() {
		const connection = running.pop();
		if (connection !== undefined)
			mark(running.length > 0 ? running[running.length - 1] : undefined);
	},
}).enable();

// A connection begins where a server is handed one, a request where one is
// announced; both run inside callbacks that are marked from here on.
function adopt(socket) {
	const handle = socket._handle;
	if (!handle || !(handle.fd >= 0))
		return undefined;
	let connection = handle[CONNECTION];
	if (connection === undefined) {
		connection = {fd: handle.fd, path: `/@pail/begin/0/fd=${handle.fd}`};
		handle[CONNECTION] = connection;
		// The number will be another connection's.
		socket.once('close', () => { connection.fd = -1; });
	}
	return connection;
}

const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function (event, ...values) {
	if (event === 'connection') {
		adopt(values[0]);
	} else if (event === 'request') {
		const connection = adopt(values[0].socket);
		const resource = hooks.executionAsyncResource();
		if (connection !== undefined && resource[CONNECTION] !== connection) {
			resource[CONNECTION] = connection;
			if (running.length > 0)
				running[running.length - 1] = connection;
			mark(connection);
		}
	}
	return emit.call(this, event, ...values);
};
