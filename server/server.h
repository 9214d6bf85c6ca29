/* SPDX-License-Identifier: MIT */
/*
 * The server, as the rest of pail sees it: a program of its own,
 * libexec/pail/pail-server, that `pail serve` turns into by execv(2) with its
 * words passed on. It is no library, because it defines malloc and its family
 * for the whole process, and because the bound counts its text, data and
 * libraries, so it links nothing but libc, libgcc_s (frames) and libinih.
 *
 *	pail-server [-c FILE] [--app APP] [--listen ADDR] [--log FILE]
 *		[--recorder FD:PID] [--port-file FILE] [--seal] [--no-supervisor] [--check]
 *		[--print-bound [--json]]
 *[-- ARG...]
 *
 * APP: a plug-in ("./lib.so", written against pail/handler.h), "builtin:NAME",
 * or a folder of files. ARGs are pail_start()'s; argv[0] is APP.
 * Exit: 0 drained after SIGTERM or SIGINT, 2 usage, 3 bad input or
 * environment (port in use, bad pail.conf, no pail_handle in the plug-in, more
 * memory than the plan allows), each with one line on stderr. Once requests
 * are served, stderr has "pail serve: listening on 127.0.0.1:8080", with the
 * port that the kernel chose if :0 was asked for; --port-file gets that number.
 *
 * The way of a request through the folder:
 *	loop.c        one per thread: epoll, timers, ready list; shares nothing
 *	balance.c     which of them takes a newcomer
 *	connection.c  accept, head (parse.c), keep-alive, core's own answers
 *	bucket.c      takes a bucket of the route's class, or waits, or 503
 *	request.c     a coroutine on the bucket's stack (coroutine.c, switch_*.S):
 *	              pail_handle(), the pail_ functions, its end by return or jump
 *	malloc.c      malloc inside: the bucket's arena. Outside: the system region;
 *	              strings.c: what libc would allocate for its caller
 *	fault.c       signals, guard zones, deadlines: what becomes a jump
 *	streams.c     files that a jump left open; locks.c: mutexes
 *	aio*.c        calls of the handler's that would block: others run meanwhile;
 *	              sleep.c: sleeping, sockets.c: how many, resolve.c: names
 *	tls.c         TLS in a pool of memory; tls_openssl.c: loaded if [tls] is there
 *	response.c    heads;  files.c, builtin*.c: handlers;  log.c: one line each
 *	record.c      --record: one message each, to a process that makes a trace of them
 *	escapes.c     --debug-escapes: who keeps memory of a request beyond it
 *	libc_lock.c   whether a jump leaves a lock of libc's own behind
 *	fail.c        what no jump makes good: the process drains, and
 *	              supervise.c, its parent with the listener, starts a new one
 *	region.c      where all of that lies: one mapping, made and touched at start;
 *	              seal.c: and the kernel sees to it that it stays the only one
 */
#ifndef PAIL_SERVER_SERVER_H
#define PAIL_SERVER_SERVER_H

#define SERVER_PROGRAM "libexec/pail/pail-server" /* for cli_locate() */

#endif
