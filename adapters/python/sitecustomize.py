# SPDX-License-Identifier: MIT
"""Marks for pail record: for which connection Python code runs.

    PYTHONPATH=$(pail's share)/adapters/python pail record -- python3 app.py

The recorder sees what goes over a connection, but not which of many coroutines
on one thread an allocation is for. So this module, which Python imports by
itself at its start, tells: before the event loop runs a callback, the
descriptor of the connection that it belongs to, and after it that it is over.
The connection travels in a context variable, so all tasks, callbacks and
executor jobs that a request starts are its own, however deep.

Works with asyncio's own event loops (and what is built on them: aiohttp,
Starlette or FastAPI on uvicorn with --loop asyncio, hypercorn), and with jobs
given to a ThreadPoolExecutor. Not with uvloop, trio, gevent.

A mark is a call of access() with a path that is not there; without the
recorder that is all it costs. Nothing is imported or changed until the program
itself imports asyncio or concurrent.futures.
"""
import os as _os
import sys as _sys

_LEAVE = b"/@pail/begin/0"


def _marks(fd, _cache={}):  # pylint: disable=dangerous-default-value
    path = _cache.get(fd)
    if path is None:
        path = _cache[fd] = b"/@pail/begin/0/fd=%d" % fd
    return path


def _connection():
    """The context variable, made when it is first needed."""
    import contextvars
    global _variable  # pylint: disable=global-statement
    if _variable is None:
        _variable = contextvars.ContextVar("pail_connection", default=None)
    return _variable


_variable = None


def _on_events(module):
    """asyncio.events: what the loop runs, it runs for a connection."""
    run, variable, access = module.Handle._run, _connection(), _os.access

    def marked_run(self):
        connection = self._context.get(variable)
        if connection is None or connection.fd < 0:
            return run(self)
        access(_marks(connection.fd), 0)
        try:
            return run(self)
        finally:
            access(_LEAVE, 0)

    module.Handle._run = marked_run


class _Connection:
    """Shared by all contexts that descend from one connection, so that late
    tasks of a closed one are not taken for its descriptor's next owner."""
    __slots__ = ("fd",)

    def __init__(self, fd):
        self.fd = fd


def _on_selector_events(module):
    """asyncio.selector_events: accepted connections are where contexts begin."""
    loop, variable = module.BaseSelectorEventLoop, _connection()
    transport = module._SelectorTransport
    make, close = loop._make_socket_transport, transport._call_connection_lost
    make_tls = loop._make_ssl_transport

    def wrapped(original):
        def marked(self, sock, *arguments, **named):
            # What is connected outwards serves whoever waits for it, not the
            # request that happened to open it.
            server = named.get("server") is not None
            connection = _Connection(sock.fileno()) if server else None
            token = variable.set(connection)
            try:
                result = original(self, sock, *arguments, **named)
            finally:
                variable.reset(token)
            if connection is not None:
                _open[sock.fileno()] = connection
            return result
        return marked

    def marked_close(self, *arguments):
        connection = _open.pop(self._sock_fd, None)
        if connection is not None:
            connection.fd = -1
        return close(self, *arguments)

    loop._make_socket_transport = wrapped(make)
    loop._make_ssl_transport = wrapped(make_tls)
    transport._call_connection_lost = marked_close


_open = {}


def _on_thread_pool(module):
    """concurrent.futures.thread: a job is for whoever gave it."""
    submit, variable, access = module.ThreadPoolExecutor.submit, _connection(), _os.access

    def marked_submit(self, function, /, *arguments, **named):
        connection = variable.get()
        if connection is None:
            return submit(self, function, *arguments, **named)

        def job(*inner, **inner_named):
            if connection.fd < 0:
                return function(*inner, **inner_named)
            token = variable.set(connection)
            access(_marks(connection.fd), 0)
            try:
                return function(*inner, **inner_named)
            finally:
                access(_LEAVE, 0)
                variable.reset(token)
        return submit(self, job, *arguments, **named)

    module.ThreadPoolExecutor.submit = marked_submit


class _AfterImport:
    """Finds modules as others do, and has a word with some once they ran."""
    hooks = {
        "asyncio.events": _on_events,
        "asyncio.selector_events": _on_selector_events,
        "concurrent.futures.thread": _on_thread_pool,
    }

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hook = cls.hooks.pop(name, None)
        if hook is None:
            return None
        from importlib.util import find_spec
        spec = find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            try:
                hook(module)
            except AttributeError as problem:
                _sys.stderr.write(f"pail: {name} is not as expected ({problem}): "
                                  "its work is not marked\n")

        spec.loader.exec_module = exec_module
        return spec


def _next_sitecustomize():
    """The one that this one stands in front of."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec
    here = _os.path.dirname(_os.path.abspath(__file__))
    path = [p for p in _sys.path if _os.path.abspath(p or ".") != here]
    spec = PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


_sys.meta_path.insert(0, _AfterImport)
_next_sitecustomize()
