"""A TCP proxy that makes the way longer, and cuts it."""

import asyncio
import threading


class DelayProxy:
    """Forwards connections to a target, each direction ``delay_s`` late.

    Used as a context manager; ``port`` is where it listens on 127.0.0.1. ``delay_s`` may be changed
    while it runs. ``cut`` ends all connections at once; new ones are taken.
    """

    def __init__(self, target_host, target_port, delay_s=0.0):
        self.target = (target_host, target_port)
        self.delay_s = delay_s
        self.port = 0
        self.connections = 0  # ever taken
        self._open = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._server = self._call(
            self._loop.create_server(lambda: _Near(self), host="127.0.0.1", port=0)
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self):
        """End all connections, without a word and with what is on its way."""
        self._call(self._cut())

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _cut(self):
        for each in tuple(self._open):
            each.abort()
        await asyncio.sleep(0)

    async def _close(self):
        self._server.close()
        await self._cut()
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await asyncio.sleep(0.01)  # in which the connections are closed


class _End(asyncio.Protocol):
    """One end of a connection: what it receives goes to the other end, late."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.other = None
        self.transport = None
        self.waiting = []  # until the other end is there
        self.due = 0.0

    def connection_made(self, transport):
        self.transport = transport
        self.proxy._open.add(transport)

    def connection_lost(self, error):
        self.proxy._open.discard(self.transport)
        if error:
            self._later(lambda transport: transport.abort())
        else:
            self._later(lambda transport: transport.close())

    def data_received(self, data):
        self._later(lambda transport: transport.write(data))

    def _later(self, act):
        loop = self.proxy._loop
        # Never before what came earlier, even where the delay was made shorter since.
        self.due = max(self.due, loop.time() + self.proxy.delay_s)
        loop.call_at(self.due, self._pass_on, act)

    def _pass_on(self, act):
        if self.other is None:
            self.waiting.append(act)
        elif not self.other.transport.is_closing():
            act(self.other.transport)


class _Near(_End):
    """The end of whoever connects."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self.proxy.connections += 1
        self.task = self.proxy._loop.create_task(self._reach())

    async def _reach(self):
        far = _End(self.proxy)
        try:
            await self.proxy._loop.create_connection(lambda: far, *self.proxy.target)
        except OSError:
            self.transport.abort()
            return
        far.other, self.other = self, far
        for act in self.waiting:
            act(far.transport)
        self.waiting.clear()
