#!/bin/bash
# SPDX-License-Identifier: MIT
# gunicorn and Flask, threads; PYTHONMALLOC=malloc lets Python's own pools be seen.
. "$(dirname "$0")/lib.sh"
need gunicorn
port=$(free_port)
cat >"$folder/app.py" <<'END'
import hashlib, json, sqlite3
from flask import Flask, jsonify, request

app = Flask(__name__)
base = sqlite3.connect(":memory:", check_same_thread=False)
base.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price INTEGER)")
base.executemany("INSERT INTO item VALUES (?, ?, ?)",
                 [(i, hashlib.sha1(str(i).encode()).hexdigest(), i * 7919 % 1000) for i in range(2000)])

@app.route("/item")
def item():
    number = int(request.args["number"])
    row = base.execute("SELECT name, price FROM item WHERE id = ?", (number,)).fetchone()
    return jsonify(name=row[0], price=row[1]) if row else ("none", 404)

@app.route("/items")
def items():
    count = int(request.args.get("count", 20))
    rows = base.execute("SELECT id, name, price FROM item ORDER BY price, id LIMIT ?", (count,)).fetchall()
    return jsonify([{"id": r[0], "name": r[1], "price": r[2]} for r in rows])

@app.route("/total", methods=["POST"])
def total():
    order = request.get_json(force=True)
    return jsonify(total=sum(line["count"] * line["price"] for line in order))
END
python3 - "$folder" <<'END'
import json, sys
with open(f"{sys.argv[1]}/order.json", "w", encoding="ascii") as file:
    json.dump([{"count": i % 5, "price": 100 + i} for i in range(60)], file)
END
cp "$folder/order.json" "$data/record/order.json"
cd "$folder"
record "$port" PYTHONMALLOC=malloc -- "$(command -v gunicorn)" -w 1 -k gthread --threads 4 \
	-b "127.0.0.1:$port" --chdir "$folder" app:app
sleep 2 # its worker imports the application after the socket listens
drive "$port"
finish "A JSON service in Python: a lookup, listings of 5 to 400 rows out of SQLite, the sum of a posted order. One process, four threads." \
	"$(gunicorn --version), Flask $(python3 -c 'import importlib.metadata as m; print(m.version("flask"))' 2>/dev/null || echo '?'), $(python3 --version)"
