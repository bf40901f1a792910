#!/usr/bin/env python3
"""Agents at many machines that find each other, and deal with each other directly.

    parkcosnode.py             on one machine or more; then, on any machine:
    python mas.py              or, without any node:  python mas.py --local

Sellers and buyers find the market by its name, and by way of the market each other.  From then on they talk among
themselves, server to server: this program has no part in it.
"""

from _options import use_cluster

from parkcos import Client, Task, run

SELLERS = {"Ada": (7, 4), "Ben": (5, 3), "Cleo": (6, 5)}  # what an apple costs there, and how many there are
BUYERS = {"Xan": 4, "Yas": 4, "Zoe": 3}  # how many apples they want


def market(task=None):
    """Runs here: knows who sells, and tells who asks, once all are there."""
    task.set_daemon()  # the program does not wait for this task
    task.register("market")
    sellers, asking = [], []
    while True:
        what, agent = yield task.receive()
        (sellers if what == "I sell" else asking).append(agent)
        while asking and len(sellers) == len(SELLERS):
            asking.pop().send(sellers)


def seller(price, stock, task=None):
    """Runs at a server: answers buyers, until None."""
    place = yield Task.locate("market", timeout=10)
    yield place.deliver(("I sell", task))  # it is known there when this returns
    first = stock
    while (message := (yield task.receive())) is not None:
        what, agent = message
        if what == "price?":
            agent.send((price, task))
        elif stock:
            stock -= 1
            agent.send("sold")
        else:
            agent.send("sold out")
    return first - stock


def buyer(wanted, task=None):
    """Runs at a server: asks all sellers for their price, and buys from the cheapest that has something left."""
    place = yield Task.locate("market", timeout=10)
    place.send(("who sells?", task))
    sellers = yield task.receive()
    for agent in sellers:
        agent.send(("price?", task))
    offers = []
    for _ in sellers:
        offers.append((yield task.receive()))
    paid = []
    for price, agent in sorted(offers, key=lambda offer: offer[0]):
        while len(paid) < wanted:
            agent.send(("I buy", task))
            if (yield task.receive()) == "sold out":
                break
            paid.append(price)
    return paid


def main():
    """Runs here: opens the market, and lets the agents do the rest."""
    Task(market)
    with Client([seller, buyer]) as client:
        yield client.schedule()
        sellers, buyers = {}, {}
        for name, (price, stock) in SELLERS.items():
            sellers[name] = yield client.io_rtask(seller, price, stock)
        for name, wanted in BUYERS.items():
            buyers[name] = yield client.io_rtask(buyer, wanted)
        for name, agent in buyers.items():
            paid = yield agent.result()
            print(f"{name} at {agent.location} bought {len(paid)} apples for {sum(paid)}", flush=True)
        for name, agent in sellers.items():
            agent.send(None)
            print(
                f"{name} at {agent.location} sold {(yield agent.result())} apples for {SELLERS[name][0]} each",
                flush=True,
            )


if __name__ == "__main__":
    use_cluster(__doc__)
    run(main)
