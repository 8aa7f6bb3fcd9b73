"""Functions of one's own."""

import os
import socket
import time
from urllib.request import urlopen

from aiorq2 import connect, get_current_job
from aiorq2.decorators import job


def count_words_at_url(url):
    with urlopen(url, timeout=10) as response:
        return len(response.read().decode().split())


redis_conn = connect(os.environ.get("SEED_RQ_REDIS_URL"))


@job("low", connection=redis_conn, timeout=5)
def add(x, y):
    job = get_current_job()
    job.meta["handled_by"] = socket.gethostname()
    job.meta[""] = None
    job.save_meta()
    return x + y


def fib(num):
    return num


def takes_a_while():
    time.sleep(1)
    return "hello world"
