"""The worker's side of a pool of processes."""

import os
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.connection import Connection

from sne.zoo.making.executors.work import Job, do_work

FREE = "free"


def serve(connection: Connection) -> None:
    """Says FREE and takes the job, then one work unit after another; after each unit says FREE again.

    What is finished is sent as soon as it is. An empty work unit is the last. The process ends with the maker's at the
    latest, and leaves Ctrl-C to it.

    Args:
        connection: to the maker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection.send(FREE)
    job = Job.from_bytes(connection.recv_bytes())
    while work := connection.recv():
        for answer in do_work(job, work):
            connection.send(answer)
        connection.send(FREE)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
