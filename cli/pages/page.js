"use strict";
/* Tables: heads sort, the field above searches. Flame graphs: zoom, search, keys.
   Copying. All of it is there without this script, in one order. */
(function () {
document.documentElement.classList.add("js");

function value(row, column) {
	var cell = row.cells[column], v = cell.getAttribute("data-v");
	return v === null ? cell.textContent.trim().toLowerCase() : Number(v);
}

function sort(table, column) {
	var heads = table.tHead.rows[0].cells, body = table.tBodies[0];
	var rows = Array.prototype.slice.call(body.rows);
	var number = rows.length > 0 && rows[0].cells[column].hasAttribute("data-v");
	var now = heads[column].getAttribute("aria-sort");
	var down = now === "none" ? number : now === "ascending";
	rows.map(function (row, i) { return [value(row, column), i, row]; }).sort(function (a, b) {
		var order = number ? a[0] - b[0] : a[0].localeCompare(b[0], "en", {numeric: true});
		return (down ? -order : order) || a[1] - b[1];
	}).forEach(function (item) { body.appendChild(item[2]); });
	for (var i = 0; i < heads.length; i++)
		heads[i].setAttribute("aria-sort", i !== column ? "none" : down ? "descending" : "ascending");
}

document.querySelectorAll("table").forEach(function (table) {
	Array.prototype.forEach.call(table.tHead ? table.tHead.rows[0].cells : [], function (head, column) {
		var button = head.querySelector("button");
		if (button)
			button.addEventListener("click", function () { sort(table, column); });
	});
});

document.querySelectorAll("input[data-table]").forEach(function (input) {
	var table = document.getElementById(input.getAttribute("data-table"));
	var hits = input.parentNode.querySelector(".hits");
	input.addEventListener("input", function () {
		var words = input.value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
		Array.prototype.forEach.call(table.tBodies[0].rows, function (row) {
			var text = row.textContent.toLowerCase();
			row.hidden = !words.every(function (word) { return text.indexOf(word) >= 0; });
			shown += !row.hidden;
		});
		hits.textContent = words.length ? shown + " of " + table.tBodies[0].rows.length : "";
	});
});

function Flame(box) {
	var svg = box.querySelector("svg"), detail = box.querySelector(".detail");
	var search = box.querySelector("input"), hits = box.querySelector(".hits");
	var frames = Array.prototype.map.call(svg.querySelectorAll("g[data-x]"), function (g) {
		return {g: g, rect: g.querySelector("rect"), text: g.querySelector("text"),
			x: Number(g.getAttribute("data-x")), w: Number(g.getAttribute("data-w")),
			depth: Number(g.getAttribute("data-d")), name: g.getAttribute("data-name"),
			label: g.getAttribute("aria-label")};
	});
	var root = frames[0], zoomed = root, at = root;

	function fit(name, pixels) {
		var room = Math.floor((pixels - 6) / 7.3);
		return room < 3 ? "" : name.length <= room ? name : name.slice(0, room - 2) + "..";
	}
	function draw() {
		var width = svg.clientWidth || 960, scale = width / zoomed.w;
		svg.setAttribute("viewBox", "0 0 " + width + " " + svg.getAttribute("height"));
		frames.forEach(function (f) {
			var above = f.depth < zoomed.depth;
			var seen = above ? f.x <= zoomed.x && f.x + f.w >= zoomed.x + zoomed.w
				: f.x >= zoomed.x - 1e-9 && f.x + f.w <= zoomed.x + zoomed.w + 1e-9;
			var x = above ? 0 : (f.x - zoomed.x) * scale, w = above ? width : f.w * scale;
			f.shown = seen && w >= .4;
			f.g.style.display = f.shown ? "" : "none";
			f.g.classList.toggle("above", above);
			f.rect.setAttribute("x", x);
			f.rect.setAttribute("width", Math.max(w, .4));
			f.text.setAttribute("x", x + 3);
			f.text.textContent = f.shown ? fit(f.name, w) : "";
		});
	}
	function tell(f) { detail.textContent = f.label; }
	function go(f) {
		at.g.setAttribute("tabindex", "-1");
		at = f;
		at.g.setAttribute("tabindex", "0");
		at.g.focus({preventScroll: false});
		tell(at);
	}
	function zoom(f) {
		zoomed = f;
		draw();
		tell(f);
	}
	function find() {
		var word = search.value.trim().toLowerCase(), covered = 0, end = -1, n = 0;
		frames.forEach(function (f) {
			var hit = word !== "" && f.name.toLowerCase().indexOf(word) >= 0;
			f.g.classList.toggle("hit", hit);
			n += hit;
			if (hit && f.x >= end - 1e-9) { /* frames are in order, parents first */
				covered += f.w;
				end = f.x + f.w;
			}
		});
		hits.textContent = word === "" ? "" : n + " frames, " + (100 * covered / root.w).toFixed(1) + " %";
	}
	function next(test) {
		var best = null;
		frames.forEach(function (f) {
			if (f.shown && f !== at && test(f) && (!best || Math.abs(f.x - at.x) < Math.abs(best.x - at.x)))
				best = f;
		});
		if (best)
			go(best);
	}
	frames.forEach(function (f) {
		f.g.addEventListener("click", function () { go(f); zoom(f); });
		f.g.addEventListener("mouseenter", function () { tell(f); });
	});
	svg.addEventListener("keydown", function (event) {
		var key = event.key;
		if (key === "ArrowUp")
			next(function (f) { return f.depth === at.depth + 1 && f.x >= at.x - 1e-9 && f.x < at.x + at.w; });
		else if (key === "ArrowDown")
			next(function (f) { return f.depth === at.depth - 1 && f.x <= at.x + 1e-9 && f.x + f.w > at.x; });
		else if (key === "ArrowLeft")
			next(function (f) { return f.depth === at.depth && f.x < at.x; });
		else if (key === "ArrowRight")
			next(function (f) { return f.depth === at.depth && f.x > at.x; });
		else if (key === "Enter" || key === " ")
			zoom(at);
		else if (key === "Escape" || key === "Home") {
			zoom(root);
			go(root);
		} else
			return;
		event.preventDefault();
	});
	search.addEventListener("input", find);
	box.querySelector("[data-do=reset]").addEventListener("click", function () {
		search.value = "";
		find();
		zoom(root);
	});
	window.addEventListener("resize", draw);
	draw();
}
document.querySelectorAll(".flamebox").forEach(Flame);

document.querySelectorAll("button[data-copy]").forEach(function (button) {
	var text = document.getElementById(button.getAttribute("data-copy")).textContent;
	var said = button.parentNode.querySelector("[role=status]");
	function select() {
		var range = document.createRange();
		range.selectNodeContents(document.getElementById(button.getAttribute("data-copy")));
		getSelection().removeAllRanges();
		getSelection().addRange(range);
		said.textContent = document.execCommand("copy") ? "copied" : "selected: copy it with Ctrl+C";
	}
	button.addEventListener("click", function () {
		/* A page that was opened as a file may have no clipboard. */
		if (navigator.clipboard && window.isSecureContext)
			navigator.clipboard.writeText(text).then(function () { said.textContent = "copied"; }, select);
		else
			select();
	});
});
})();
