"""The first application of the Flask-RQ2 walkthrough, line by line, on Quart.

$ aiorq2 worker --app app        # in one terminal; or: quart rq worker
$ quart --app app run            # in another
"""

import time

from quart import Quart

from aiorq2.quart_ext import RQ

app = Quart(__name__)
app.debug = True

app.config.from_prefixed_env("SEED")  # SEED_RQ_REDIS_URL, where Redis is elsewhere

app.config["RQ_OTHER_HOST"] = "localhost"
app.config["RQ_OTHER_PORT"] = 6379
app.config["RQ_OTHER_PASSWORD"] = None
app.config["RQ_OTHER_DB"] = 0
app.config.setdefault("RQ_QUEUES", ["default", "low"])

rq = RQ(app)


def takes_a_while(echo):
    time.sleep(1)
    return echo


@rq.job
def do_something(echo):
    time.sleep(1)
    return echo


@rq.job("low")
def do_something_low(echo):
    time.sleep(1)
    return echo


# In Flask-RQ2 this connection could not be had; here it can.
@rq.job("low", connection="other")
def do_something_low_on_connection(echo):
    time.sleep(1)
    return echo


@app.route("/")
async def home():
    return "Home"


@app.route("/doit1")
async def doit():
    echo = await rq.get_queue().enqueue(takes_a_while, "do it")
    print(echo)
    # <QuartJob 29436d3b-85a4-49db-90c3-5765ae6c05d8: app.takes_a_while('do it')>
    return "Success1"


@app.route("/doit2")
async def doit2():
    # What is no option of `enqueue` goes to the function, which takes neither: the job will fail and say so.
    echo = await rq.get_queue().enqueue(takes_a_while, "do it 2", name="low", connection="other")
    print(echo)
    # <QuartJob a5333f12-a05e-4e93-a0b0-47ef5cf6ae84: app.takes_a_while('do it 2', connection='other', name='low')>
    return "Success2"


@app.route("/doit3")
async def doit3():
    async with rq.connection:
        q = rq.get_queue("low")
        await q.enqueue(takes_a_while, "do it 3")
    return "Success3"


@app.route("/doit4")
async def doit4():
    echo = do_something("decorated")
    print(echo)  # called here and now, not enqueued
    return "Success4"


@app.route("/doit5")
async def doit5():
    echo = do_something_low("doit5")
    print(echo)  # not enqueued
    return "Success5"


@app.route("/doit6")
async def doit6():
    echo = do_something_low_on_connection("doit6")
    print(echo)
    return "Success6"


@app.route("/doit7")
async def doit7():
    echo = await rq.get_worker().work(True)
    print(echo)
    return "Success7"
