"""Takes what was ordered out of a stock in SQLite.

Switchyard starts it as `python3 stock.py stock.db`, keeps it running, and hands it a JSON line for each delivery; README.md
explains it. You start it as `python3 stock.py stock.db new` to make a stock, and with `show` to see it.
"""

import json
import os
import sqlite3
import sys


class Refused(Exception):
    """Trying again would not help."""


def open_stock(path):
    """Ends the program where there is no stock: with 78 a person must mend something, else it is started again in a while."""
    if not os.path.exists(path):
        sys.exit(f"there is no {path}")
    stock = sqlite3.connect(path, timeout=2, isolation_level=None)
    tables = {name for (name,) in stock.execute("SELECT name FROM sqlite_master")}
    if not {"articles", "taken"} <= tables:
        print(f"{path} is no stock: make one with `python3 stock.py {path} new`", file=sys.stderr)
        sys.exit(78)
    return stock


def take(stock, delivery, order):
    """All lines of an order or none, and each delivery once; what is left, in words."""
    if stock.execute("SELECT 1 FROM taken WHERE delivery = ?", (delivery,)).fetchone():
        return "done by an attempt before"
    left = []
    for line in order["lines"]:
        sku, pieces = line["sku"], line["pieces"]
        if not isinstance(sku, str) or type(pieces) is not int:
            raise Refused(f"{line} is no line of an order")
        found = stock.execute("UPDATE articles SET pieces = pieces - ? WHERE sku = ? RETURNING pieces", (pieces, sku)).fetchall()
        if not found:
            raise Refused(f"no article {sku}")
        if found[0][0] < 0:
            raise Refused(f"not enough of {sku}: {-found[0][0]} missing")
        left.append(f"{found[0][0]} of {sku} left")
    stock.execute("INSERT INTO taken VALUES (?, ?)", (delivery, order["order"]))
    return ", ".join(left)


def once(stock, delivery, order):
    stock.execute("BEGIN IMMEDIATE")
    try:
        said = take(stock, delivery, order)
        stock.execute("COMMIT")
        return said
    finally:
        if stock.in_transaction:
            stock.execute("ROLLBACK")


def answer(delivery, outcome, **more):
    print(json.dumps({"delivery": delivery, "outcome": outcome, **more}), flush=True)


def serve(stock):
    for line in sys.stdin:
        asked = json.loads(line)
        delivery = asked["delivery"]
        try:
            answer(delivery, "delivered", detail=once(stock, delivery, json.loads(asked["payload"])))
        except Refused as why:
            answer(delivery, "rejected", detail=str(why))
        except sqlite3.OperationalError as why:  # locked by somebody else, a full disk
            answer(delivery, "retry", detail=str(why), after="5s")


def new(path):
    with sqlite3.connect(path) as stock:
        stock.execute("CREATE TABLE articles (sku TEXT PRIMARY KEY, pieces INTEGER NOT NULL)")
        stock.execute("CREATE TABLE taken (delivery TEXT PRIMARY KEY, \"order\" TEXT)")
        stock.executemany("INSERT INTO articles VALUES (?, ?)", [("VASE-BLUE", 40), ("CARD-BIRTHDAY", 500)])


def show(path):
    for sku, pieces in open_stock(path).execute("SELECT sku, pieces FROM articles ORDER BY sku"):
        print(sku, pieces)


if __name__ == "__main__":
    path, what = sys.argv[1], sys.argv[2:]
    if what == ["new"]:
        new(path)
    elif what == ["show"]:
        show(path)
    else:
        serve(open_stock(path))
