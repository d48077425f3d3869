"""The worker's side of a pool of processes."""

from multiprocessing.connection import Connection

from sne.making.executors.children import begin_child
from sne.making.executors.work import Job, do_work

FREE = "free"


def serve(connection: Connection) -> None:
    """Says FREE and takes the job, then one work unit after another; after each unit says FREE again.

    What is finished is sent as soon as it is. An empty work unit is the last. The process ends with the maker's at the
    latest, and leaves Ctrl-C to it.

    Args:
        connection: to the maker.
    """
    begin_child()
    connection.send(FREE)
    job = Job.from_bytes(connection.recv_bytes())
    while work := connection.recv():
        for answer in do_work(job, work):
            connection.send(answer)
        connection.send(FREE)
