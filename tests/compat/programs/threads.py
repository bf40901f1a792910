"""Thread pools and database cursors."""

import os, random, sys, time
import pycos

pool = pycos.AsyncThreadPool(2)


def work(task=None):
    a = yield pool.async_task(time.sleep, 0.01)
    b = yield pool.async_task(pow, 2, 5)
    try:
        yield pool.async_task(int, "x")
    except ValueError:
        c = "raised"
    d = yield pool.async_task(target=sorted, args=([2, 1],), kwargs={"reverse": True})
    return a, b, c, d


print(pycos.Task(work).value())
pool.join()
import sqlite3


def db(task=None):
    cursor = pycos.AsyncDBCursor(pool, conn.cursor())
    yield cursor.execute("create table t (x)")
    yield cursor.executemany("insert into t values (?)", [(1,), (2,)])
    yield cursor.execute("select sum(x) from t where x > ?", (0,))
    return cursor.fetchone()


conn = sqlite3.connect(":memory:", check_same_thread=False)
print(pycos.Task(db).value())
pool.terminate()

# > (None, 32, 'raised', [2, 1])
# > (3,)
