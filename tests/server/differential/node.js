// SPDX-License-Identifier: MIT
// llhttp, by way of node: answers every request by what it was.
'use strict';
const http = require('http');
const server = http.createServer((request, response) => {
	const pieces = [];
	request.on('data', (piece) => pieces.push(piece));
	request.on('end', () => {
		const body = Buffer.concat(pieces).toString('hex');
		response.end(`${request.method} ${request.url} ${body}`);
	});
});
server.on('connect', (request, socket) => socket.end('HTTP/1.1 501 Not Implemented\r\nConnection: close\r\n\r\n'));
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
