/* SPDX-License-Identifier: MIT */
#include "server/request/output.h"

#include "server/request/bucket.h"
#include "server/connection/loop.h"
#include "server/http/response.h"
#include "server/tls/tls.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

static int output_gone(struct pail_request *r, const char *cause)
{
	r->gone = true;
	r->closing = true;
	if (!r->cause) {
		r->cause = cause;
		r->fail_status = 0;
	}
	return -1;
}

/* Waits for room in the socket; *due_ns moves on when enough went out. */
static int output_wait(struct pail_request *r, uint64_t *due_ns, size_t *moved_bytes)
{
	r->connection->writable = false;
	if (*due_ns == 0 || *moved_bytes >= OUTPUT_PROGRESS_BYTES) {
		*due_ns = r->worker->now_ns + core.plan.write_timeout_ns;
		*moved_bytes = 0;
	}
	r->stalled_from_ns = *due_ns - core.plan.write_timeout_ns;
	enum request_wake wake = request_wait(r, REQUEST_WAIT_WRITE, *due_ns);
	if (wake == REQUEST_GONE)
		return output_gone(r, "client-gone");
	if (wake == REQUEST_TIMED_OUT)
		return output_gone(r, "write-timeout");
	if (wake == REQUEST_GIVEN_UP)
		return output_gone(r, "slow-reader");
	return 0;
}

static void iov_advance(struct iovec **iov, int *count, size_t bytes)
{
	while (*count > 0 && bytes >= (*iov)->iov_len) {
		bytes -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (*count > 0) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + bytes;
		(*iov)->iov_len -= bytes;
	}
}

/* -- batches of answers to pipelined requests ---------------------------------------- */

void output_flush(struct connection *c)
{
	struct output_batch *batch = &c->worker->batch;
	size_t sent = 0;

	if (batch->of != c)
		return;
	while (sent < batch->length && !c->broken) {
		ssize_t more =
			send(c->fd, batch->bytes + sent, batch->length - sent, MSG_NOSIGNAL);
		if (more > 0)
			sent += (size_t)more;
		else if (errno != EINTR) /* no memory for a buffer that was empty: give up */
			c->broken = true;
	}
	batch->of = NULL;
	batch->length = 0;
}

/* True if the answer, which is whole, has become a part of the batch. */
static bool output_joins(struct pail_request *r, const struct iovec *iov, int count)
{
	struct connection *c = r->connection;
	struct output_batch *batch = &r->worker->batch;
	bool more = c->at < c->filled && c->stays && c->head.framing == PARSE_BODY_NONE;
	size_t room = core.plan.sndbuf_bytes / 2, length = 0;
	int unsent = 0;

	if (c->secure) /* has records of its own */
		return false;
	if (batch->of != c && !more)
		return false;
	if (room > sizeof(batch->bytes))
		room = sizeof(batch->bytes);
	for (int i = 0; i < count; i++)
		length += iov[i].iov_len;
	if (batch->of == c && length > room - batch->length)
		output_flush(c);
	if (c->broken || length > room)
		return false;
	if (batch->of != c) {
		if (!more || ioctl(c->fd, SIOCOUTQ, &unsent) < 0 || unsent > 0)
			return false;
		assert(batch->of == NULL);
		batch->of = c;
	}
	for (int i = 0; i < count; i++) {
		/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): none is NULL */
		memcpy(batch->bytes + batch->length, iov[i].iov_base, iov[i].iov_len);
		batch->length += (uint32_t)iov[i].iov_len;
	}
	if (!more)
		output_flush(c);
	return true;
}

static int output_send_all(struct pail_request *r, struct iovec *iov, int count, int flags)
{
	uint64_t due_ns = 0;
	size_t moved_bytes = 0;

	output_flush(r->connection);

	if (r->gone)
		return -1;
	iov_advance(&iov, &count, 0);
	while (count > 0) {
		ssize_t sent = connection_send(r->connection, iov, count, flags);
		if (sent >= 0) {
			moved_bytes += (size_t)sent;
			iov_advance(&iov, &count, (size_t)sent);
		} else if (errno == EAGAIN) {
			if (output_wait(r, &due_ns, &moved_bytes) < 0)
				return -1;
		} else if (errno == EFAULT && r->stage < REQUEST_SEND) {
			r->pending = "segv"; /* the handler's pointer */
			r->pending_status = 500;
			return -1;
		} else if (errno != EINTR) {
			return output_gone(r, "client-gone");
		}
	}
	return 0;
}

int output_send(struct pail_request *r, struct iovec *iov, int count, int flags)
{
	request_enter(r);
	int result = output_send_all(r, iov, count, flags);
	request_leave(r);
	return result;
}

/* -- heads -------------------------------------------------------------------- */

/* Whether the connection could serve another request behind this one. */
static bool output_may_stay(const struct pail_request *r)
{
	const struct connection *c = r->connection;

	if (!c->head.keep_alive || r->closing || r->worker->draining)
		return false;
	/* A client that waits for "100 Continue" may or may not send its body now. */
	if (r->may_continue && c->body.content_bytes == 0)
		return false;
	/* While it streams, the handler may be reading still. */
	return r->stage < REQUEST_SEND ||
	       parse_body_expected(&c->body, &c->head) <= OUTPUT_UNREAD_MAX;
}

static struct response output_response(struct pail_request *r, int status)
{
	return (struct response){
		.status = status,
		.minor = r->minor,
		.keep_alive = output_may_stay(r),
		.length = -1,
		.date = {r->worker->date, RESPONSE_DATE_BYTES - 1},
		.fields = {r->fields, r->fields_length},
	};
}

/* Formats the head; 0 bytes never happens, REQUEST_HEAD_BYTES is made to fit. */
static struct iovec output_head(struct pail_request *r, const struct response *response)
{
	size_t length = response_head(r->head, sizeof(r->head), response);

	assert(length > 0);
	r->head_sent = true;
	r->status = response->status;
	r->connection->stays = response_stays(response);
	return (struct iovec){r->head, length};
}

/* -- streaming ------------------------------------------------------------------ */

/* Sends what is buffered and `bytes` behind it, with the head before the first. */
static int output_stream(struct pail_request *r, const void *bytes, size_t length)
{
	struct iovec iov[5];
	char size_line[24];
	int count = 0;
	size_t content = r->out_length + length;

	request_enter(r);
	if (!r->head_sent) {
		struct response response = output_response(r, r->status ? r->status : 200);
		response.length = r->declared_length;
		r->chunked = r->declared_length < 0 && r->minor;
		response.chunked = r->chunked;
		iov[count++] = output_head(r, &response);
	}
	if (r->chunked && content > 0) {
		int n = snprintf(size_line, sizeof(size_line), "%zx\r\n", content);
		iov[count++] = (struct iovec){size_line, (size_t)n};
	}
	iov[count++] = (struct iovec){r->out, r->out_length};
	iov[count++] = (struct iovec){(void *)bytes, length};
	if (r->chunked && content > 0)
		iov[count++] = (struct iovec){(void *)"\r\n", 2};
	int result = output_send_all(r, iov, count, 0);
	r->out_length = 0;
	request_leave(r);
	return result;
}

/* By way of the buffer, always: a handler's bad pointer is to fault here, where that
 * is its own affair, and not in the library. */
static int output_write_secure(struct pail_request *r, const char *bytes, size_t length)
{
	tls_touch_stack();
	while (length > sizeof(r->out) - r->out_length) {
		size_t piece = sizeof(r->out) - r->out_length;
		memcpy(r->out + r->out_length, bytes, piece);
		r->out_length += (uint32_t)piece;
		bytes += piece;
		length -= piece;
		if (output_stream(r, NULL, 0) < 0)
			return -1;
	}
	if (length > 0)
		memcpy(r->out + r->out_length, bytes, length);
	r->out_length += (uint32_t)length;
	return 0;
}

int pail_write(struct pail_request *r, const void *bytes, size_t length)
{
	int status = r->status ? r->status : 200;

	if (r->gone)
		return -1;
	if (r->declared_length >= 0 && length > (uint64_t)r->declared_length - r->body_length)
		return -1;
	if (!response_has_body(status, false))
		return 0; /* not counted: the status may still become one that has a body */
	r->body_length += length;
	if (r->is_head)
		return 0;
	if (r->connection->secure)
		return output_write_secure(r, bytes, length);
	if (length <= sizeof(r->out) - r->out_length) {
		memcpy(r->out + r->out_length, bytes, length);
		r->out_length += (uint32_t)length;
		return 0;
	}
	/* A long piece goes from where it lies; a short one starts the next buffer. */
	if (length >= sizeof(r->out) / 2)
		return output_stream(r, bytes, length);
	if (output_stream(r, NULL, 0) < 0)
		return -1;
	memcpy(r->out, bytes, length);
	r->out_length = (uint32_t)length;
	return 0;
}

/* -- the end --------------------------------------------------------------------- */

/* Too large for its class, and the next one is to try; that can be as long as
 * nothing was sent and there was no body to be read. */
static bool output_retries(const struct pail_request *r)
{
	const struct connection *c = r->connection;

	return strcmp(r->cause, "oversize") == 0 && r->route >= 0 &&
	       core.plan.route[r->route].retry && !r->head_sent &&
	       c->head.framing == PARSE_BODY_NONE &&
	       (uint32_t)c->class_index + 1 < core.plan.class_count;
}

static void output_failure(struct pail_request *r)
{
	if (output_retries(r)) {
		r->connection->retry = true;
		return;
	}
	if (r->head_sent || r->fail_status == 0) {
		r->connection->stays = false;
		return;
	}
	/* After these the rest of the body can't be told from the next request, or
	 * is not wanted. */
	r->closing |= r->fail_status == 400 || r->fail_status == 408 || r->fail_status == 413;
	struct response response = output_response(r, r->fail_status);
	response.fields = r->fail_status == 503 ? STR("Retry-After: 1\r\n") : STR("");
	size_t length = response_error(r->out, sizeof(r->out), &response, r->is_head, NULL);
	assert(length > 0);
	r->head_sent = true;
	r->status = r->fail_status;
	r->connection->stays = response.keep_alive;
	struct iovec iov = {r->out, length};
	if (output_send_all(r, &iov, 1, 0) < 0)
		r->connection->stays = false;
}

/* sendfile(), which is not for TLS. What could not be sent is read once more. */
static ssize_t output_file_some(struct pail_request *r, off_t *at, uint64_t left)
{
	struct connection *c = r->connection;

	if (!c->secure)
		return sendfile(c->fd, r->send_fd, at, left < (1 << 20) ? left : (1 << 20));
	ssize_t got =
		pread(r->send_fd, r->out, left < sizeof(r->out) ? left : sizeof(r->out), *at);
	if (got <= 0)
		return got;
	struct iovec piece = {r->out, (size_t)got};
	ssize_t sent = connection_send(c, &piece, 1, 0);
	if (sent > 0)
		*at += sent;
	return sent;
}

static int output_file(struct pail_request *r)
{
	uint64_t due_ns = 0;
	size_t moved_bytes = 0;
	uint64_t left = r->send_length;
	off_t at = r->send_offset;

	while (left > 0) {
		ssize_t sent = output_file_some(r, &at, left);
		if (sent > 0) {
			left -= (uint64_t)sent;
			moved_bytes += (size_t)sent;
		} else if (sent < 0 && errno == EAGAIN) {
			if (output_wait(r, &due_ns, &moved_bytes) < 0)
				return -1;
		} else if (sent == 0) {
			return output_gone(r, "short-file"); /* it was cut meanwhile */
		} else if (errno != EINTR) {
			return output_gone(r, "client-gone");
		}
	}
	return 0;
}

/* The whole response is in the buffer, or is a file. */
static int output_whole(struct pail_request *r)
{
	int status = r->status ? r->status : 200;
	bool has_body = response_has_body(status, r->is_head);
	struct response response = output_response(r, status);

	if (r->send_fd >= 0)
		response.length = (int64_t)r->send_length;
	else if (r->is_head && r->declared_length >= 0)
		response.length = r->declared_length;
	else if (has_body || r->is_head)
		response.length = (int64_t)r->body_length;
	struct iovec iov[2] = {output_head(r, &response)};
	/* An empty one sends nothing that would push out a head sent with MSG_MORE. */
	bool file = r->send_fd >= 0 && has_body && r->send_length > 0;
	if (has_body && r->send_fd < 0)
		iov[1] = (struct iovec){r->out, r->out_length};
	if (!file && !r->gone && output_joins(r, iov, 2))
		return r->connection->broken ? output_gone(r, "client-gone") : 0;
	if (output_send_all(r, iov, 2, file ? MSG_MORE : 0) < 0)
		return -1;
	return file ? output_file(r) : 0;
}

static int output_stream_end(struct pail_request *r)
{
	if (output_stream(r, NULL, 0) < 0)
		return -1;
	if (r->declared_length >= 0 && r->body_length != (uint64_t)r->declared_length)
		return output_gone(r, "short-body");
	struct iovec last = {(void *)"0\r\n\r\n", 5};
	return r->chunked ? output_send_all(r, &last, 1, 0) : 0;
}

void output_finish(struct pail_request *r)
{
	int result = 0;

	assert(r->critical > 0);
	if (r->cause)
		output_failure(r);
	else if (r->head_sent)
		result = output_stream_end(r);
	else
		result = output_whole(r);
	if (result < 0 || r->gone)
		r->connection->stays = false;
	if (r->send_fd >= 0)
		close(r->send_fd);
	r->send_fd = -1;
}
