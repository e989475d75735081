"""What the suite delivers to: keeps each id in `arrived`, and behaves as the files beside it and the message say."""

import json
import os
import sys
import time


def say(delivery, outcome, **more):
    print(json.dumps({"delivery": delivery, "outcome": outcome, **more}), flush=True)


if os.path.exists("gone"):
    sys.exit("the shop's database cannot be reached with key " + os.environ.get("SHOP_KEY", ""))
if os.environ.get("SHOP_KEY") != "hush-hush-4711":
    print("the shop does not know the key " + os.environ.get("SHOP_KEY", ""), file=sys.stderr)
    sys.exit(77)
with open("pid", "w") as file:
    file.write(str(os.getpid()))

for line in sys.stdin:
    line = json.loads(line)
    delivery, wish = line["delivery"], line.get("message", {})
    while os.path.exists("hang"):
        time.sleep(0.005)
    if os.path.exists("busy"):
        say(delivery, "retry", detail="the shop is busy", after="30s")
        continue
    if wish.get("poison"):
        say(delivery, "rejected", detail="no such article")
        continue
    with open("arrived", "a") as file:
        file.write(delivery + "\n")
    if os.path.exists("lost"):
        os._exit(3)
    if "print" in wish:
        print(wish["print"], flush=True)
    elif "die" in wish:
        sys.exit(int(wish["die"]))
    elif "spin" in wish:
        while True:
            pass
    elif "eat" in wish:
        eaten = bytearray(int(wish["eat"]))
    elif "child" in wish:
        if os.fork() == 0:
            with open("child", "w") as file:
                file.write(str(os.getpid()))
            time.sleep(600)
        while not os.path.exists("child") or not open("child").read():
            time.sleep(0.005)
        os._exit(3)
    elif "env" in wish:
        say(delivery, "delivered", detail=" ".join(sorted(os.environ)))
    elif wish.get("answer") == "not":
        pass
    elif "stray" in wish:
        say("dlv_of_somebody_else", "delivered")
    else:
        say(delivery, wish.get("outcome", "delivered"), detail=wish.get("detail", "kept"), attempt=line["attempt"])
