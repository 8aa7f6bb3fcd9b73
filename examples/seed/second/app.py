"""The second application of the Flask-RQ2 walkthrough, line by line, on Quart.

It needed Flask-Script, Flask-SocketIO and a patch of rq to start; nothing of the kind is needed here.

    $ aiorq2 worker --app app low    # or none at all: /doit3 and /doit5 bring their own
    $ quart --app app run            # or: python run.py
"""

import asyncio
from datetime import timedelta

from quart import Quart
from somewhere import add, fib, takes_a_while

from aiorq2.quart_ext import RQ


def create_app():
    app = Quart(__name__)
    app.debug = True
    app.config.from_prefixed_env("SEED")  # SEED_RQ_REDIS_URL, where Redis is elsewhere
    app.config["RQ_OTHER_HOST"] = "localhost"
    app.config["RQ_OTHER_PORT"] = 6379
    app.config["RQ_OTHER_PASSWORD"] = None
    app.config["RQ_OTHER_DB"] = 0
    # is_async=False would run each job where it is enqueued, without a worker.
    rq = RQ(app, is_async=True)
    return app, rq


app, rq = create_app()


@app.route("/")
async def hello_world():
    return "Hello World!"


@app.route("/doit1")
async def doit1():
    q = rq.get_queue("low")
    job = await q.enqueue(fib, 8)
    print(job.result)
    return "ok"


@app.route("/doit2")
async def doit2():
    q = rq.get_queue("low")
    # What is no option of `enqueue` goes to the function, which takes none of it: the job will fail and say so.
    job = await q.enqueue(
        takes_a_while,
        "do it 2",
        name="low",
        connection="other",
    )
    print(job.result)
    print(q)
    print(await q.count())  # only jobs that wait are counted
    await asyncio.sleep(2)
    print(job.result)
    return "Success2"


@app.route("/doit3")
async def doit3():
    low_queue = rq.get_queue("low")
    low_worker = rq.get_worker("low")
    await low_queue.enqueue_in(timedelta(seconds=10), add, job_id="qwe", args=(1, 2))
    await low_worker.work(burst=True)
    return "Success doit3"


@app.route("/doit4")
async def doit4():
    low_queue = rq.get_queue("low")
    easy_job = await low_queue.enqueue(add, job_id="qwe", args=(1, 2))
    print(easy_job)
    print(easy_job.result)  # None
    return "Success4"


@app.route("/doit5")
async def doit5():
    low_queue = rq.get_queue("low")
    await low_queue.enqueue(add, job_id="ewq", args=(1, 2))
    job = await rq.get_queue("low").fetch_job("ewq")
    print("==============")
    print("status:", await job.get_status())
    low_worker = rq.get_worker("low")
    await low_worker.work(burst=True)  # a job that fails does not make it raise
    await job.wait(timeout=5)  # another worker may have taken it
    print("result:", job.result)
    print(type(job))  # aiorq2.quart_ext.job.QuartJob
    print(await job.get_status())
    print(job.args)
    print("exc_info:", job.exc_info)  # None, for it did not fail
    print("meta:", job.meta)
    return "Success5"
