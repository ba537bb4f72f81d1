"""Reading ahead in a thread."""

from collections.abc import Generator, Iterator
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """The same items, of an endless iterator; up to `depth` of them are made ahead in a thread.

    An error there is raised here. The thread ends when this generator is closed; until the item
    under way is made, closing waits.
    """
    if not depth:
        yield from items
        return
    room, made, stop = Semaphore(depth), SimpleQueue[T | _Failed](), Event()
    thread = Thread(target=_make, args=(items, room, made, stop), daemon=True, name="read ahead")
    thread.start()
    try:
        while True:
            # No name is bound to the item: it would be held here while the next is awaited.
            yield _next(made, room)
    finally:
        stop.set()
        room.release()
        thread.join()


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _make(
    items: Iterator[T], room: Semaphore, made: "SimpleQueue[T | _Failed]", stop: Event
) -> None:
    try:
        while room.acquire() and not stop.is_set():
            made.put(next(items))
    except BaseException as error:
        made.put(_Failed(error))


def _next(made: "SimpleQueue[T | _Failed]", room: Semaphore) -> T:
    item = made.get()
    if isinstance(item, _Failed):
        raise item.error
    room.release()
    return item
