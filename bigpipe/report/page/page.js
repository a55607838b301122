// Puts the parts together.

function tile(name, value, small, isBad) {
  const box = make("div", null, isBad ? { class: "bad" } : {});
  const figure = make("dd", value);
  if (small) figure.append(make("small", small));
  box.append(make("dt", name), figure);
  return box;
}

function makeHead() {
  document.title = data.title + " - bigpipe";
  document.getElementById("title").textContent = data.title;
  const began = new Date(1000 * data.began).toLocaleString("sv-SE");
  const where = data.about.machine ? " on " + data.about.machine : "";
  const words = { finished: "finished after ", interrupted: "interrupted after ",
    killed: "killed, last update after ", running: "still running after " };
  document.getElementById("subtitle").textContent =
    "began " + began + where + ", " + (words[data.state] || data.state + " ") + duration(data.elapsed);
}

function makeTiles() {
  const isKept = files.began.reduce((n, x, i) => n + (!(x >= 0) && files.kind[i] < 0), 0);
  const n = files.n, nFailed = data.kinds.reduce((sum, kind) => sum + kind.n, 0);
  const total = data.total === null || data.total === n ? "" : "of " + count(data.total);
  const busy = [...files.seconds].reduce((sum, x, i) => sum + (files.began[i] >= 0 ? x : 0), 0);
  const rate = (n - isKept) / data.elapsed;
  const tiles = [
    tile("files", count(n), total || (isKept ? count(isKept) + " from an earlier run" : "")),
    tile("failed", count(nFailed), n ? percent(nFailed / n) : "", nFailed > 0),
    tile("time", duration(data.elapsed),
      rate >= 1 ? rate.toPrecision(3) * 1 + " files/s" : rate > 0 ? duration(1 / rate) + " per file" : ""),
  ];
  if (data.nWorkers && data.elapsed) {
    const part = busy / data.elapsed / data.nWorkers;
    tiles.push(tile("workers", count(data.nWorkers), "busy " + percent(Math.min(1, part)) + " of the time"));
  }
  const peak = isMeasured ? largest(samples.map((sample) => sample.used)) : 0;
  if (isMeasured) {
    tiles.push(tile("memory, all workers", bytes(peak), "peak, of " + bytes(samples[0].budget)));
  }
  const highest = largest(files.peak_rss);
  if (highest) {
    const note = "highest peak RSS" + (isMeasured && peak < highest ? ", with shared pages" : "");
    tiles.push(tile("memory, one worker", bytes(highest), note));
  }
  document.getElementById("tiles").append(...tiles);
}

function makeWith() {
  const parts = [["Where", data.about], ["Options", data.options], ["Keywords", data.keywords],
    ["Versions", data.versions]];
  const place = document.getElementById("with");
  for (const [title, entries] of parts) {
    const pairs = Object.entries(entries);
    if (!pairs.length) continue;
    const details = make("details"), list = make("table");
    details.open = title === "Where" || title === "Options";
    for (const [name, value] of pairs) {
      const line = make("tr");
      line.append(make("th", name, { scope: "row" }), make("td", value));
      list.append(line);
    }
    details.append(make("summary", title), list);
    place.append(details);
  }
  place.closest("section").hidden = !place.childElementCount;
}

function makeTime() {
  document.getElementById("time-section").hidden = !lanes.length && !isMeasured;
  legend("legend", [["read", "reading"], ["process", "processing"], ["write", "writing"],
    ...(hasFailed ? [["failed", "failed"]] : []),
    ...(superseded.n ? [["again", "failed or stopped, and run again"]] : []),
    ...(inFlight.n ? [["other", "in flight"]] : []), ["idle", "waiting"]]);
  const timeline = document.getElementById("timeline");
  timeline.addEventListener("mousemove", (event) => {
    const file = fileAt(event.offsetX, event.offsetY, timeline.clientWidth);
    showTip(event, file && described(file));
  });
  timeline.addEventListener("mouseleave", (event) => showTip(event, null));
  const charts = [["timeline", drawTimeline]];
  if (isMeasured) charts.push(["memory", drawMemory]);
  else document.getElementById("memory-part").hidden = true;
  if (Math.max(...waited) >= 0.01 * data.elapsed * (data.nWorkers || 1)) {
    charts.push(["waits", drawWaits]);
    const seen = WAITS.filter((what, k) => waited[k] > 0);
    legend("waits-legend", seen.map((what) => [what, WAIT_WORDS[what]]));
  } else document.getElementById("waits-part").hidden = true;
  for (const [id, draw] of charts) {
    view.listeners.push(draw);
    letZoom(document.getElementById(id));
  }
}

function makeScatter() {
  document.getElementById("scatter-section").hidden = !points.length;
  if (!points.length) return;
  view.redrawn = drawScatter;
  const canvas = document.getElementById("scatter");
  canvas.addEventListener("mousemove", (event) => {
    const point = pointAt(event, canvas);
    showTip(event, point && files.name[point[2]] + "\nused " + bytes(files.growth[point[2]])
      + ", projected " + bytes(files.projected[point[2]]));
  });
  canvas.addEventListener("mouseleave", (event) => showTip(event, null));
}

function drawAll() {
  for (const draw of view.listeners) draw();
  if (view.redrawn) view.redrawn();
}

makeHead();
makeTiles();
document.getElementById("advice-section").hidden = !data.advice.length;
document.getElementById("advice").append(...data.advice.map((text) => make("li", text)));
makeTime();
makeScatter();
makeFailures();
makeTable();
makeWith();
drawAll();
window.addEventListener("resize", drawAll);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
document.documentElement.dataset.ready = "yes";
